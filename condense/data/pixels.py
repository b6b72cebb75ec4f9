"""Large uint8 image tensors handled a block at a time: order of rows, size of images, mean and std."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

BLOCK_BYTES = 64 * 2**20                                 # scratch memory of one block
TIE = 2.0**-10                                           # what lacks so little to a half is rounded up


def reorder_rows(images: UInt8[Tensor, "n c h w"], order: Int[Tensor, " n"]) -> None:
    """Permute the rows of a contiguous uint8 tensor (N, C, H, W) in place: row i becomes old row `order[i]`.

    Works through columns of pixels, so that it needs about 64 MB however large the set is.
    """
    if torch.equal(order, torch.arange(len(order), device=order.device)):
        return
    flat = images.view(len(images), -1)
    if flat.shape[1] % 8 == 0 and flat.storage_offset() % 8 == 0:
        flat = flat.view(torch.int64)                    # eight pixels at a time: fewer, wider moves
    width = max(1, BLOCK_BYTES // (len(flat) * flat.element_size()))
    for columns in flat.split(width, dim=1):
        columns.copy_(columns[order])


def resized(images: UInt8[Tensor, "n c h w"], side: int, how: str = "crop") -> UInt8[Tensor, "n c {side} {side}"]:
    """Return uint8 `images` (N, C, H, W) as (N, C, side, side): bilinear with antialiasing, as image files are.

    `how` "crop" brings the short side to `side` and cuts out the centre, "squash" both sides. Images that have the
    size already are returned as they are. It needs the memory of the result and about 64 MB more, however large the set
    is. Halves are rounded up, and so is what falls short of them by rounding: every machine finds the same pixels.
    """
    height, width = images.shape[2:]
    if (height, width) == (side, side):
        return images
    short = min(height, width)
    scaled = (side, side) if how == "squash" else (side * height // short, side * width // short)
    top, left = (round((length - side) / 2) for length in scaled)
    found = torch.empty(*images.shape[:2], side, side, dtype=torch.uint8, device=images.device)
    of_one = 4 * images.shape[1] * max(height * width, scaled[0] * scaled[1])
    rows = max(1, BLOCK_BYTES // (2 * of_one))                   # the block in floats, before and after
    for target, block in zip(found.split(rows), images.split(rows)):
        block = interpolated(block.float(), scaled)
        target.copy_(block[..., top:top + side, left:left + side].add_(0.5 + TIE).floor_())
    return found


def interpolated(images: Float[Tensor, "n c h w"], size: Sequence[int]) -> Float[Tensor, "n c {size[0]} {size[1]}"]:
    """Return float `images` (N, C, H, W) at `size` (height, width), bilinear with antialiasing.

    PyTorch repeats the first row in every row of an image one pixel wide, so such a one is computed lying down.
    """
    lying = size[1] == 1
    if lying:
        images, size = images.transpose(2, 3).contiguous(), size[::-1]
    found = F.interpolate(images, size, mode="bilinear", antialias=True)
    return found.transpose(2, 3) if lying else found


def channel_statistics(images: UInt8[Tensor, "n c h w"]) -> tuple[list[float], list[float]]:
    """Return (mean, std) per channel of uint8 (N, C, H, W) on the scale [0, 1], as lists of float.

    Exact: pixel values are counted, and the moments follow from the counts in float64 (population std).
    A channel of one constant value gets std 1, so that normalising stays defined.
    """
    num_channels = images.shape[1]
    counts = torch.zeros(num_channels, 256, dtype=torch.float64)
    rows = max(1, BLOCK_BYTES // 8 // images[0].numel())         # bincount widens to eight bytes
    for block in images.split(rows):
        for channel in range(num_channels):
            counts[channel] += torch.bincount(block[:, channel].flatten(), minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ values                                        # (C,)
    variance = (share * (values - mean[:, None]).square()).sum(1)
    std = torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))
    return mean.tolist(), std.tolist()
