"""Shuffled passes over the real images: the minibatches that outer losses are taken on."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from condense.core.randomness import generator_on
from condense.data.real import RealBatch, RealData

PADDING = 4                                # pixels, of the random crop


class Passes:
    """Minibatches of `size` real images, pass after pass in a new order; the last of a pass may be smaller.

    `rng_of(epoch)` returns the generator of a pass's order, so that any step can be asked for.
    """

    def __init__(self, real: RealData, size: int, rng_of: Callable[[int], torch.Generator] | None) -> None:
        self.real, self.size, self.rng_of = real, size, rng_of
        self.epoch, self.order = -1, torch.empty(0)         # none yet

    @property
    def length(self) -> int:
        """How many minibatches a pass has."""
        return math.ceil(len(self.real) / self.size)

    def batch(self, step: int) -> RealBatch:
        """Return the minibatch of outer step `step`, a `RealBatch`."""
        epoch, position = divmod(step, self.length)
        if epoch != self.epoch:
            order = torch.randperm(len(self.real), generator=self.rng_of(epoch))         # type: ignore[misc]
            self.epoch, self.order = epoch, order.to(self.real.device)
        return self.real.batch_of(self.order[position * self.size:(position + 1) * self.size])


def crop_and_flip(images: Float[Tensor, "n c h w"], rng: torch.Generator,
                  padding: int = PADDING) -> Float[Tensor, "n c h w"]:
    """Return `images` (n, C, H, W), each cropped at random from itself with `padding` mirrored, half of them flipped.

    The crop has the images' own size. `rng` is a CPU generator; the draws are made on the images' device.
    """
    number, _, height, width = images.shape
    rng = generator_on(images.device, rng)
    top, left = torch.randint(2 * padding + 1, (2, number, 1), generator=rng, device=images.device)
    columns = torch.arange(width, device=images.device).expand(number, width)
    flipped = torch.rand(number, 1, generator=rng, device=images.device) < 0.5
    columns = left + torch.where(flipped, width - 1 - columns, columns)
    rows = top + torch.arange(height, device=images.device)
    padded = F.pad(images, [padding] * 4, mode="reflect").permute(0, 2, 3, 1)
    which = torch.arange(number, device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
