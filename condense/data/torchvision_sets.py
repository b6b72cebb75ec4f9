"""MNIST, FashionMNIST, SVHN, CIFAR10 and CIFAR100, through torchvision, downloaded on demand.

torchvision is imported only when one of them is asked for: it weighs 150 MB.
"""

import contextlib
import gzip
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch

from condense.core.errors import MissingFile
from condense.core.files import atomic_path, short_silence
from condense.data.real import RealData
from condense.data.request import Request

DIGITS = [str(digit) for digit in range(10)]
SILENCE_S = 30                                           # a server that says nothing for so long is not there


@dataclass(frozen=True)
class KnownSet:
    """Mean and std as in the published sets, the files, and class names where not torchvision's."""

    size: int
    mean: tuple
    std: tuple
    files: str                                           # in words, for the error
    folder: str = ""                                     # torchvision's own folder inside the data folder
    archives: tuple = ()                                 # downloaded files whose damage can be named
    class_names: list | None = None


IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


def _idx_files(name):
    return tuple(f"{name}/raw/{file}{suffix}" for file in IDX for suffix in ("", ".gz"))


ROWS = {
    "MNIST": KnownSet(28, (0.1307,), (0.3081,), "the four files such as MNIST/raw/train-images-idx3-ubyte.gz",
                 "MNIST", _idx_files("MNIST"), DIGITS),
    "FashionMNIST": KnownSet(28, (0.2861,), (0.3530,),
                        "the four files such as FashionMNIST/raw/train-images-idx3-ubyte.gz",
                        "FashionMNIST", _idx_files("FashionMNIST")),
    "SVHN": KnownSet(32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), "train_32x32.mat and test_32x32.mat",
                archives=("train_32x32.mat", "test_32x32.mat"), class_names=DIGITS),
    "CIFAR10": KnownSet(32, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010),
                   "cifar-10-python.tar.gz (or its folder cifar-10-batches-py/)",
                   "cifar-10-batches-py", ("cifar-10-python.tar.gz", "cifar-10-batches-py")),
    "CIFAR100": KnownSet(32, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762),
                    "cifar-100-python.tar.gz (or its folder cifar-100-python/)",
                    "cifar-100-python", ("cifar-100-python.tar.gz", "cifar-100-python")),
}


def load_torchvision(request: Request) -> RealData:
    """Load one of ROWS from `request.data_path` (or from torchvision's own folder in it, named directly).

    Official train and test parts; of SVHN the train split without "extra", the digit 0 being class 0. Mean and std
    are those of the row, whatever size `request.im_size` asks for.
    Raises FileNotFoundError in one line if the set is neither there nor to be had, or is damaged.
    """
    row = ROWS[request.name]
    root = Path(request.data_path)
    if row.folder and root.name == row.folder and root.is_dir():
        root = root.parent
    train, test = _parts(request.name, row, root)
    (images, labels), (test_images, test_labels) = _tensors(train, request), _tensors(test, request)
    return RealData(request.name, images, labels, test_images, test_labels, row.class_names or train.classes, row.mean,
                    row.std, request.device)


def _parts(name, row, root):
    """Return torchvision's train and test set; every way in which that can fail becomes one line."""
    import torchvision

    try:
        with contextlib.redirect_stdout(io.StringIO()), short_silence(SILENCE_S):
            if name.endswith("MNIST"):
                _unpack_idx(root / name / "raw")
            return [_open(getattr(torchvision.datasets, name), root, part) for part in ("train", "test")]
    except Exception as error:                           # of network, archive, pickle, format: any kind
        raise MissingFile(_worded(name, row, root, error)) from error


def _open(dataset, root, part):
    if dataset.__name__ == "SVHN":
        return dataset(root, split=part, download=True)
    return dataset(root, train=part == "train", download=True)


def _worded(name, row, root, error):
    reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
    damaged = [archive for archive in row.archives if (root / archive).exists()
               and not any(map(_is_whole, (root / archive, root / archive.removesuffix(".gz"))))]
    if damaged:
        return (f"{name} in {root}/ is damaged or incomplete ({reason}); delete {' and '.join(damaged)}"
                f" there and start again with a network, or put {row.files} there")
    return (f"{name} is not in {root}/ and could not be downloaded ({reason}); put {row.files} there,"
            " or name its folder with --data_path")


def _tensors(part, request):
    """torchvision's pixels, of whatever layout, as uint8 (N, C, H, W) of the size asked for, with (N,) labels."""
    pixels = torch.as_tensor(part.data)
    labels = torch.as_tensor(part.labels if hasattr(part, "labels") else part.targets)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    return request.sized(pixels), labels


def _unpack_idx(folder):
    """Unpack X.gz for each idx file X that is missing or cut short, as a stopped run leaves it.

    torchvision would take the short file for whole, and fetch a good archive again whose bytes differ.
    """
    for name in IDX:
        path, archive = folder / name, folder / f"{name}.gz"
        if _is_whole(path) or not archive.is_file():
            continue
        with contextlib.suppress(OSError, EOFError, zlib.error):     # damaged: left to torchvision's check
            content = gzip.decompress(archive.read_bytes())
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)


def _is_whole(path):
    """Whether an idx file is as long as its header says: 4 bytes of type, 4 per dimension, values."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(16)
    if len(head) < 8:
        return False
    dims = [int.from_bytes(head[at:at + 4], "big") for at in range(4, 4 + 4 * head[3], 4)]
    return path.stat().st_size == 4 + 4 * len(dims) + math.prod(dims)
