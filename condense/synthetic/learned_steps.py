"""The steps of descent that a synthetic set is learned for: their sizes, and the networks that they start from."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError


class LearnedSteps(nn.Module):
    """What a set has learned of the steps that networks take on it; nothing, until one of the `learn` is called.

    `size` is the one step size that all steps have, or None. Sets of unrolled training have `sizes` instead, one for
    each step, in `batches` batches; `starts` (m, P) are then the weights that their networks, of architecture `model`,
    begin with, or None where any fresh ones will do. `counts` are the images of each class.
    """

    size: nn.Parameter | None
    raw_sizes: nn.Parameter | None
    starts: Tensor | None
    place: Tensor

    def __init__(self, counts: list[int]) -> None:
        super().__init__()
        self.counts = counts
        self.register_parameter("size", None)
        self.register_parameter("raw_sizes", None)
        self.register_buffer("starts", None, persistent=False)             # drawn anew when a run is resumed
        self.register_buffer("place", torch.empty(0), persistent=False)    # whose device is that of the set
        self.batches: int | None = None
        self.model: str | None = None

    def learn_one(self, lr: float) -> None:
        """Let `lr` be the step size that is learned with the set, from now on."""
        self.size = nn.Parameter(torch.tensor(float(lr), device=self.place.device))

    def learn_each(self, lr: float, batches: int, epochs: int) -> None:
        """Let every step of descent have a step size of its own that is learned with the set; all begin as `lr` > 0.

        The images are cut into so many `batches`, which are gone through `epochs` times. Wang, Zhu, Torralba & Efros,
        "Dataset Distillation", 2018. Raises ValueError where a class cannot be cut into so many equal parts, naming
        the nearest number that it can.
        """
        for count in set(self.counts):
            if count % batches:
                raise InputError(f"--distill_steps {batches} does not divide the {count} images of a class; "
                                 f"use --distill_steps {_nearest_divisor(count, batches)}")
        raw = lr + math.log(-math.expm1(-lr))              # where softplus is lr: log(exp(lr) - 1), without overflow
        self.raw_sizes = nn.Parameter(torch.full((batches * epochs,), raw, device=self.place.device))
        self.batches = batches

    def start_from(self, model: str | None, starts: Float[Tensor, "m p"] | None) -> None:
        """Let `starts` (m, P), flat parameters of network `model`, be all that the set is learned for."""
        self.starts, self.model = starts, model

    @property
    def sizes(self) -> Float[Tensor, " t"] | None:
        """(T,) step sizes of all steps, the softplus of what is learned and so above 0; None where none are."""
        return None if self.raw_sizes is None else F.softplus(self.raw_sizes)

    def mean(self) -> float | None:
        """Return the step size learned with the set as a float, the mean where there are many; None: none is."""
        sizes = self.sizes if self.size is None else self.size
        return None if sizes is None else float(sizes.detach().mean())


def _nearest_divisor(number, wanted):
    """Return the divisor of `number` nearest to `wanted`, the smaller of two."""
    return min((part for part in range(1, number + 1) if number % part == 0), key=lambda part: abs(part - wanted))
