"""Real data: one registry of names, one way to load them, one class that holds them."""

from pathlib import Path

from condense.data.digits import load_digits
from condense.data.folder import load_folder
from condense.data.real import RealBatch, RealData
from condense.data.request import Request
from condense.data.tensor_file import load_tensor_file
from condense.data.tiny import load_tiny_imagenet
from condense.data.torchvision_sets import load_torchvision
from condense.registry import lookup

__all__ = ["DATASETS", "RealBatch", "RealData", "load_data"]

# A loader takes a `Request` and returns a `RealData`. A new data set is a file beside these, and a line here.
DATASETS = {
    "Digits": load_digits,
    "MNIST": load_torchvision,
    "FashionMNIST": load_torchvision,
    "SVHN": load_torchvision,
    "CIFAR10": load_torchvision,
    "CIFAR100": load_torchvision,
    "TinyImageNet": load_tiny_imagenet,
    "folder": load_folder,
    "file": load_tensor_file,
}


def load_data(name, data_path="data", device="cpu", *, im_size=None, resize="crop", seed=0, progress=True):
    """Load a data set of DATASETS on `device`, as a `RealData`.

    `data_path` is the folder of data sets, or for "folder" and "file" the folder or file itself.
    `im_size` (an int N) and `resize` ("crop": short side to N, then the centre; "squash": both sides to N)
    apply to image files. `seed` decides what is held out where there is no test part; `progress` shows a
    bar while images are decoded. Raises ValueError or FileNotFoundError in one line with the mend.
    """
    loader = lookup(DATASETS, name, "dataset")
    return loader(Request(name, Path(data_path), device, im_size, resize, seed, progress))
