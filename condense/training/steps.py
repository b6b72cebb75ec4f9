"""The steps of descent that a set is made for: which images each of them sees, and how far it goes.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018: S batches are visited in a fixed order, E times over, and
each of the T = S E steps has a step size of its own.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from condense.core.errors import InputError
from condense.core.types import Labels


@dataclass(frozen=True, eq=False)
class Steps:
    """Step t sees the images `rows`[t mod S] of a set and goes `sizes`[t] far.

    `rows` are S index tensors (int64), `sizes` T floats, or None where any constant will do. `starts` (m, P) are the
    flat parameters of networks called `model` that the set is scored on, those that it was learned for or others of
    their kind, in the order of `net.parameters()`; None: it was learned for fresh ones.
    """

    rows: tuple
    sizes: tuple | None = None
    starts: torch.Tensor | None = None
    model: str | None = None

    def mean_size(self) -> float | None:
        """Return the mean of the step sizes that were learned; None where any constant will do."""
        return None if self.sizes is None else math.fsum(self.sizes) / len(self.sizes)

    def sizes_of(self, epochs: int, lr: float | None = None, constant: float | None = None) -> list[float]:
        """Return the step sizes of `epochs` times all batches, a list.

        `lr` for all of them, where it is given, else those learned, else `constant`. Raises ValueError where those
        learned are not so many.
        """
        number = epochs * len(self.rows)
        if lr is not None or self.sizes is None:
            return [constant if lr is None else lr] * number                    # type: ignore[list-item]
        if len(self.sizes) != number:
            raise InputError(f"{len(self.sizes)} step sizes were learned with this set, and {epochs} epochs of "
                             f"{len(self.rows)} batches take {number}; leave --epoch_eval_train out, or give --lr_net "
                             "as one step size for all")
        return list(self.sizes)


def split_steps(labels: Labels, distill_steps: int) -> tuple[Int[Tensor, " m"], ...]:
    """Return the images of each step: `distill_steps` index tensors, on the device of `labels`.

    Of each class in turn every batch takes the same number of consecutive images, class after class; where they do not
    divide, the numbers differ by one. `labels` are classes (n,), or probabilities (n, K) of which the largest counts.
    A smallest class of fewer images than `distill_steps` has as many batches as it has images.
    """
    classes = (labels if labels.dim() == 1 else labels.argmax(1)).cpu()
    members = [(classes == label).nonzero().flatten() for label in classes.unique()]
    number = min(distill_steps, *map(len, members))
    parts = [of_one.tensor_split(number) for of_one in members]
    return tuple(torch.cat(batch).to(labels.device) for batch in zip(*parts))


def steps_of(synthetic: Any) -> Steps | None:
    """Return the `Steps` of a synthetic set as it is now; None where it learns no step sizes."""
    learned = synthetic.learned_steps
    if learned.sizes is None:
        return None
    rows = split_steps(synthetic.hard_labels, learned.batches)
    return Steps(rows, tuple(learned.sizes.detach().float().tolist()), learned.starts, learned.model)
