"""Class means of network features, the quantity that distribution matching compares.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, equation 4.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from condense.core.types import Augment, ClassMajor, Forward

KEEP_BYTES = 1 << 30                       # graphs up to this size are kept, larger ones are recomputed
AUGMENT_CHUNKS = 16                        # chunks that are fetched and augmented in one go


def class_means(embed: Forward, batch: ClassMajor, augment: Augment | None = None, chunk: int | None = None,
                recompute: bool | None = None) -> Float[Tensor, "k d"]:
    """Return the mean feature of each class of `batch`, (K, D), differentiable in its images.

    `embed` maps images (N, C, H, W) to features (N, D). `batch` is class-major: it has `counts` (images of
    each of its K classes, a list) and `images(index)` (slice -> images), as real batches and synthetic sets do.
    `augment` is called with (images, class positions) and is replayed, never redrawn. With `chunk`, images are
    embedded that many at a time. `recompute` says whether the backward pass runs each chunk's forward again
    instead of keeping its graph; by default it does where the graphs would not fit into about 1 GiB. The
    gradient is exact in every form. A network with batch norm must see its batch whole: leave `chunk` at None.
    """
    total = sum(batch.counts)
    chunk = min(chunk or total, total)
    position = np.repeat(np.arange(len(batch.counts)), batch.counts)

    def augmented(part):
        images = batch.images(part)
        return images if augment is None else augment(images, position[part])

    if recompute is None:
        recompute = chunk < total and _graph_bytes(batch, total) > KEEP_BYTES
    if recompute and torch.is_grad_enabled():
        features = (checkpoint(lambda part: embed(augmented(part)), part, use_reentrant=False)
                    for part in _slices(total, chunk))
        return _means(features, batch.counts)
    blocks = _slices(total, chunk * AUGMENT_CHUNKS)        # augmenting many images costs little more than a few
    return _means((embed(images) for block in blocks for images in augmented(block).split(chunk)), batch.counts)


def _slices(total, size):
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def _graph_bytes(batch, total):
    """Roughly what the graphs of `total` images take: about 300 floats per pixel in the standard ConvNet."""
    height, width = batch.images(slice(0, 1)).shape[2:]
    return total * height * width * 300 * 4


def _means(features, counts):
    """Average class-major feature chunks (an iterable of (n, D)) over the classes of sizes `counts`."""
    sums, position, left = [], 0, counts[0]
    partial = []
    for chunk in features:
        equal = len(set(counts)) == 1 and len(chunk) == sum(counts)
        if equal:                                          # everything at once: one kernel, however many classes
            return chunk.view(len(counts), counts[0], -1).mean(1)
        while len(chunk):
            piece, chunk = chunk[:left], chunk[left:]
            partial.append(piece.sum(0))
            left -= len(piece)
            if left == 0:
                sums.append(torch.stack(partial).sum(0) / counts[position])
                partial, position = [], position + 1
                left = counts[position] if position < len(counts) else 0
    return torch.stack(sums)
