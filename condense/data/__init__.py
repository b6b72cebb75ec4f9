"""Real data: one registry of names, one way to load them, one class that holds them."""

from pathlib import Path
from typing import Any

import torch

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data.classes import choose_classes, select_classes
from condense.data.digits import load_digits
from condense.data.folder import load_folder
from condense.data.imagenet import SIDE, SUBSETS, load_imagenet
from condense.data.real import RealBatch, RealData
from condense.data.request import DataChoice, Request
from condense.data.tensor_file import load_tensor_file
from condense.data.tiny import load_tiny_imagenet
from condense.data.torchvision_sets import ROWS, load_torchvision
from condense.data.zca import Whitening, fitted_whitening, require_practical

__all__ = ["DATASETS", "SUBSETS", "DataChoice", "RealBatch", "RealData", "Whitening", "default_side", "load_data",
           "select_classes"]

# A loader takes a `Request` and returns a `RealData`. A new data set is a file in this folder and a line here.
DATASETS = {
    "Digits": load_digits,
    "MNIST": load_torchvision,
    "FashionMNIST": load_torchvision,
    "SVHN": load_torchvision,
    "CIFAR10": load_torchvision,
    "CIFAR100": load_torchvision,
    "TinyImageNet": load_tiny_imagenet,
    "ImageNet": load_imagenet,
    "folder": load_folder,
    "file": load_tensor_file,
}


# Sides in pixels, where a data set has one or a default.
SIDES = {"Digits": 8, **{name: row.size for name, row in ROWS.items()}, "TinyImageNet": 64, "ImageNet": SIDE}
OWN = ("folder", "file")                                 # of which nothing is known before loading


def load_data(name: str | DataChoice, data_path: str | Path = "data", device: torch.device | str = "cpu",
              **how: Any) -> RealData:
    """Load a data set of DATASETS on `device`, as a `RealData`.

    `name` is that of the data set, with `data_path` and, by keyword, the other fields of a `DataChoice` (im_size,
    resize, seed, progress, zca, subset, classes); or it is such a choice itself. Raises ValueError or
    FileNotFoundError in one line with the mend.
    """
    choice = name if isinstance(name, DataChoice) else DataChoice(name, data_path, **how)
    name, side = choice.name, default_side(choice.name, choice.im_size)
    if choice.subset is not None and name != "ImageNet":
        raise InputError(f"--subset {choice.subset} is one of --dataset ImageNet, not of {name}; leave it out")
    if choice.zca and side:                              # what is too large anyhow need not be decoded first
        require_practical(1 if name in OWN else 3, side, side)
    resize = choice.resize
    if resize == "auto":
        resize = "squash" if name == "ImageNet" else "crop"
    real = DATASETS[name](Request(name, Path(choice.data_path), device, choice.im_size, resize, choice.seed,
                                  choice.progress, choice.subset))
    if choice.classes is not None:
        real = choose_classes(real, choice.classes)
    if choice.zca:
        real.whiten(fitted_whitening(real))
    return real


def default_side(dataset: str, im_size: int | None = None) -> int | None:
    """Return the side in pixels that images of `dataset` will have, with `im_size` as given; None if unknown yet.

    Raises ValueError for a name that is not in DATASETS.
    """
    lookup(DATASETS, dataset, "dataset")
    return SIDES.get(dataset) if im_size is None else im_size
