"""Between the spaces that pixels live in, in float64, with the constants of real data."""

from dataclasses import dataclass

import torch

from condense.data import Whitening
from condense.data.constants import PUBLISHED
from condense.data.space import SPACES, Space

__all__ = ["PUBLISHED", "SPACES", "Constants", "from_pixels", "to_pixels"]


@dataclass(frozen=True)
class Constants:
    """What a space is made with: `mean` and `std` per channel, or the `zca` whitening. A `RealData` serves as well."""

    mean: tuple | None = None
    std: tuple | None = None
    zca: Whitening | None = None


def to_pixels(images, space, real):
    """Return `images` (n, C, H, W), which are in `space`, as raw float64 on the scale [0, 1], not clamped."""
    return Space(space, *_made_with(real)).decode(images, torch.float64)


def from_pixels(pixels, space, real):
    """Return raw `pixels` (n, C, H, W) on the scale [0, 1] in `space`, as float32; the inverse of `to_pixels`."""
    return Space(space, *_made_with(real)).encode(pixels, torch.float64).float()


def _made_with(real):
    return (*(None if values is None else tuple(values) for values in (real.mean, real.std)), real.zca)
