"""A step's part of the memory, and the memory: the union of the parts of all steps so far."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch

from condense.evaluation import TensorSet


@dataclass(frozen=True)
class Part:
    """What one step adds: `images` (n, C, H, W) float32 on the CPU, normalised as the data at hand are.

    `labels` are class ids of the whole data set, (n,) int64, or (n, K) probabilities. `bytes` are what it stores.
    """

    images: torch.Tensor
    labels: torch.Tensor
    bytes: int

    @cached_property
    def sha256(self):
        """Hex sha256 of images and labels."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), tuple(self.labels.shape))).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy())
        return digest.hexdigest()


def part_of_rows(real, rows):
    """Return the training images at `rows` of `real` as a `Part`, in bytes of float32 as condensed images are."""
    batch = real.batch_of(rows)
    images = batch.images().cpu()
    return Part(images, batch.labels.cpu(), 4 * images.numel())


def part_of_result(result, classes, num_classes):
    """Return the set of a result made from `classes` alone as a `Part`, with ids of the whole of `num_classes`."""
    images, labels = result["data"][0]
    return Part(images, original_labels(labels, classes, num_classes), result["meta"]["storage"]["bytes"])


def original_labels(labels, classes, num_classes):
    """Return `labels` 0, 1, ... (n,), or probabilities (n, k), as class ids of the whole, or (n, `num_classes`)."""
    ids = torch.tensor(classes)
    if labels.dim() == 1:
        return ids[labels]
    return labels.new_zeros(len(labels), num_classes).index_copy_(1, ids, labels)


def memory_of(parts, device):
    """Return the union of `parts` as a `TensorSet` on `device`, in the order that they came."""
    return TensorSet(torch.cat([part.images for part in parts]).to(device),
                     torch.cat([part.labels for part in parts]).to(device))
