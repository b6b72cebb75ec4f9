"""Choosing an iteration: on held-out training images, or, only if asked for, on the test set."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.data.real import RealData

SELECTION_IMAGES = 5000                    # or a tenth of the training set, where that is less


class SelectionImages:
    """Up to `most` training images, drawn by `rng` and used for nothing but choosing: of every class the same number.

    Networks are tested on them as on a test set: `evaluate` takes them for real data, as they have `test_labels` (n,),
    `test_batches(size)` and what else it asks for. They are no clean validation set: whatever else saw the training set
    (experts, real images to start from) may have seen them.
    """

    def __init__(self, real: RealData, rng: torch.Generator, most: int = SELECTION_IMAGES) -> None:
        number = min(most, len(real) // 10)
        self.batch = real.sample(real.classes, max(1, number // real.num_classes), rng)
        self.test_labels = self.batch.labels
        self.device, self.spec, self.im_size = real.device, real.spec, real.im_size
        self.mean, self.std, self.zca = real.mean, real.std, real.zca

    def __len__(self) -> int:
        return len(self.batch)

    def test_batches(self, size: int) -> Iterator[tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]]:
        """Yield (images, labels), `size` at a time, on the device."""
        for first in range(0, len(self.batch), size):
            part = slice(first, first + size)
            yield self.batch.images(part), self.test_labels[part]
