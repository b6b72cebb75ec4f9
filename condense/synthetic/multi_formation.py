"""Multi-formation: a stored image is a mosaic of f x f small ones, each enlarged to a training image.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022.
"""

import torch.nn.functional as F

GREY = 0.5                                 # what the published code pads raw pixels with


def decode(images, factor, pad=GREY):
    """Return the `factor`^2 n training images (n f^2, C, H, W) of n stored ones (n, C, H, W); differentiable.

    Sides that `factor` does not divide are padded at the right and at the bottom with `pad`, a number, or one for
    each channel: mid grey of raw pixels, (0.5 - mean) / std of normalised ones. The mosaic is cut row by row into
    f x f tiles of side ceil(H / f), which bilinear interpolation brings to (H, W). The tile is the slow index of what
    is returned, the image the fast one: labels follow as `labels.repeat(factor**2)`. Raises ValueError for a factor
    below 1 or above the sides.
    """
    height, width = images.shape[2:]
    if not 1 <= factor <= min(height, width):
        raise ValueError(f"a decode factor for {height}x{width} images is between 1 and {min(height, width)}, not"
                         f" {factor}")
    if factor == 1:
        return images
    tiles = _tiles(_padded(images, factor, pad), factor)
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def _padded(images, factor, pad):
    """Pad (n, C, H, W) to the next multiples of `factor`."""
    n, channel, height, width = images.shape
    below, beside = -height % factor, -width % factor
    if not (below or beside):
        return images
    level = images.new_tensor(pad).view(-1, 1, 1)          # (1, 1, 1) or (C, 1, 1)
    canvas = level.expand(n, channel, height + below, width + beside).clone()
    canvas[:, :, :height, :width] = images
    return canvas


def _tiles(images, factor):
    """Cut (n, C, f h, f w) into (f f n, C, h, w), tile by tile."""
    tiles = images.unflatten(3, (factor, -1)).unflatten(2, (factor, -1))         # (n, C, f, h, f, w)
    return tiles.permute(2, 4, 0, 1, 3, 5).flatten(0, 2)
