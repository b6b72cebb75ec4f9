"""The spaces that images live in: raw on the scale [0, 1], normalised, or ZCA-whitened; and the ways between them.

The only place that knows this arithmetic. It is done in the type of the images: float32 for networks, in one pass over
memory; float64 where a file is converted, by the plain formulas.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data.zca import Whitening

SPACES = ("normalised", "zca", "raw")
BYTE = 255


@dataclass(frozen=True)
class Space:
    """One of SPACES, with what makes it: `mean` and `std` per channel on the scale [0, 1], or a whitening, `zca`.

    "raw" needs neither; where they are given, they are those of its data set. Raises ValueError for an unknown name.
    """

    name: str
    mean: tuple | None = None
    std: tuple | None = None
    zca: Whitening | None = None

    def __post_init__(self) -> None:
        lookup(dict.fromkeys(SPACES), self.name, "space")

    @classmethod
    def of(cls, real: Any) -> "Space":
        """Return the space that the images of a `RealData` are in, or of what has its `mean`, `std` and `zca`."""
        mean, std = (None if values is None else tuple(values) for values in (real.mean, real.std))
        return cls("normalised" if real.zca is None else "zca", mean, std, real.zca)

    def decode(self, images: Float[Tensor, "*n c h w"], dtype: torch.dtype | None = None) -> Float[Tensor, "*n c h w"]:
        """Return `images` (..., C, H, W) of this space as raw pixels, not clamped: they may lie outside [0, 1].

        Computed and returned in `dtype`, by default that of the images; differentiable. Raises ValueError where what
        makes the space is not known, or is for images of another shape.
        """
        images = images if dtype is None else images.to(dtype)
        if self.name == "raw":
            return images
        if self.name == "zca":
            return self._whitening().restore(images).to(images.dtype)
        mean, std = self._mean_std(images)
        if images.dtype == torch.float64:
            return images * std + mean                     # rounded twice, as written; the fused form rounds once
        return torch.addcmul(mean, images, std)

    def encode(self, pixels: Float[Tensor, "*n c h w"], dtype: torch.dtype | None = None) -> Float[Tensor, "*n c h w"]:
        """Return raw `pixels` (..., C, H, W) on the scale [0, 1] as images of this space; see `decode`."""
        pixels = pixels if dtype is None else pixels.to(dtype)
        if self.name == "raw":
            return pixels
        if self.name == "zca":
            return self._whitening().whiten(pixels).to(pixels.dtype)
        mean, std = self._mean_std(pixels)
        return (pixels - mean) / std

    def encode_levels(self, levels: Shaped[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Return `levels` (..., C, H, W) on the scale 0..255, bytes or floats, as float32 images of this space.

        Normalised by one multiply-add, which reads bytes and writes floats.
        """
        if self.name != "normalised":
            return self.encode(levels.float() / BYTE)
        scale, shift = _scale_and_shift(self.mean, self.std, levels.device)
        return torch.addcmul(shift, levels, scale)

    def _mean_std(self, images):
        if self.mean is None or self.std is None or len(self.mean) != images.shape[-3]:
            raise InputError(f"normalised images of {images.shape[-3]} channels need as many means and stds, not "
                             f"{self.mean}; name their data set")
        return _per_channel((self.mean, self.std), images.dtype, images.device)

    def _whitening(self):
        if self.zca is None:
            raise InputError("whitened images need the ZCA they were whitened with; load their data set with zca=True")
        return self.zca


def converted(images: Float[Tensor, "n c h w"], before: Space, after: Space,
              between: Callable[[Tensor], Tensor] | None = None) -> Float[Tensor, "m c h w"]:
    """Return `images` (n, C, H, W) of the `Space` `before` in the one `after`: computed in float64, float32.

    `between` is what is done to the raw pixels on the way, None for nothing.
    """
    pixels = before.decode(images, torch.float64)
    return after.encode(pixels if between is None else between(pixels)).float()


@cache
def _per_channel(values, dtype, device):
    """Return tuples of numbers per channel as one tensor (len, C, 1, 1): copied to its device once."""
    return torch.tensor(values, dtype=dtype).to(device)[..., None, None]


@cache
def _scale_and_shift(mean, std, device):
    """Return what takes 0..255 to (x / 255 - mean) / std by one multiply-add, (C, 1, 1) float32 each."""
    mean, std = torch.tensor([mean, std], dtype=torch.float64)[:, :, None, None]
    return (1 / (BYTE * std)).to(torch.float32).to(device), (-mean / std).to(torch.float32).to(device)
