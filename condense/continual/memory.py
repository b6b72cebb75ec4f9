"""A step's part of the memory, and the memory: the union of the parts of all steps so far."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.core.types import Labels
from condense.data.real import RealData
from condense.run.results import form_in
from condense.training import TensorSet


@dataclass(frozen=True)
class Part:
    """What one step adds: `images` (n, C, H, W) float32 on the CPU, normalised as the data at hand are.

    `labels` are class ids of the whole data set, (n,) int64, or (n, K) probabilities. `bytes` are what it stores.
    Every `views` images in a row show one stored thing, as in a `TensorSet`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    bytes: int
    views: int = 1

    @cached_property
    def sha256(self) -> str:
        """Hex sha256 of images and labels, and of `views` above 1: of all that networks trained on it depend on."""
        views = (self.views,) if self.views > 1 else ()
        digest = hashlib.sha256(repr((tuple(self.images.shape), tuple(self.labels.shape), *views)).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy())      # type: ignore[arg-type]
        return digest.hexdigest()


def part_of_rows(real: RealData, rows: Int[Tensor, " n"]) -> Part:
    """Return the training images at `rows` of `real` as a `Part`, in bytes of float32 as condensed images are."""
    batch = real.batch_of(rows)
    images = batch.images().cpu()
    return Part(images, batch.labels.cpu(), 4 * images.numel())


def part_of_result(result: dict[str, Any], classes: Sequence[int], num_classes: int) -> Part:
    """Return the set of a result made from `classes` alone as a `Part`, with ids of the whole of `num_classes`."""
    images, labels = result["data"][0]
    meta = result["meta"]
    return Part(images, original_labels(labels, classes, num_classes), meta["storage"]["bytes"],
                form_in(meta)["views"])


def original_labels(labels: Labels, classes: Sequence[int],
                    num_classes: int) -> Int[Tensor, " n"] | Float[Tensor, "n {num_classes}"]:
    """Return `labels` 0, 1, ... (n,), or probabilities (n, k), as class ids of the whole, or (n, `num_classes`)."""
    ids = torch.tensor(classes)
    if labels.dim() == 1:
        return ids[labels]
    return labels.new_zeros(len(labels), num_classes).index_copy_(1, ids, labels)


def memory_of(parts: Sequence[Part], device: torch.device | str) -> TensorSet:
    """Return the union of `parts` as a `TensorSet` on `device`, in the order that they came.

    Where parts differ in `views`, those of each thing are repeated until all things have as many: an epoch sees every
    thing once, and of each all its views equally often.
    """
    views = math.lcm(*(part.views for part in parts))
    images, labels = (torch.cat([_with_views(tensor, part.views, views) for part, tensor in zip(parts, tensors)])
                      for tensors in ([part.images for part in parts], [part.labels for part in parts]))
    return TensorSet(images.to(device), labels.to(device), views=views)


def _with_views(tensor, views, wanted):
    """Repeat each `views` rows of `tensor` until they are `wanted`."""
    return tensor.unflatten(0, (-1, views)).repeat(1, wanted // views, *[1] * (tensor.dim() - 1)).flatten(0, 1)
