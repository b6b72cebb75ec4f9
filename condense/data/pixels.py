"""Large uint8 image tensors handled without a second copy: order of rows, mean and std."""

import torch

BLOCK_BYTES = 64 * 2**20                                 # scratch memory of one block


def reorder_rows(images, order):
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


def channel_statistics(images):
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
