"""One .pt or .npz file with pixels and labels, under the reference's keys."""

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Integer, UInt8
from torch import Tensor

from condense.core.errors import InputError, MissingFile
from condense.core.files import NUMPY_TYPES
from condense.data.pixels import BLOCK_BYTES
from condense.data.real import RealData
from condense.data.request import Request, hold_out, split_rows

TRAIN = ("images_train", "labels_train")
TESTS = (("images_val", "labels_val"), ("images_test", "labels_test"))
NEEDED = "it needs images_train, labels_train, and images_val, labels_val (or images_test, labels_test)"

UNREADABLE = (pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError, zipfile.BadZipFile)

Content = tuple[UInt8[Tensor, "train c h w"], Int[Tensor, " train"], UInt8[Tensor, "test d p q"], Int[Tensor, " test"],
                list[str]]


def load_tensor_file(request: Request) -> RealData:
    """Load a tensor file (`--dataset file --data_path X.pt` or `X.npz`); see `read_tensor_file`."""
    path = Path(request.data_path)
    if path.suffix not in (".pt", ".pth", ".npz") or not path.is_file():
        raise MissingFile(f"no file {path} of type .pt or .npz; name one with --data_path ({NEEDED})")
    images, labels, test_images, test_labels, class_names = read_tensor_file(path, request.seed)
    return RealData(request.name, request.sized(images), labels, request.sized(test_images), test_labels, class_names,
                    device=request.device)


def read_tensor_file(path: Path, seed: int = 0) -> Content:
    """Return (images, labels, test images, test labels, class names) of a file with the reference's keys.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3: uint8 or other integers 0..255, or
    floats, read as 0..1 if none exceeds 1 and as 0..255 otherwise. They come back as uint8 (N, C, H, W),
    converted a block at a time. Labels may be any integers: their sorted values become 0..K-1. `classes`
    names them, by position or by label; it may be absent. Without a test part a stratified fifth is held
    out by `seed`. Raises ValueError in one line; nothing but tensors and plain values is ever unpickled.
    """
    file = TensorFile(path)
    tests = [pair for pair in TESTS if all(key in file.keys for key in pair)]
    if any(key not in file.keys for key in TRAIN):
        raise InputError(f"{path} holds {', '.join(sorted(file.keys)) or 'no keys'}; {NEEDED}")
    pairs = [TRAIN, *tests[:1]]
    values, labels = np.unique(file.labels(*TRAIN), return_inverse=True)
    class_names = _class_names(file, values)
    images = _all_pixels(file, [pair[0] for pair in pairs])
    labels = torch.from_numpy(labels.astype(np.int64))
    if not tests:
        parts = hold_out(labels, class_names, seed, path)
        return *split_rows(images[0], labels, parts), class_names
    test_values = file.labels(*tests[0])
    alone = sorted(set(test_values.tolist()) - set(values.tolist()))
    if alone:
        raise InputError(f"{tests[0][1]} of {path} has labels that labels_train lacks: {alone}")
    test_labels = torch.from_numpy(np.searchsorted(values, test_values).astype(np.int64))
    return images[0], labels, images[1], test_labels, class_names


class TensorFile:
    """The arrays of a .pt or .npz file, read a block of rows at a time where the format allows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Newer .pt files are zip archives that can be mapped. A block's pages count as ours until the
        # mapping goes, so the file is opened anew for every block.
        self.mapped = path.suffix != ".npz" and zipfile.is_zipfile(path)
        self.content = None if self.mapped else self._read()
        content = self._open()
        if not hasattr(content, "keys"):
            raise InputError(f"{path} holds a {type(content).__name__}, not a dictionary; {NEEDED}")
        self.keys = set(content.keys())

    def _read(self):
        try:
            if self.path.suffix == ".npz":
                return np.load(self.path, allow_pickle=False)
            with torch.serialization.safe_globals(NUMPY_TYPES):
                return torch.load(self.path, map_location="cpu", weights_only=True, mmap=self.mapped)
        except UNREADABLE as error:
            raise InputError(f"cannot read {self.path}: {_reason(error)}; store tensors, numbers and strings"
                             " only, and check that the file is whole") from error

    def _open(self):
        return self._read() if self.mapped else self.content

    def get(self, key: str) -> Any:
        """The value of `key` as it was stored."""
        try:
            return self._open()[key]
        except ValueError as error:                      # an object array, which would have to be unpickled
            raise InputError(f"cannot read {key} of {self.path}: {_reason(error)};"
                             " store plain arrays") from error

    def shape(self, key: str) -> tuple[tuple[int, ...], int | None]:
        """Shape of the images under `key`, and the axis of channels: None, 1 or 3."""
        shape = tuple(torch.as_tensor(self.get(key)).shape)
        axes = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] in (1, 3)]
        if len(shape) == 3:
            return shape, None
        if len(axes) != 1:
            raise InputError(f"{key} of {self.path} has shape {shape}; give it (N, H, W), or (N, H, W, C) or"
                             " (N, C, H, W) with 1 or 3 channels")
        return shape, axes[0]

    def blocks(self, key: str) -> Iterator[tuple[int, Tensor]]:
        """Yield (start row, block of rows) of the images under `key`, as tensors."""
        whole = torch.as_tensor(self.get(key))
        count = len(whole)
        rows = max(1, BLOCK_BYTES // max(1, whole[:1].numel() * whole.element_size()))
        if self.mapped:
            whole = None
        for start in range(0, count, rows):
            images = torch.as_tensor(self.get(key)) if whole is None else whole
            yield start, images[start:start + rows]

    def labels(self, images_key: str, labels_key: str) -> Integer[np.ndarray, " n"]:
        """Labels as (N,) integers; raises ValueError if they are something else, or not one per image."""
        labels = np.asarray(self.get(labels_key))
        count = self.shape(images_key)[0][0]
        if labels.dtype.kind not in "iu" or labels.shape != (count,):
            raise InputError(f"{labels_key} of {self.path} is {labels.dtype} {labels.shape};"
                             f" it needs {count} integers, one for each of {images_key}")
        return labels


def _all_pixels(file, keys):
    """Return the images under each of `keys` as uint8 (N, C, H, W); one range is decided for all of them."""
    highest = max(_highest(file, key) for key in keys)
    return [_pixels(file, key, 255 if highest <= 1 else 1) for key in keys]


def _highest(file, key):
    """Largest float under `key` (0 for integers); raises ValueError outside 0..255."""
    lowest, highest, floating = 0, 0, False
    for _, block in file.blocks(key):
        if block.dtype == torch.uint8:
            return 0
        low, high = (value.item() for value in block.aminmax())
        if not (low >= 0 and high <= 255):               # so worded that NaN is refused too
            raise InputError(f"{key} of {file.path} has values from {low:g} to {high:g}; store pixels before"
                             " normalisation: uint8, or floats in 0..1 or in 0..255")
        lowest, highest, floating = min(lowest, low), max(highest, high), block.is_floating_point()
    return highest if floating else 0


def _pixels(file, key, scale):
    shape, axis = file.shape(key)
    channels, height, width = {None: (1, *shape[1:]), 1: shape[1:], 3: (shape[-1], *shape[1:3])}[axis]
    pixels = torch.empty(shape[0], channels, height, width, dtype=torch.uint8)
    for start, block in file.blocks(key):
        block = block[:, None] if axis is None else block.movedim(axis, 1)
        if block.is_floating_point():
            block = (block.float() * scale).round_()
        pixels[start:start + len(block)] = block
    return pixels


def _class_names(file, values):
    """Names of the sorted label values: `classes` by position or by label; without it, the values."""
    if "classes" not in file.keys:
        return [str(value) for value in values]
    names = [str(name) for name in np.asarray(file.get("classes")).tolist()]
    if len(names) == len(values):
        return names
    if values[0] >= 0 and values[-1] < len(names):
        return [names[value] for value in values]
    raise InputError(f"{file.path} names {len(names)} classes but has {len(values)} labels from {values[0]} to "
                     f"{values[-1]}; make the two agree, or leave `classes` out")


def _reason(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
