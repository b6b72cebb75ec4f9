"""Multi-formation sets for the tests of them, and their images written out."""

import torch

from condense.data import RealData
from condense.synthetic.multi_formation import MultiFormation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_mosaics(num_classes=3, ipc=2, channel=2, im_size=(8, 6), factor=2, seed=0):
    """A set with standard normal mosaics and greys, in double precision, that belongs to no real data."""
    synthetic = MultiFormation(num_classes, ipc, channel, im_size, factor).double()
    with torch.no_grad():
        for tensor in (synthetic.mosaics, synthetic.grey):
            tensor.copy_(torch.randn(tensor.shape, generator=seeded(seed), dtype=torch.float64))
    return synthetic


def tiny_real(counts=(40, 37, 38), channel=3, im_size=(8, 6)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), channel, *im_size), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, ["ape", "bee", "cat"][:len(counts)])


def some(n=3, channel=2, height=8, width=6, seed=0):
    return torch.randn(n, channel, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def enlarged(tile, height, width):
    """Bilinear interpolation written out: output centre i lies at (i + 1/2) h / H - 1/2 of the tile, held inside it."""
    def weights(small, large):
        matrix = torch.zeros(large, small, dtype=torch.float64)
        for i in range(large):
            at = min(max((i + 0.5) * small / large - 0.5, 0), small - 1)
            low = int(at)
            high = min(low + 1, small - 1)
            matrix[i, low] += 1 - (at - low)
            matrix[i, high] += at - low
        return matrix
    return weights(tile.shape[-2], height) @ tile @ weights(tile.shape[-1], width).T


def decoded_by_hand(mosaics, factor, ipc, grey):
    """Return the images of class-major `mosaics` (K ipc, C, H, W), filled up with `grey` (C,): tile by tile of a class.
    """
    height, width = mosaics.shape[2:]
    tall, wide = -(-height // factor), -(-width // factor)
    canvas = grey.view(1, -1, 1, 1).repeat(len(mosaics), 1, tall * factor, wide * factor)
    canvas[:, :, :height, :width] = mosaics
    images = []
    for first in range(0, len(mosaics), ipc):
        for row in range(factor):
            for column in range(factor):
                for mosaic in canvas[first:first + ipc]:
                    tile = mosaic[:, row * tall:(row + 1) * tall, column * wide:(column + 1) * wide]
                    images.append(enlarged(tile, height, width))
    return torch.stack(images)
