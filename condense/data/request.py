"""Which data are asked for, of `load_data` and of its loaders, and the two answers that several loaders share."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from condense.core.errors import InputError
from condense.core.randomness import Streams
from condense.data.decoder import RESIZES
from condense.data.pixels import reorder_rows, resized

log = logging.getLogger("condense")

Parts = tuple[Int[Tensor, " train"], Int[Tensor, " test"]]                      # which rows are of which part
Loaded = tuple[UInt8[Tensor, "train c h w"], Int[Tensor, " train"], UInt8[Tensor, "test c h w"], Int[Tensor, " test"]]


@dataclass(frozen=True)
class DataChoice:
    """Which images `load_data` is to load, in which size and space.

    `data_path` is the folder of data sets, or for "folder" and "file" the folder or file itself.
    `im_size` (an int N) and `resize` ("crop": short side to N, then the centre; "squash": both sides to N;
    "auto": squash for ImageNet, else crop) bring images to one size, bilinearly with antialiasing; without `im_size`
    they keep theirs. `seed` decides what is held out where there is no test part; `progress` shows a bar while images
    are decoded. `zca` whitens both parts by the training part instead of normalising them. `subset` names some classes
    of ImageNet (SUBSETS). `classes` keeps some classes alone, named as `parse_classes` reads them and renumbered in
    that order; mean and std stay those of all, `zca` is fitted on the ones kept.
    """

    name: str
    data_path: str | Path = "data"
    im_size: int | None = None
    resize: str = "auto"
    seed: int = 0
    progress: bool = True
    zca: bool = False
    subset: str | None = None
    classes: str | None = None


@dataclass(frozen=True)
class Request:
    """What a loader is asked for: `im_size` and `resize` say which size images come in, `seed` what is held out.

    `subset` names classes of ImageNet.
    """

    name: str
    data_path: Path
    device: str | torch.device = "cpu"
    im_size: int | None = None
    resize: str = "crop"
    seed: int = 0
    progress: bool = True
    subset: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a size, or a way to get to it, that there is not."""
        if self.resize not in RESIZES:
            raise InputError(f"unknown --resize {self.resize!r}; choose one of: {', '.join(RESIZES)}")
        if self.im_size is not None and self.im_size < 1:
            raise InputError(f"--im_size must be at least 1, not {self.im_size}")

    def sized(self, images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c p q"]:
        """Return uint8 `images` (N, C, H, W) in the size that is asked for; as they are where none is."""
        return images if self.im_size is None else resized(images, self.im_size, self.resize)


def hold_out(labels: Int[Tensor, " n"], class_names: Sequence[str], seed: int, where: object) -> Parts:
    """Split (N,) labels into a training part and a stratified fifth: two int64 index tensors, ascending.

    Of n images of a class, round(n / 5) and at least one are held out, drawn from `seed` alone.
    Raises ValueError if a class has a single image, of which nothing could be held out.
    """
    rng = Streams(seed)("data")
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label, class_name in enumerate(class_names):
        members = (labels == label).nonzero().flatten()
        if len(members) < 2:
            raise InputError(f"class {class_name!r} in {where} has {len(members)} image(s), too few to hold out a test "
                             "part; add images, or provide a test part")
        size = max(1, round(len(members) / 5))
        test[members[torch.randperm(len(members), generator=rng)[:size]]] = True
    log.info("%s has no test part: a stratified fifth is held out with seed %d, %d of %d images",
             where, seed, int(test.sum()), len(labels))
    return (~test).nonzero().flatten(), test.nonzero().flatten()


def split_rows(images: UInt8[Tensor, "n c h w"], labels: Int[Tensor, " n"], parts: Parts) -> Loaded:
    """Return (images, labels, test images, test labels) for `parts` as `hold_out` gives them.

    `images` is reordered in place and returned as two views, so that the set is never held twice.
    """
    order, sizes = torch.cat(parts), [len(part) for part in parts]
    reorder_rows(images, order)
    images, test_images = images.split(sizes)
    labels, test_labels = labels[order].split(sizes)
    return images, labels, test_images, test_labels
