"""The same real digits in the layouts of several makers, for evaluate.py to score."""

import numpy as np
import torch
from PIL import Image

from condense.data import load_data

QUICK = ["--epoch_eval_train", "2", "--num_eval", "2", "--pool", "MLP", "--baselines", "none"]


def real_pixels(number=10):
    """Raw pixels of `number` real digits of each class, class-major, and their labels."""
    digits = load_data("Digits")
    rows = torch.cat([digits.indices_of(label)[:number] for label in digits.classes])
    return digits.images[rows].float() / 255, digits.labels[rows]


def normalised(pixels):
    digits = load_data("Digits")
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (digits.mean, digits.std))
    return ((pixels.double() - mean) / std).float()


def write_layout(name, folder):
    """Write the same 100 digits in a foreign layout; returns the argument for evaluate.py, and flags it needs."""
    pixels, labels = real_pixels()
    images = normalised(pixels)
    if name == "reference":                                # NumPy scalars, as the published program pools them
        path = folder / "res_DSA_Digits_ConvNet_10ipc.pt"
        torch.save({"data": [[images, labels]], "accs_all_exps": {"ConvNet": [np.float64(0.5)] * 3}}, path)
    elif name == "steps":
        path = folder / "cl_DM_Digits_ConvNet_10ipc_5steps_seed0.pt"
        parts = [slice(first, first + 20) for first in range(0, 100, 20)]
        torch.save({"data": [[images[part], labels[part]] for part in parts]}, path)
    elif name == "mtt":
        path = folder / "images_best.pt"
        torch.save(images, path)
        torch.save(labels, folder / "labels_best.pt")
    elif name == "idc":
        path = folder / "data_best.pt"
        torch.save([pixels, labels], path)
        return path, ["--dataset", "Digits", "--decode", "1"]
    elif name == "tensors":
        path = folder / "plain.pt"
        torch.save((images, labels), path)
    else:
        path = folder / "tree"
        for i, (image, label) in enumerate(zip(pixels, labels.tolist())):
            (path / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image[0]).round().byte().numpy()).save(path / str(label) / f"{i:03}.png")
    return path, ["--dataset", "Digits"]
