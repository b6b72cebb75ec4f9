"""Which space are pixels in? Their statistics are compared with those of real training images in each space.

Condensed images keep their data set's brightness and coarse shapes, but gain contrast and fine structure, and sets
that started from noise keep much of it. So the distance to a space forgives more fine structure than less, and no
space is named where pixels resemble white noise, or the second nearest is not clearly farther.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError
from condense.core.randomness import Streams
from condense.data import RealData
from condense.data.space import SPACES, Space
from condense.data.zca import LARGEST, Whitening, fitted_whitening
from condense.sharing.stored import SetFile

BYTES = 64                                 # no space of a set has values beyond: these are 0..255
FEWEST = 50                                # images; fewer say too little
VALUES = 1 << 23                           # pixel values of images, evenly spread, that are looked at
REAL = 1000                                # real images that they are compared with, where these are as few
FITTED = 4096                              # values of an image up to which a whitening is fitted within a minute
NEAR, NEAR_RAW, CLEARLY = 1.5, 2.5, 1.0    # see `_decided`: octaves; calibrated on DM sets of three data sets
SAME_MEAN, SAME_SLOPE = 0.05, 0.3
ASK = f"give --space {', '.join(SPACES[:-1])} or {SPACES[-1]}"
LEADING = 8                                # principal directions that are looked at
WHITE_FINE = math.sqrt(2)                  # spread of neighbours' differences in N(0, 1)


@dataclass(frozen=True)
class Figures:
    """Statistics of pixels: mean, spread (std), correlation of neighbours, share outside [0, 1].

    `coarse` is the std of means over squares of a quarter of the shorter side, `fine` that of the differences of
    neighbours, `brightness` the std of whole images' means. Channel means are taken off before all but the share.
    `slope` is how much more varies along the first two principal directions of the data set than along the seventh and
    eighth, in octaves, where these are known: whitening takes it away, contrast does not change it.
    """

    mean: float
    spread: float
    neighbours: float
    outside: float
    coarse: float
    fine: float
    brightness: float
    slope: float | None = None

    @property
    def shape(self) -> float:
        """Coarse structure for each unit of fine, in octaves: large for photographs, small for noise."""
        return math.log2(max(self.coarse, 1e-12) / max(self.fine, 1e-12))

    def __str__(self) -> str:
        return (f"mean {self.mean:.2f}, spread {self.spread:.2f}, correlation of neighbours {self.neighbours:.2f}, "
                f"{100 * self.outside:.0f} % outside [0, 1]")


def figures(images: Float[Tensor, "n c h w"], whitening: Whitening | None = None) -> Figures:
    """Return the `Figures` of images (n, C, H, W), in float64; `whitening` knows the principal directions."""
    images = images.double()
    centred = images - images.mean((0, 2, 3), keepdim=True)
    spread = centred.std(correction=0)
    across = _differences(centred, 3), _differences(centred, 2)
    fine = torch.cat(across).square().mean().sqrt() if sum(map(len, across)) else spread
    coarse = F.avg_pool2d(centred, _square(images)).std(correction=0)
    neighbours = 1 - fine.square() / (2 * spread.square()) if spread > 0 else torch.ones(())
    outside = ((images < 0) | (images > 1)).double().mean()
    values = images.mean(), spread, neighbours, outside, coarse, fine, centred.mean((1, 2, 3)).std(correction=0)
    slope = None if whitening is None else _slope(images, whitening)
    return Figures(*map(float, values), slope)             # type: ignore[call-arg]


def _differences(images, dim):
    return images.diff(dim=dim).flatten()


def _slope(images, whitening):
    along = (images.flatten(1) @ whitening.eigenvectors[:, -LEADING:].double()).var(0)       # ascending, as they are
    return _octaves(float(along[-2:].mean()), float(along[:2].mean()))


def _square(images):
    """Return the side of the squares that coarse structure is measured on."""
    return max(1, min(images.shape[2:]) // 4)


def nearest_space(file: SetFile, spaces: Any) -> tuple[str, str]:
    """Return (space, evidence in words) by the statistics of all images of `file` together.

    Raises ValueError asking for --space where they are fewer than 50, or do not decide.
    """
    images = torch.cat([one.images for one in (file.sets or file.best)])
    if len(images) < FEWEST:
        raise InputError(f"{file.path} does not say what space its pixels are in, and {len(images)} images are too few "
                         f"to find out; {ASK}")
    if float(images.abs().max()) > BYTES:
        raise InputError(f"pixels of {file.path} reach {float(images.abs().max()):g}, as bytes do; divide the pixels "
                         "by 255 and save the set again")
    certainly_raw = not bool(((images < 0) | (images > 1)).any())
    images = images[::-(-len(images) // _at_most(len(images), images[0].numel()))]
    whitening = None if certainly_raw else _whitening(file, spaces, images[0].numel())
    found = figures(images, whitening)
    real = real_figures(spaces.normalised, ("raw",) if certainly_raw else SPACES, whitening)
    space, nearest = _decided(found, real, math.log2(1 / _square(images) / WHITE_FINE))
    told = f"its pixels have {found}; real images {nearest}: {real[nearest]}"
    if space is None:
        raise InputError(f"{file.path} does not say what space its pixels are in, and their statistics do not decide "
                         f"it: {told} is nearest, but not clearly; {ASK}")
    return space, f"{space}, by statistics: {told}"


def _at_most(number, size):
    """Return how many images of `size` values are looked at, where there are `number`."""
    return min(number, max(FEWEST, VALUES // size))


def _whitening(file, spaces, size):
    """Return the whitening of the data set, None where no one could have whitened images of `size` values.

    Raises ValueError where it would take long to fit: what it is for can be asked.
    """
    if FITTED < size <= LARGEST:
        raise InputError(f"{file.path} does not say what space its pixels are in, and with {size:,} values an image "
                         f"finding out would take long; {ASK}")
    return None if size > LARGEST else fitted_whitening(spaces.normalised)


def real_figures(real: RealData, spaces: Iterable[str], whitening: Whitening | None = None) -> dict[str, Figures]:
    """Return {space: Figures} of some training images of the normalised `real`, in those of `spaces` that can be.

    None is whitened without a `whitening`.
    """
    number = -(-_at_most(REAL, real.images[0].numel()) // real.num_classes)
    rows = real.sample(real.classes, number, Streams(0)("data")).index
    pixels = real.images[rows].cpu().double() / 255
    encoded = {space: Space(space, tuple(real.mean), tuple(real.std), whitening) for space in spaces}
    return {space: figures(encoding.encode(pixels).float(), whitening) for space, encoding in encoded.items()
            if space != "zca" or whitening is not None}


def distance(found: Figures, real: Figures) -> float:
    """Return how far the figures `found` are from those of real images: octaves of contrast, brightness in its std.

    Twice the fine structure counts half as much as half of it.
    """
    level = (found.mean - real.mean) / max(real.brightness, real.spread / 10)
    coarse, fine = (_octaves(getattr(found, name), getattr(real, name)) for name in ("coarse", "fine"))
    return math.hypot(level, coarse, fine / 2 if fine > 0 else fine)


def _octaves(a, b):
    return math.log2(max(a, 1e-12) / max(b, 1e-12))


def _decided(found, real, white):
    """Return (space or None where it is not clear, nearest space).

    Pixels that all lie in [0, 1] are raw if anything. Else the nearest space must be within NEAR, every other farther
    by CLEARLY; mean and slope, which contrast leaves as they are, must be nearer to its own than to another's, and the
    shape twice as near to its own as to that of white noise, `white`.
    """
    distances = {space: distance(found, its) for space, its in real.items()}
    nearest = min(distances, key=distances.get)
    if found.outside == 0:
        return ("raw" if distances["raw"] <= NEAR_RAW else None), nearest
    own, others = real[nearest], [its for space, its in real.items() if space != nearest]
    clear = distances[nearest] <= NEAR and min(distance(found, its) for its in others) - distances[nearest] >= CLEARLY
    alike = (_nearer(found.mean, own.mean, [its.mean for its in others], SAME_MEAN)
             and (found.slope is None or _nearer(found.slope, own.slope, [its.slope for its in others], SAME_SLOPE))
             and 2 * abs(found.shape - own.shape) < abs(found.shape - white))
    return (nearest if clear and alike else None), nearest


def _nearer(found, own, others, same):
    """Whether `found` is nearer to `own` than to any of `others` but those that are the `same` as it."""
    return all(abs(found - own) < abs(found - other) for other in others if abs(own - other) > same)
