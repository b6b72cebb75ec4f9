"""How long the whole command will take, said as soon as the first iterations have told it."""

import logging
from typing import Any

import torch

from condense.core.words import duration
from condense.run.pace import Pace
from condense.run.reports import time_needed

log = logging.getLogger("condense")

LONG_S = 30                               # an evaluation from here on is announced


class Forecast:
    """What iterations (`pace`) and evaluations take on `device`, in seconds; `per_evaluation` is None until timed."""

    def __init__(self, device: torch.device) -> None:
        self.pace = Pace(device)
        self.per_evaluation: float | None = None
        self.said = False

    def time_evaluation(self, scorer: Any, synthetic: Any) -> float:
        """Return the seconds of an evaluation, from one epoch that is timed once; a long one is announced."""
        if self.per_evaluation is None:
            self.per_evaluation = scorer.estimate(synthetic)
            if self.per_evaluation >= LONG_S:
                log.info("an evaluation takes about %s; shorter with --num_eval, --epoch_eval_train",
                         duration(self.per_evaluation))
        return self.per_evaluation

    @property
    def is_due(self) -> bool:
        """Whether it can be told and has not been."""
        return not self.said and self.pace.per_iteration is not None

    def tell(self, scorer: Any, synthetic: Any, **counts: int) -> None:
        """Log how long the whole command takes; `counts` are those of `words`."""
        self.said = True
        self.time_evaluation(scorer, synthetic)
        log.info(self.words(**counts))

    def words(self, first: int, iterations: int, evaluations: int, experiments: int) -> str:
        """Word it: `iterations` and `evaluations` in each of the `experiments` left, begun at iteration `first`."""
        per_iteration, per_evaluation = self.pace.per_iteration or 0.0, self.per_evaluation or 0.0
        total = experiments * (iterations * per_iteration + evaluations * per_evaluation) - first * per_iteration
        return time_needed(total, experiments, iterations, per_iteration, evaluations, per_evaluation)
