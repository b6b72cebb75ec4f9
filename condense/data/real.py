"""The real data of a run on its device, sorted by class: uint8 pixels normalised on the fly, or whitened images."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from condense.core.errors import InputError
from condense.core.randomness import generator_on
from condense.core.types import Rows, Size
from condense.data.pixels import BLOCK_BYTES, channel_statistics, reorder_rows
from condense.data.space import Space
from condense.data.zca import Whitening

MAX_PLANS = 512                                          # remembered (classes, n) pairs; a run uses a handful


class RealData:
    """A training set and its test set, held whole on one device (Tiny ImageNet: 1.4 GB, not 5.4).

    `images` (N, C, H, W) uint8 and `labels` (N,) int64 are the training part in class-major order: row i
    came in as row `order[i]`, (N,) int64 on the CPU. `test_images` and `test_labels` keep the order they
    came in. Class c occupies `class_counts[c]` rows from `class_starts[c]`; both are lists of int, so that
    asking costs no device synchronisation. `mean` and `std` are per channel, on pixels scaled to [0, 1].

    `zca` is None, or after `whiten` the `Whitening` that takes the place of mean and std: `images` and
    `test_images` are then float32 and whitened, as every batch is, and mean and std, which still describe the
    pixels, are applied by nothing. `space` is the `Space` that batches are in.

    `class_ids` is None, or, where these are some classes of a data set, the numbers that they have in it.
    """

    def __init__(self, name: str, images: Tensor, labels: Sequence[int] | ndarray | Tensor, test_images: Tensor,
                 test_labels: Sequence[int] | ndarray | Tensor, class_names: Iterable[object],
                 mean: Iterable[float] | None = None, std: Iterable[float] | None = None,
                 device: torch.device | str = "cpu") -> None:
        """Take over uint8 `images` (N, C, H, W) with (N,) integer `labels`, and the same for the test part.

        Training images that are not in class-major order are reordered in place. Mean and std are
        computed from the training pixels where they are None. Raises ValueError for shapes or labels
        that do not fit together, naming what is wrong.
        """
        self.name, self.device = name, torch.device(device)
        self.class_names = [str(class_name) for class_name in class_names]
        images, labels = _checked(images, labels, self.num_classes, "training")
        test_images, test_labels = _checked(test_images, test_labels, self.num_classes, "test")
        if images.shape[1:] != test_images.shape[1:]:
            raise InputError(f"training images are {tuple(images.shape[1:])}, test images"
                             f" {tuple(test_images.shape[1:])}; give both the same channels and size")
        self.class_counts = torch.bincount(labels, minlength=self.num_classes).tolist()
        if 0 in self.class_counts:
            missing = self.class_names[self.class_counts.index(0)]
            raise InputError(f"class {missing!r} of {name} has no training images; add some, or leave it out")
        self.class_starts = _running_starts(self.class_counts)

        labels, self.order = labels.sort(stable=True)
        reorder_rows(images, self.order.to(images.device))
        self.images, self.labels = images.to(self.device), labels.to(self.device)
        self.test_images, self.test_labels = test_images.to(self.device), test_labels.to(self.device)

        if mean is None or std is None:
            mean, std = channel_statistics(images)
        self.mean, self.std = [float(value) for value in mean], [float(value) for value in std]
        self._plans = {}
        self.zca: Whitening | None = None
        self.class_ids: list[int] | None = None
        self.space = Space.of(self)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.im_size
        return (f"RealData({self.name}: {len(self)} training and {len(self.test_labels)} test images,"
                f" {self.channel}x{height}x{width}{', whitened' * (self.zca is not None)}, {self.num_classes} classes,"
                f" on {self.device})")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def classes(self) -> range:
        """All class ids, as a range."""
        return range(self.num_classes)

    @property
    def channel(self) -> int:
        return self.images.shape[1]

    @property
    def im_size(self) -> Size:
        """(H, W)."""
        return tuple(self.images.shape[2:])

    @property
    def spec(self) -> tuple[int, int, Size]:
        """(channel, num_classes, im_size): what a network needs to know."""
        return self.channel, self.num_classes, self.im_size

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of pixels and labels of both parts, mean, std and class names; equal on any device.

        That of a whitened set is derived from its pixels' and the settings of the whitening.
        """
        shapes = [list(images.shape) for images in (self.images, self.test_images)]
        described = json.dumps([shapes, self.mean, self.std, self.class_names])
        digest = hashlib.sha256(described.encode())
        for tensor in (self.images, self.labels, self.test_images, self.test_labels):
            for block in tensor.split(4096):
                digest.update(block.contiguous().cpu().numpy())
        return digest.hexdigest()

    def whiten(self, whitening: Whitening) -> None:
        """Make a float32 copy of both parts, whitened by `whitening`, and store it instead of the pixels.

        `whitening` is the one fitted on the training part: the fingerprint names its settings, not its rounding.
        Raises ValueError for a set that is whitened, or has images of another size than `whitening` is for.
        """
        if self.zca is not None:
            raise InputError(f"{self.name} is whitened already; load it again for another whitening")
        settings = json.dumps([self.fingerprint, "zca", whitening.eps])
        space = Space("zca", tuple(self.mean), tuple(self.std), whitening)
        self.test_images = _in_space(self.test_images, space)
        self.images = _in_space(self.images, space)
        self.fingerprint = hashlib.sha256(settings.encode()).hexdigest()
        self.zca, self.space = whitening, space

    def normalise(self, pixels: Shaped[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """uint8 pixels (..., C, H, W) -> float32 (pixels / 255 - mean) / std; of a whitened set, whitened instead.

        One multiply-add that reads bytes and writes floats: a single pass over memory. The images that a whitened
        set stores need nothing more: floats come back as they are.
        """
        if self.zca is not None and pixels.dtype != torch.uint8:
            return pixels
        return self.space.encode_levels(pixels)

    def denormalise(self, images: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Normalised or whitened images (..., C, H, W) -> pixels in [0, 1], clamped; differentiable inside."""
        return self.space.decode(images).clamp(0, 1)

    def indices_of(self, label: int) -> Int[Tensor, " n"]:
        """Rows of class `label` in `images`, ascending: int64 on the device."""
        start = self.class_starts[label]
        return torch.arange(start, start + self.class_counts[label], device=self.device)

    def batch_of(self, index: Sequence[int] | Int[ndarray, " n"] | Int[Tensor, " n"]) -> "RealBatch":
        """The training images at rows `index` (int64 tensor), in that order, as a batch of one group."""
        index = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        return RealBatch(self, index, self.labels[index], [len(index)])

    def sample(self, classes: Iterable[int], n: int | None = None, rng: torch.Generator | None = None) -> "RealBatch":
        """Draw `n` images without replacement from each of `classes`: a `RealBatch`, class after class.

        Each class's draw is uniform over its subsets of n, and in random order. A class with fewer than n
        gives all it has; `n=None` takes every image of each class in stored order and draws nothing.
        `rng` is a `torch.Generator` (None: torch's own). On a GPU the draw happens there and nothing waits.
        """
        plan = self._plan(tuple(classes), n)
        if plan.width is None:
            return RealBatch(self, plan.starts, plan.labels, plan.counts)
        # The n smallest of random keys are a uniform subset. Float64: equal keys, whose order may
        # depend on the device's sort, practically never occur.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        keys = torch.rand(len(plan.starts), plan.width, dtype=dtype, device=self.device,
                          generator=generator_on(self.device, rng))
        if plan.beyond is not None:
            keys.masked_fill_(plan.beyond, 2)                    # past a smaller class's end: chosen last
        local = keys.topk(plan.take, dim=1, largest=False).indices            # (K, take), smallest first
        index = (local + plan.starts).flatten()
        if plan.keep is not None:
            index = index.index_select(0, plan.keep)
        return RealBatch(self, index, plan.labels, plan.counts)

    def test_batches(self, size: int = 256) -> Iterator[tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]]:
        """Yield the test set in order as (normalised or whitened images, labels), `size` at a time, on the device."""
        for pixels, labels in zip(self.test_images.split(size), self.test_labels.split(size)):
            yield self.normalise(pixels), labels

    def _plan(self, classes, n):
        if (classes, n) not in self._plans:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[classes, n] = self._make_plan(classes, n)
        return self._plans[classes, n]

    def _make_plan(self, classes, n):
        unknown = [label for label in classes if not 0 <= label < self.num_classes]
        if unknown or not classes:
            raise InputError(f"no such class {unknown} in {self.name};"
                             f" choose among 0..{self.num_classes - 1}")
        if n is not None and n < 1:
            raise InputError(f"a batch needs at least 1 image per class, not {n}")
        sizes = [self.class_counts[label] for label in classes]
        counts = [size if n is None else min(n, size) for size in sizes]
        labels = torch.tensor(classes).repeat_interleave(torch.tensor(counts)).to(self.device)
        if n is None:
            return _Plan(counts, labels, torch.cat([self.indices_of(label) for label in classes]))
        width, take = max(sizes), max(counts)
        starts = torch.tensor([self.class_starts[label] for label in classes])[:, None].to(self.device)
        beyond = keep = None
        if min(sizes) < width:
            beyond = (torch.arange(width) >= torch.tensor(sizes)[:, None]).to(self.device)       # (K, width)
        if min(counts) < take:
            keep = (torch.arange(take) < torch.tensor(counts)[:, None]).flatten().nonzero().flatten()
            keep = keep.to(self.device)
        return _Plan(counts, labels, starts, width, take, beyond, keep)


class RealBatch:
    """Some rows of a `RealData`, kept as an index: pixels become floats only when `images` is called.

    `index` (M,) rows of the store, `labels` (M,) int64 on the device (read only: draws of the same
    classes share them), `counts` the number of images per requested class, as a list of int.
    """

    def __init__(self, real: RealData, index: Int[Tensor, " n"], labels: Int[Tensor, " n"],
                 counts: Iterable[int]) -> None:
        self.real, self.index, self.labels, self.counts = real, index, labels, list(counts)

    def __len__(self) -> int:
        return len(self.index)

    def images(self, index: Rows | Bool[Tensor, " n"] | None = None) -> Float[Tensor, "m c h w"]:
        """Normalised float32 (M, C, H, W), or whitened, of the whole batch or a slice or tensor of positions in it."""
        rows = self.index if index is None else self.index[index]
        return self.real.normalise(self.real.images.index_select(0, rows))


@dataclass(frozen=True)
class _Plan:
    """What draws of the same classes and n share, made once, so that a draw is a few kernels and no copy."""

    counts: list
    labels: torch.Tensor
    starts: torch.Tensor                                 # (K, 1) first rows; all rows where nothing is drawn
    width: int | None = None                             # largest class: keys per row
    take: int | None = None                              # largest count
    beyond: torch.Tensor | None = None                   # (K, width) True where a class has no such image
    keep: torch.Tensor | None = None                     # positions of real draws in K * take


def _in_space(pixels, space):
    """Return uint8 `pixels` (N, C, H, W) as float32 images of `space`, a block at a time."""
    images = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
    rows = max(1, BLOCK_BYTES // images[0].nbytes)
    for encoded, block in zip(images.split(rows), pixels.split(rows)):
        encoded.copy_(space.encode_levels(block))
    return images


def _running_starts(counts):
    starts = [0]
    for count in counts[:-1]:
        starts.append(starts[-1] + count)
    return starts


def _checked(images, labels, num_classes, part):
    """Contiguous uint8 images and int64 labels on the host; raises ValueError if they do not fit."""
    labels = torch.as_tensor(labels).to("cpu", torch.int64)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise InputError(f"{part} images must be uint8 (N, C, H, W), not {images.dtype}"
                         f" {tuple(images.shape)}")
    if labels.shape != images.shape[:1] or not len(labels):
        raise InputError(f"{len(images)} {part} images with labels of shape {tuple(labels.shape)};"
                         " give each image one label, and at least one image")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InputError(f"{part} labels run from {int(labels.min())} to {int(labels.max())},"
                         f" but there are {num_classes} classes; number them 0..{num_classes - 1}")
    return images.contiguous(), labels
