"""A run's first step, taken twice and undone before the first one counts: how long is a step?"""

import time

import torch

from condense.checkpoints import copy_state, restore_state


class Rehearsal:
    """`running` while it goes on, `done` afterwards; `per_step` is then the seconds that an iteration takes.

    `parts` is set by a method whose iterations have several outer steps, of which one is taken.
    """

    def __init__(self):
        self.running, self.done, self.parts, self.per_step = False, False, 1, None

    def steps(self, it, owners, device):
        """Yield iteration `it` twice and put `owners` (modules, optimisers) back to what they were."""
        before = copy_state(*owners)
        self.running, self.done = True, True
        for _ in range(2):                                # the first warms up, and compiles
            start = time.perf_counter()
            yield it
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self.per_step = self.parts * (time.perf_counter() - start)
        restore_state(before, *owners)
        self.running = False
