"""How long a comparison will take, estimated from one step of each memory."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from condense.continual.sources import Source


def timed(work: Callable, *args: Any) -> tuple[Any, float]:
    """Return (what `work(*args)` returns, the seconds it took)."""
    start = time.perf_counter()
    return work(*args), time.perf_counter() - start


class ComparisonPace:
    """Seconds that parts and scores took, and what is left of `steps` steps under `orders` class orders.

    A score is taken to cost in proportion to the memory and the test images, which both grow with every step.
    """

    def __init__(self, sources: Sequence[Source], orders: int, steps: int) -> None:
        self.sources, self.total, self.steps = sources, orders * steps, steps
        self.build, self.unit, self.done, self.told = {}, {}, {source.name: [0, 0] for source in sources}, False

    def note(self, source: Source, step: int, build_s: float | None, score_s: float | None) -> None:
        """Take note of one cell: seconds for its part and its score, None for what was there already."""
        if build_s is not None:
            self.build.setdefault(source.name, build_s)
        if score_s is not None:
            self.unit.setdefault(source.name, score_s / (step + 1))
        cells = self.done[source.name]
        cells[0], cells[1] = cells[0] + 1, cells[1] + step + 1

    def remaining(self) -> float | None:
        """Return the seconds still to go, once every memory has been scored; None before, and after it was told."""
        if self.told or any(source.name not in self.unit for source in self.sources):
            return None
        self.told = True
        units = self.total // self.steps * self.steps * (self.steps + 1) // 2
        return sum(self.build.get(name, 0) * (self.total - cells) + self.unit[name] * (units - steps)
                   for name, (cells, steps) in self.done.items())
