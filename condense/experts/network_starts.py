"""The networks that unrolled training begins with: fresh ones for every outer step, or some that stay.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, call these random and fixed initialisation, and where those
that stay were trained before, random and (of one alone) fixed pre-trained weights.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.randomness import Streams
from condense.experts.banks import Bank
from condense.networks import reset

REGIMES = ("unknown_init", "known_init", "loaded")


class NetworkStarts:
    """Flat parameters (P,) to begin with: `number` networks in each outer step, in the order of `net.parameters()`.

    `regime` "unknown_init" draws each of them afresh. "known_init" draws `available` networks once for an experiment
    and `number` of those, without repetition, for each step; "loaded" does so from `banks` (training, scored on), two
    `Bank`s, the first of `available` networks. `init` and `gain` are those of `reset`; `net`, on the run's device,
    gives the architecture, and its own parameters are overwritten. `rng` are the run's `Streams`.
    """

    def __init__(self, net: nn.Module, regime: str, available: int, number: int, init: str, gain: float, rng: Streams,
                 banks: tuple[Bank, Bank] | None = None) -> None:
        self.net, self.regime, self.available, self.number = net, regime, available, number
        self.init, self.gain, self.rng = init, gain, rng
        self.banks: Any = banks                              # of the regime "loaded"

    @torch.no_grad()
    def draw(self, *key: int) -> Float[Tensor, " p"]:
        """Return the network that the stream "nets" has under `key`, (P,)."""
        reset(self.net, self.rng("nets", *key), self.init, self.gain)
        return torch.cat([parameter.flatten() for parameter in self.net.parameters()])

    def fixed(self, exp: int) -> Float[Tensor, "available p"] | Bank | None:
        """Return the networks that experiment `exp` is for, (available, P) or a `Bank`; None where for fresh ones."""
        if self.regime == "unknown_init":
            return None
        if self.regime == "loaded":
            return self.banks[0]
        return torch.stack([self.draw(exp, i) for i in range(self.available)])

    def scored(self, fixed: Float[Tensor, "available p"] | Bank | None) -> Float[Tensor, "m p"] | None:
        """Return the networks (m, P) that a set is scored on, None for fresh ones; `fixed` is what `fixed` returned.

        Those that stay, themselves; of a bank, the networks that are held out.
        """
        return self.banks[1].together() if self.regime == "loaded" else fixed       # type: ignore[return-value]

    def of_step(self, exp: int, it: int,
                fixed: Float[Tensor, "available p"] | Bank | None) -> Iterator[Float[Tensor, " p"]]:
        """Yield the networks of outer step `it`; `fixed` is what `fixed(exp)` returned."""
        if fixed is None:
            for i in range(self.number):
                yield self.draw(exp, it, i)
            return
        for i in torch.randperm(self.available, generator=self.rng("nets", exp, it, 0))[:self.number].tolist():
            yield fixed[i]
