"""The networks that unrolled training begins with: fresh ones for every outer step, or a few that stay.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, call these random and fixed initialisation.
"""

import torch

from condense.networks import reset

REGIMES = ("unknown_init", "known_init")


class Starts:
    """Flat parameters (P,) to begin with: `number` networks in each outer step, in the order of `net.parameters()`.

    `regime` "unknown_init" draws each of them afresh. "known_init" draws `available` networks once for an experiment
    and `number` of those, without repetition, for each step. `init` and `gain` are those of `reset`; `net`, on the
    run's device, gives the architecture, and its own parameters are overwritten. `rng` are the run's `Streams`.
    """

    def __init__(self, net, regime, available, number, init, gain, rng):
        self.net, self.regime, self.available, self.number = net, regime, available, number
        self.init, self.gain, self.rng = init, gain, rng

    @torch.no_grad()
    def draw(self, *key):
        """Return the network that the stream "nets" has under `key`, (P,)."""
        reset(self.net, self.rng("nets", *key), self.init, self.gain)
        return torch.cat([parameter.flatten() for parameter in self.net.parameters()])

    def fixed(self, exp):
        """Return the networks that experiment `exp` is for, (available, P); None where it is for fresh ones."""
        if self.regime == "unknown_init":
            return None
        return torch.stack([self.draw(exp, i) for i in range(self.available)])

    def of_step(self, exp, it, fixed):
        """Yield the networks of outer step `it`; `fixed` is what `fixed(exp)` returned."""
        if fixed is None:
            for i in range(self.number):
                yield self.draw(exp, it, i)
            return
        for i in torch.randperm(self.available, generator=self.rng("nets", exp, it, 0))[:self.number].tolist():
            yield fixed[i]
