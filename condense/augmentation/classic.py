"""The augmentation of DC's evaluation: one randomly chosen operation per image, not differentiable.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, used it when networks are
trained on MNIST and for ConvNetBN. Its three fills differ (channel means, zero, one mean of all): kept, the
published numbers have them.

`draw_classic` makes a record of all random choices on the host; `apply_classic` carries it out on any device,
with one run of tensor kernels per operation and no loop over images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError
from condense.core.randomness import generator_on
from condense.core.registry import unknown

# crop: padding in pixels; scale: relative range; rotate: degrees; noise: standard deviation
CLASSIC_DEFAULTS = dict(crop=4, scale=0.2, rotate=45, noise=0.001, strategy="none")


@dataclass(frozen=True)
class ClassicRecord:
    """All random choices for one minibatch: `steps` is a tuple of (operation, image indices, magnitudes)."""

    num_images: int
    im_size: tuple
    steps: tuple


def parse_classic(strategy: str | None) -> tuple[str, ...]:
    """Return the operations of a `strategy` like "crop_scale_rotate" as a tuple; () for "none", "" and None.

    Raises ValueError for an unknown operation, listing the known ones and suggesting the nearest.
    """
    if strategy is None or str(strategy).lower() in ("", "none"):
        return ()
    operations = tuple(strategy.split("_"))
    for operation in operations:
        if operation not in OPERATIONS:
            raise InputError(unknown("augmentation", operation, OPERATIONS))
    return operations


def classic_strategy(dataset: str, model_eval: str) -> str:
    """Return the strategy with which DC evaluates `model_eval` on a set of `dataset`: mostly "none"."""
    if model_eval == "ConvNetBN":
        return "crop_noise"
    return "crop_scale_rotate" if dataset == "MNIST" else "none"


def draw_classic(strategy: str | None, num_images: int, im_size: Sequence[int], rng: torch.Generator | None = None,
                 param: Mapping[str, Any] | None = None) -> ClassicRecord:
    """Draw a minibatch's augmentation: one operation of `strategy` per image, with its own magnitudes.

    `im_size` is (height, width), `rng` a `torch.Generator` (None: PyTorch's global one), `param` overrides
    entries of CLASSIC_DEFAULTS. Returns a `ClassicRecord`. Raises ValueError as `parse_classic` does.
    """
    operations, rng = parse_classic(strategy), generator_on("cpu", rng)
    param = {**CLASSIC_DEFAULTS, **(param or {})}
    if not operations:
        return ClassicRecord(num_images, tuple(im_size), ())
    choice = torch.randint(len(operations), (num_images,), generator=rng)
    steps = []
    for position, operation in enumerate(operations):
        index = (choice == position).nonzero().flatten()
        draw, _ = OPERATIONS[operation]
        steps.append((operation, index, draw(param[operation], len(index), im_size, rng)))
    return ClassicRecord(num_images, tuple(im_size), tuple(steps))


@torch.no_grad()
def apply_classic(images: Float[Tensor, "n c h w"], record: ClassicRecord) -> Float[Tensor, "n c h w"]:
    """Return a new (N, C, H, W) tensor: `images` augmented as `record` says; they themselves stay.

    Fill colours are means over the whole minibatch before any change. Raises ValueError if the record was
    drawn for another number or size of images.
    """
    if (len(images), *images.shape[-2:]) != (record.num_images, *record.im_size):
        raise InputError(f"the record is for {record.num_images} images of {record.im_size}, "
                         f"not for a batch of shape {tuple(images.shape)}")
    fill = images.mean((0, 2, 3))                                        # (C,)
    result = images.clone()
    for operation, index, magnitudes in record.steps:
        if len(index):
            _, apply = OPERATIONS[operation]
            index = index.to(images.device)
            result[index] = apply(images[index], fill, *magnitudes)
    return result


def augment_classic(images: Float[Tensor, "n c h w"], strategy: str | None, rng: torch.Generator | None = None,
                    param: Mapping[str, Any] | None = None) -> Float[Tensor, "n c h w"]:
    """Draw an augmentation for `images` (N, C, H, W) and return them augmented; see `draw_classic`."""
    return apply_classic(images, draw_classic(strategy, len(images), images.shape[-2:], rng, param))


def _draw_crop(padding, num, im_size, rng):
    if not padding:
        return torch.zeros(2, num, dtype=torch.int64)
    return torch.randint(2 * padding, (2, num), generator=rng) - padding    # +padding is never drawn


def _crop(images, fill, down, right):
    """Shift the window over `images` by whole pixels; outside they have the channel means `fill`."""
    height, width = images.shape[-2:]
    rows = torch.arange(height) + down[:, None]                          # (n, H)
    columns = torch.arange(width) + right[:, None]                       # (n, W)
    return _take(images, rows, columns, fill.view(-1, 1, 1))


def _draw_scale(ratio, num, im_size, rng):
    factor = 1 - ratio + 2 * ratio * torch.rand(2, num, generator=rng, dtype=torch.float64)
    return (factor * im_size[0]).long()                          # the width is scaled from the height too


def _scale(images, fill, heights, widths):
    """Resize each of `images` to its own size by nearest neighbour, centred over zeros."""
    height, width = images.shape[-2:]
    canvas = torch.maximum(heights, widths).clamp(min=max(height, width))
    rows = _nearest(height, heights, canvas)
    columns = _nearest(width, widths, canvas)
    return _take(images, rows, columns, torch.zeros((), dtype=images.dtype, device=images.device))


def _nearest(side, sizes, canvas):
    """Return (n, side): which pixel of `side` each output pixel shows, -1 outside the resized image."""
    position = torch.arange(side) + ((canvas - side) // 2 - (canvas - sizes) // 2)[:, None]
    ratio = float(side) / sizes.clamp(min=1).float()                   # float32, to round as PyTorch resizes
    source = (position.float() * ratio[:, None]).floor().long().clamp(max=side - 1)
    return source.where((position >= 0) & (position < sizes[:, None]), torch.tensor(-1))


def _take(images, rows, columns, fill):
    """Return images[n, :, rows[n], columns[n]], (n, C, H, W), with `fill` where an index lies outside."""
    (height, width), device = images.shape[-2:], images.device
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    taken = _gather(images, rows.clamp(0, height - 1).to(device)[:, :, None],
                    columns.clamp(0, width - 1).to(device)[:, None, :])
    return taken.where(inside[:, None].to(device), fill)


def _gather(images, rows, columns):
    """Return images[n, :, rows[n], columns[n]], with (n, H, W)-broadcastable indices, as (n, C, H, W)."""
    number, channel = (torch.arange(size, device=images.device) for size in images.shape[:2])
    return images[number[:, None, None, None], channel[:, None, None], rows[:, None], columns[:, None]]


def _draw_rotate(degrees, num, im_size, rng):
    if not degrees:
        return (torch.zeros(num, dtype=torch.int64),)
    return (torch.randint(-degrees, degrees, (num,), generator=rng),)    # +degrees is never drawn


def _rotate(images, fill, angles):
    """Rotate `images` by `angles` in degrees with cubic splines; outside they have the mean of `fill`.

    Equals the central window of `scipy.ndimage.rotate(image, angle, axes=(-2, -1), order=3, cval=...)`.
    """
    height, width = images.shape[-2:]
    rows, columns = _rotated_grid(angles.numpy(), height, width)         # (n, H, W) each
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    sampled = _sample_cubic(images, torch.from_numpy(rows), torch.from_numpy(columns))
    return sampled.where(torch.from_numpy(inside)[:, None].to(images.device), fill.mean())


def _rotated_grid(angles, height, width):
    """Return the image rows and columns, (n, H, W) float64, that the central window of each rotation shows.

    The canvas that holds a rotated image has a rounded size, and where that differs from the window's by an
    odd number the window lies half a pixel off the centre: kept, as it is part of the definition.
    """
    radians = np.deg2rad(angles.astype(np.float64))[:, None, None]
    cos, sin = np.cos(radians), np.sin(radians)
    canvas_height = np.floor(np.abs(cos) * height + np.abs(sin) * width + 0.5)
    canvas_width = np.floor(np.abs(sin) * height + np.abs(cos) * width + 0.5)
    down = np.arange(height)[:, None] + np.trunc((canvas_height - height) / 2) - (canvas_height - 1) / 2
    right = np.arange(width) + np.trunc((canvas_width - width) / 2) - (canvas_width - 1) / 2
    rows = cos * down + sin * right + (height - 1) / 2
    columns = cos * right - sin * down + (width - 1) / 2
    return _snap(rows), _snap(columns)


def _snap(coordinates):
    """Round away the last bits of coordinates, so that a pixel exactly on the border counts as inside."""
    return np.round(coordinates, 9)


def _sample_cubic(images, rows, columns):
    """Return the cubic spline through `images` at (n, H, W) `rows` and `columns`, mirrored at the border."""
    height, width = images.shape[-2:]
    spline = _spline_operator(height).to(images) @ images @ _spline_operator(width).to(images).T
    row_taps, row_weights = _taps(rows, height, images)
    column_taps, column_weights = _taps(columns, width, images)
    result = torch.zeros_like(images)
    for row, row_weight in zip(row_taps, row_weights, strict=True):      # 4 x 4 taps
        for column, column_weight in zip(column_taps, column_weights, strict=True):
            result += (row_weight * column_weight)[:, None] * _gather(spline, row, column)
    return result


def _taps(coordinates, side, like):
    """Return the four pixels around each coordinate and their cubic B-spline weights, on `like`'s device."""
    first = coordinates.floor()
    t = coordinates - first
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    indices = [_mirror(first.long() + offset, side).to(like.device) for offset in (-1, 0, 1, 2)]
    return indices, [(weight / 6).to(like) for weight in weights]


def _mirror(index, side):
    """Reflect `index` about the first and the last of `side` pixels, which are not repeated."""
    index = index.abs()
    return torch.minimum(index, 2 * (side - 1) - index).clamp(0, side - 1)


@cache
def _spline_operator(side):
    """Return the (side, side) float64 matrix from pixels to the coefficients of the spline through them."""
    index = torch.arange(side)
    values = torch.zeros(side, side, dtype=torch.float64)            # from coefficients to pixels
    for offset, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6)):
        values[index, _mirror(index + offset, side)] += weight       # offsets apart: no entry is met twice
    return torch.linalg.inv(values)


def _draw_noise(deviation, num, im_size, rng):
    seed = int(torch.randint(2**62, (), generator=rng))          # the pixels are drawn where the images are
    return deviation, seed


def _noise(images, fill, deviation, seed):
    rng = torch.Generator(images.device).manual_seed(seed)
    noise = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    return images + deviation * noise


OPERATIONS: dict[str, tuple[Callable, Callable]] = {
    "crop": (_draw_crop, _crop),
    "scale": (_draw_scale, _scale),
    "rotate": (_draw_rotate, _rotate),
    "noise": (_draw_noise, _noise),
}
