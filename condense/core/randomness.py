"""Keyed random streams: every draw of a run has an address, and nothing continues a global state.

`Streams(seed)("nets", experiment, iteration)` is the generator for the networks of that iteration,
whatever was drawn before. Evaluating more often, resuming, stacking networks or splitting the work
over processes therefore leaves every number as it was.
"""

import numpy as np
import torch

from condense.core.errors import InputError

PURPOSES = ("data", "init", "nets", "augmentation", "evaluation", "set")


class Streams:
    """Generators addressed by (purpose, experiment, iteration, index), all derived from one seed.

    `seed` is any non-negative integer; 0 is a seed like any other.
    """

    def __init__(self, seed: int = 0) -> None:
        if seed < 0:
            raise InputError(f"--seed must be 0 or larger, not {seed}")
        self.seed = seed

    def __call__(self, purpose: str, *key: int) -> torch.Generator:
        """Return a fresh CPU `torch.Generator` for `purpose` (one of PURPOSES) and the integers `key`."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(PURPOSES.index(purpose), *key))
        return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def generator_on(device: torch.device | str, rng: torch.Generator | None) -> torch.Generator | None:
    """Return a generator on `device`: `rng` itself where it lives there, else one seeded by a draw from it.

    With `rng` None the result is None, which PyTorch reads as its global generator.
    Large draws then happen where they are used, without a copy across the bus.
    """
    device = torch.device(device)
    if rng is None or rng.device.type == device.type:
        return rng
    seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    return torch.Generator(device).manual_seed(seed)
