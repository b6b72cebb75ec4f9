"""Scores of sets that start from given networks, with the accuracy of these networks before the first step."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from condense.core.words import percent
from condense.evaluation.score import Score, Scorer

log = logging.getLogger("condense")


def accuracy_alone(confusion: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return {"accuracy": fraction} from test images counted (K, K): row = true class, column = guess."""
    return {"accuracy": sum(row[label] for label, row in enumerate(confusion)) / sum(map(sum, confusion))}


@dataclass(frozen=True)
class BeforeAfter(Scorer):
    """A `Scorer` that says, of sets with starts of their own, what networks are worth before and after the steps.

    `figures(confusion)` returns fractions by name. At iteration `last`, `note(exp, before_steps=, after_steps=)` gets
    {name: [the fraction of each network]} of both.
    """

    confusion: bool = True
    figures: Callable[..., dict[str, float]] = accuracy_alone
    last: int = 0
    note: Any = None
    known: dict = field(default_factory=dict, repr=False, compare=False)       # experiment -> figures before

    def __call__(self, synthetic: Any, exp: int, it: int) -> dict[str, list[Score]]:
        if exp not in self.known:                          # the same at every iteration
            untrained = {model: replace(protocol, epochs=0, lr=1.0) for model, protocol in self.protocols.items()}
            self.known[exp] = self._figures(Scorer.__call__(replace(self, protocols=untrained), synthetic, exp, it))
        scores = super().__call__(synthetic, exp, it)
        before, after = self.known[exp], self._figures(scores)
        for name in after:
            log.info("%s: %s before the steps, %s after them", name.replace("_", " "), percent(before[name]),
                     percent(after[name]))
        if it == self.last:
            self.note(exp, before_steps=before, after_steps=after)
        return scores

    def _figures(self, scores):
        """Return {name: [fractions]} from {network: [Score]} of one architecture."""
        ((_, of_model),) = scores.items()
        found = [self.figures(score.confusion) for score in of_model]
        return {name: [of_one[name] for of_one in found] for name in found[0]}
