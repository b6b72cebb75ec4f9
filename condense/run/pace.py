"""How long an iteration takes, measured on the first ones of a process."""

import time

import torch


class Pace:
    """Times the first iterations on `device`, of which the very first warms up, and compiles.

    `per_iteration` is None until it is known, seconds from then on: after the second iteration, or within the first
    one after two of its outer steps, where it has more. From then on nothing waits for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.per_iteration = device, None
        self.whole, self.steps, self.began, self.before_steps = [], [], None, None

    def begin(self) -> None:
        """Take note that an iteration begins."""
        if self.per_iteration is None:
            self.began, self.before_steps, self.steps = self._now(), None, []

    def step(self, number: int) -> None:
        """Take note that the next of `number` outer steps begins; of two or fewer the iteration itself tells."""
        if self.per_iteration is not None or self.began is None:
            return
        self.steps.append(self._now())
        if self.before_steps is None:
            self.before_steps = self.steps[0] - self.began
        if len(self.steps) == 3:
            self.per_iteration = self.before_steps + number * (self.steps[2] - self.steps[1])

    def end(self, last: bool = False) -> None:
        """Take note that an iteration ends; `last`: no other one will tell more."""
        if self.per_iteration is not None or self.began is None:
            return
        self.whole.append(self._now() - self.began)
        if last or len(self.whole) == 2:
            self.per_iteration = self.whole[-1]

    def _now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
