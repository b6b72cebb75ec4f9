"""How a set of Dataset Distillation is used: plain descent along the learned steps, in order."""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.types import Tick


def descend(parameters: Iterable[Tensor], accumulate: Callable[[int], Tensor], sizes: Sequence[float],
            epochs: int, momentum: float = 0.0, tick: Tick | None = None) -> Float[Tensor, " 2 *m"] | None:
    """Move `parameters` by len(`sizes`) steps, `epochs` times through all batches; returns the last epoch's totals.

    `accumulate(number)` adds to the parameters' gradients those of the loss on batch `number`, and returns what is
    summed over the batches of an epoch. `tick` is called after every epoch. No weight decay, and `momentum` as
    PyTorch has it, from rest.
    """
    optimizer, totals = torch.optim.SGD(parameters, lr=1.0, momentum=momentum), None
    number = len(sizes) // max(1, epochs)
    for epoch in range(epochs):
        totals = None
        for batch in range(number):
            optimizer.param_groups[0]["lr"] = sizes[epoch * number + batch]
            optimizer.zero_grad()
            found = accumulate(batch)
            totals = found if totals is None else totals + found
            optimizer.step()
        if tick:
            tick()
    return totals
