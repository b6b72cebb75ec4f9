"""Multi-formation: a stored image is a mosaic of f x f small ones, each enlarged to a training image.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.registry import unknown
from condense.core.types import Index
from condense.data.real import RealBatch, RealData
from condense.synthetic.base import SyntheticSet
from condense.synthetic.factors import AGAIN, require_factors

GREY = 0.5                                 # what the published code pads raw pixels with
DTYPES = {"mosaics": torch.float32, "grey": torch.float32, "labels": torch.int64}
NUMBERS = ("ipc", "factor")


class MultiFormation(SyntheticSet):
    """`ipc` mosaics for each of `num_classes` classes, each of f x f tiles that are training images: f is `factor`.

    Parameter `mosaics` (K ipc, C, H, W) float32, unconstrained, in normalised space: the budget whatever f is, and
    ipc f^2 images of each class. Image t ipc + j of a class is tile t of its mosaic j, tiles row by row. Buffer `grey`
    (C, 1, 1) is what fills tiles up where f does not divide a side: mid grey of the real data that the set starts
    from, 0 where they are whitened. Raises ValueError for a factor that leaves a tile without a stored pixel.

    The published code has two more ways of decoding, both for training alone (its sets are scored as here): all scales
    at once, and with large ImageNet sets a part of the tiles. Here training and evaluation see the same images.
    """

    IN_WORDS = "multi-formation: each stored image is a mosaic of small ones, enlarged when it is used"
    INITS, HAS_FACTORS, PIXELS = ("noise", "real"), True, ("mosaics",)
    OPTIONS = {"factor": {"default": 2, "ge": 1, "help": "tiles per side f of a stored image, each enlarged to a "
                          "training image (published: 2, for 224 pixels 3)", "aliases": ("f",)}}

    grey: Tensor

    def __init__(self, num_classes: int, ipc: int, channel: int, im_size: Sequence[int], factor: int = 2) -> None:
        _check_factor(factor, im_size)
        labels = torch.arange(num_classes).repeat_interleave(ipc * factor**2)
        shape = (num_classes * ipc, channel, *im_size)
        super().__init__(labels, [ipc * factor**2] * num_classes, math.prod(shape))
        self.ipc, self.factor = ipc, factor
        self.mosaics = nn.Parameter(torch.zeros(shape))
        self.register_buffer("grey", torch.zeros(channel, 1, 1))

    @classmethod
    def stores_images(cls, factor: int = OPTIONS["factor"]["default"]) -> bool:          # type: ignore[override]
        return factor == 1

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        if index is None:
            return self._enlarged(self._tiles(self.mosaics))
        if not isinstance(index, slice):
            return self._enlarged(self._tiles(self.mosaics)[index])
        first, last, step = index.indices(len(self.hard_labels))
        each = self.counts[0]
        c, behind = first // each, -(-last // each)        # classes that the slice touches: no others are cut
        tiles = self._tiles(self.mosaics[c * self.ipc:behind * self.ipc])
        return self._enlarged(tiles[first - c * each:max(first, last) - c * each:step])

    def _tiles(self, mosaics):
        """Cut the mosaics of whole classes, (k ipc, C, H, W) -> (k f^2 ipc, C, h, w)."""
        return _tiles(_padded(mosaics, self.factor, self.grey), self.factor, self.ipc)

    def _enlarged(self, tiles):
        return _enlarged(tiles, self.mosaics.shape[2:])

    @torch.no_grad()
    def init_from(self, real: RealData, how: str, rng: torch.Generator) -> "MultiFormation":
        """Start from 'noise' or 'real'.

        'noise': raw pixels clamp(N(0, 1) / 4 + 0.5, 0, 1), as published; standard normal where `real` is whitened.
        'real': another image of the class in every tile, as `start_from` shrinks it. They are drawn, where the
        published code takes the first of the training set. `build_synthetic` has made sure that every class has enough.
        Raises ValueError for an unknown `how`.
        """
        if how not in self.INITS:
            raise InputError(f"--init: {unknown('start', how, self.INITS)}")
        if how == "real":
            return self.start_from(real.sample(real.classes, self.counts[0], rng))
        self._take_grey_of(real)
        noise = torch.randn(self.mosaics.shape, generator=rng)
        raw = (noise / 4 + GREY).clamp(0, 1)
        self.mosaics.copy_(real.normalise(255 * raw) if real.zca is None else noise)
        return self

    @torch.no_grad()
    def start_from(self, batch: RealBatch) -> "MultiFormation":  # type: ignore[override]
        """Shrink the images of `batch`, `counts` of each class, into the tiles: each is decoded at its own position.

        They are brought to those pixels of a tile that are stored, by nearest neighbour, as published. (Averages of
        areas are nearer to the images once enlarged, but networks learn no more from them.)
        """
        self._take_grey_of(batch.real)
        positions = torch.arange(len(self.hard_labels), device=self.mosaics.device)
        by_tile = positions.view(len(self.counts), -1, self.ipc).transpose(0, 1).flatten(1)      # (f^2, K ipc)
        down, across = (_spans(side, self.factor) for side in self.mosaics.shape[2:])
        places = [(rows, columns) for rows in down for columns in across]
        for shown, (rows, columns) in zip(by_tile, places, strict=True):
            size = rows.stop - rows.start, columns.stop - columns.start
            self.mosaics[:, :, rows, columns] = F.interpolate(batch.images(shown), size, mode="nearest")
        return self

    def _take_grey_of(self, real):
        grey = torch.full(self.grey.shape, 255 * GREY, device=self.grey.device)
        self.grey.copy_(real.normalise(grey) if real.zca is None else torch.zeros_like(grey))

    def factors(self) -> dict[str, Any]:
        """Return mosaics, factor and grey, the budget, and one label per class."""
        tensors = {"mosaics": self.mosaics, "grey": self.grey, "labels": self.hard_labels[::self.counts[0]]}
        return {"parameterization": "multi_formation", "ipc": self.ipc, "factor": self.factor,
                **{name: tensor.detach().cpu().to(DTYPES[name]).clone() for name, tensor in tensors.items()}}

    @classmethod
    def from_factors(cls, factors: dict[str, Any]) -> "MultiFormation":
        """Return the set whose `factors()` these are, on the CPU, with the labels that they came with.

        Raises ValueError in one line for a factor that is missing, of another type or of a shape that does not fit.
        """
        _check_factors(factors)
        mosaics, grey, labels = (factors[name] for name in DTYPES)
        synthetic = cls(len(labels), factors["ipc"], mosaics.shape[1], tuple(mosaics.shape[2:]), factors["factor"])
        synthetic.load_state_dict({"mosaics": mosaics, "grey": grey,
                                   "own_labels.classes": labels.repeat_interleave(synthetic.counts[0])})
        return synthetic


def decode(images: Float[Tensor, "n c h w"], factor: int,
           pad: float | Sequence[float] | Tensor = GREY) -> Float[Tensor, "m c h w"]:
    """Return the `factor`^2 n training images (n f^2, C, H, W) of n stored ones (n, C, H, W); differentiable.

    Sides that `factor` does not divide are padded at the right and at the bottom with `pad`, a number, or one for
    each channel: mid grey of raw pixels, (0.5 - mean) / std of normalised ones. The mosaic is cut row by row into
    f x f tiles of side ceil(H / f), which bilinear interpolation brings to (H, W). The tile is the slow index of what
    is returned, the image the fast one: labels follow as `labels.repeat(factor**2)`. Raises ValueError for a factor
    below 1 or above the sides.
    """
    height, width = images.shape[2:]
    if not 1 <= factor <= min(height, width):
        raise InputError(f"a decode factor for {height}x{width} images is between 1 and {min(height, width)}, not"
                         f" {factor}")
    return _enlarged(_tiles(_padded(images, factor, pad), factor, len(images)), (height, width))


def _padded(images, factor, pad):
    """Pad (n, C, H, W) to the next multiples of `factor`."""
    n, channel, height, width = images.shape
    below, right = -height % factor, -width % factor
    if not (below or right):
        return images
    level = torch.as_tensor(pad, dtype=images.dtype, device=images.device).view(-1, 1, 1)  # (1, 1, 1) or (C, 1, 1)
    canvas = level.expand(n, channel, height + below, width + right).clone()
    canvas[:, :, :height, :width] = images
    return canvas


def _tiles(images, factor, group):
    """Cut (k m, C, f h, f w) into (k f f m, C, h, w), tile by tile of each `group` of m images."""
    if factor == 1:
        return images
    tiles = images.unflatten(3, (factor, -1)).unflatten(2, (factor, -1)).unflatten(0, (-1, group))
    return tiles.permute(0, 3, 5, 1, 2, 4, 6).flatten(0, 3)                      # from (k, m, C, f, h, f, w)


def _enlarged(tiles, size):
    """(n, C, h, w) -> (n, C, *size)."""
    return tiles if tiles.shape[2:] == size else F.interpolate(tiles, size, mode="bilinear", align_corners=False)


def _spans(side, factor):
    """Return the stored pixels of each of the `factor` tiles along a side, as slices; the last may be shorter."""
    tile = -(-side // factor)
    return [slice(first, min(first + tile, side)) for first in range(0, tile * factor, tile)]


def _check_factor(factor, im_size):
    """Raise ValueError where a tile would be nothing but padding, naming the next smaller factor."""
    def fits(factor):
        return all((factor - 1) * -(-side // factor) < side for side in im_size)

    if factor < 1:
        raise InputError(f"--factor must be 1 or larger, not {factor}")
    if not fits(factor):
        smaller = next(f for f in range(factor - 1, 0, -1) if fits(f))
        raise InputError(f"--factor {factor} makes tiles of {im_size[0]}x{im_size[1]} images without a pixel of its "
                         f"own; use --factor {smaller}")


def _check_factors(factors):
    """Raise ValueError where `factors` are not those of a multi-formation set."""
    require_factors(factors, "a multi-formation set", NUMBERS, DTYPES)
    if not _fit(*(factors[name] for name in (*DTYPES, "ipc"))):
        shapes = ", ".join(f"{name} {list(factors[name].shape)}" for name in DTYPES)
        raise InputError(f"{shapes} of a multi-formation set with {factors['ipc']} mosaics per class do not fit "
                         f"together: mosaics are (n, C, H, W), grey is (C, 1, 1); {AGAIN}")


def _fit(mosaics, grey, labels, ipc):
    """Whether there are `ipc` mosaics for each label, and one grey for each of their channels."""
    if (mosaics.dim(), labels.dim()) != (4, 1) or min(mosaics.shape) < 1:
        return False
    return len(mosaics) == len(labels) * ipc and grey.shape == (mosaics.shape[1], 1, 1)
