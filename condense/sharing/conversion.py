"""Between the spaces that pixels live in, in float64: raw on the scale [0, 1], normalised, and ZCA-whitened."""

from dataclasses import dataclass

import torch

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data import Whitening
from condense.data.tiny import MEAN, STD
from condense.data.torchvision_sets import ROWS

SPACES = ("normalised", "zca", "raw")


@dataclass(frozen=True)
class Constants:
    """What a space is made with: `mean` and `std` per channel, or the `zca` whitening. A `RealData` serves as well."""

    mean: tuple | None = None
    std: tuple | None = None
    zca: Whitening | None = None


# Of the data sets whose constants the published repositories agree on, without loading them.
PUBLISHED = {**{name: Constants(row.mean, row.std) for name, row in ROWS.items()},
             **dict.fromkeys(("TinyImageNet", "ImageNet"), Constants(MEAN, STD))}


def to_pixels(images, space, real):
    """Return `images` (n, C, H, W), which are in `space`, as raw float64 on the scale [0, 1], not clamped.

    `real` gives mean and std, or zca: a `RealData` or `Constants`. Raises ValueError where it has not what it takes.
    """
    images = images.double()
    return lookup(_TO, space, "space")(images, real) if space != "raw" else images


def from_pixels(pixels, space, real):
    """Return raw `pixels` (n, C, H, W) on the scale [0, 1] in `space`, as float32; the inverse of `to_pixels`."""
    pixels = pixels.double()
    return (lookup(_FROM, space, "space")(pixels, real) if space != "raw" else pixels).float()


def _denormalised(images, real):
    mean, std = _mean_std(images, real)
    return images * std + mean


def _normalised(pixels, real):
    mean, std = _mean_std(pixels, real)
    return (pixels - mean) / std


def _mean_std(images, real):
    if real.mean is None or len(real.mean) != images.shape[1]:
        raise InputError(f"normalised images of {images.shape[1]} channels need as many means and stds, not"
                         f" {real.mean}; name the data set they were made for")
    return torch.tensor([list(real.mean), list(real.std)], dtype=torch.float64)[:, :, None, None].to(images.device)


def _restored(images, real):
    whitening = _whitening(real)
    return (_times(images.flatten(1), whitening, 0.5) + whitening.mean.double()).view(images.shape)


def _whitened(pixels, real):
    whitening = _whitening(real)
    return _times(_rows(pixels, whitening) - whitening.mean.double(), whitening, -0.5).view(pixels.shape)


def _whitening(real):
    if real.zca is None:
        raise InputError("whitened images need the ZCA they were whitened with; load their data set with zca=True")
    return real.zca


def _rows(images, whitening):
    rows = images.flatten(1)
    if rows.shape[1] != len(whitening.mean):
        raise InputError(f"this whitening is for images of {len(whitening.mean):,} values, not"
                         f" {tuple(images.shape[1:])}; take the one fitted on their data set")
    return rows


def _times(rows, whitening, power):
    """rows U diag((s + eps)^power) U^T in float64, without the matrix, which would be the costlier product."""
    vectors = whitening.eigenvectors.double()
    scale = (whitening.eigenvalues.double() + whitening.eps) ** power
    return (rows @ vectors * scale) @ vectors.T


_TO = {"normalised": _denormalised, "zca": _restored}
_FROM = {"normalised": _normalised, "zca": _whitened}
