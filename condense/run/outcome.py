"""What the experiments of a run produce: their sets as the result file holds them, accuracies, and further facts."""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from condense.core.errors import OptionError
from condense.evaluation.score import Score
from condense.run.results import save_result
from condense.run.stored_steps import stored_steps
from condense.synthetic import SyntheticSet, restore_synthetic, stored_factors
from condense.training.steps import steps_of


class Outcome:
    """Finished experiments, in order: `data` (images, labels), `factors` (None for plain pixels) and `facts`.

    `steps` and `starts` are what is stored of the steps of unrolled training (`stored_steps`), None for other sets.
    `accuracies` {network name: [fractions]} over all of them. `best` has an entry of `Best.found` for each, where
    iterations are chosen. `kept` says what a file holds of sets with factors: both, factors or images.
    """

    def __init__(self, kept: str = "both") -> None:
        self.kept = kept
        self.data, self.factors, self.accuracies, self.facts, self.best = [], [], {}, {}, []
        self.steps, self.starts = [], []

    def __len__(self) -> int:
        return len(self.data)

    def state(self) -> dict[str, Any]:
        """Return all of it as plain values, for a checkpoint."""
        return {"data": [list(entry) for entry in self.data], "factors": self.factors,
                "accuracies": self.accuracies, "facts": self.facts, "best": self.best,
                "steps": self.steps, "starts": self.starts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.data = [tuple(entry) for entry in state["data"]]
        self.factors, self.accuracies, self.facts = state["factors"], state["accuracies"], state["facts"]
        self.best = list(state["best"])
        self.steps, self.starts = (list(state.get(name, [])) for name in ("steps", "starts"))        # older: none

    def note(self, exp: int, facts: Mapping[str, Any], of_all: bool = False) -> None:
        """Keep plain values about experiment `exp`; a resumed experiment says again what it had said.

        Raises OptionError where it says something else, or, for facts that are the same `of_all` experiments, another
        one did: what the run was made from is no longer there.
        """
        for name, fact in facts.items():
            said = self.facts.get(name, [])
            before = said[:1] if of_all else said[exp:exp + 1]
            if before and before[0] != fact:
                mend = f"give --{name} {before[0]}" if isinstance(fact, str) else "put them back"
                raise OptionError(f"--resume: the run began with other {name} than it finds now; {mend}, or start "
                                  "again with --overwrite")
            self.facts[name] = [*said[:exp], fact]

    def add(self, synthetic: SyntheticSet, best: "Best | None" = None) -> None:
        """Take in the set of a finished experiment, and the `Best` of its iterations."""
        images_and_labels, factors = as_stored(synthetic)
        self.data.append(images_and_labels)
        self.factors.append(factors)
        for listed, stored in zip((self.steps, self.starts), stored_steps(steps_of(synthetic))):
            listed.append(stored)
        if best and best.found:
            self.best.append(best.found)

    def with_current(self, synthetic: SyntheticSet, best: "Best | None" = None) -> "Outcome":
        """Return a copy that also has the set of an unfinished experiment."""
        more = copy.copy(self)
        for name in ("data", "factors", "best", "steps", "starts"):
            setattr(more, name, list(getattr(self, name)))
        more.facts = dict(self.facts)
        more.add(synthetic, best)
        return more

    def save(self, path: str | Path, meta: Mapping[str, Any]) -> None:
        """Write the result file."""
        best = {"best": [one["set"] for one in self.best], "best_factors": [one["factors"] for one in self.best]}
        chosen = {"best": [one["facts"] for one in self.best]} if self.best else {}
        sets = {"data": self.data, "factors": self.factors, **best, **self._unrolled()}
        kept = self.kept if any(entries is not None for entries in self.factors) else "images"
        dropped = {"both": (), "factors": ("data", "best"), "images": ("factors", "best_factors")}[kept]
        save_result(path, accuracies=self.accuracies, meta={**meta, **chosen},
                    **{name: [] if name in dropped else entries for name, entries in sets.items()})

    def _unrolled(self):
        """Return {"steps", "start"}: what is stored of them, where every set has some."""
        listed = {"steps": self.steps, "start": self.starts}
        return {name: entries for name, entries in listed.items() if all(one is not None for one in entries)}


def as_stored(synthetic: SyntheticSet) -> tuple[tuple[Tensor, Tensor], dict[str, Any] | None]:
    """Return ((images, labels), factors) of a set as the result file holds them; factors None for plain pixels.

    Images are decoded from the factors as every reader does it, so that both agree to the bit on every device.
    """
    factors = stored_factors(synthetic)
    return (restore_synthetic(factors) if factors else synthetic).snapshot(), factors


CAVEATS = {"val": "experts and a start from real images may have seen the images it was chosen on",
           "test": "chosen on the test set, which flatters its test accuracy"}


class Best:
    """The best iteration of one experiment so far, by the mean accuracy of the first network of the pool.

    `select_on` is "val" (the images kept for selection, `number` of them) or "test". `found` is None or a dict: the
    `set` as stored, and `facts` about it for the result's `meta`.
    """

    def __init__(self, select_on: str, number: int | None = None) -> None:
        self.select_on, self.number = select_on, number
        self.found: dict[str, Any] | None = None

    def offer(self, scores: Mapping[str, Sequence[Score]], it: int, stored: Callable[[], Any],
              step_size: float | None) -> None:
        """Take the set of iteration `it`, `stored`() if needed, where its `scores` {network: [Score]} are better."""
        figure = statistics.fmean(map(self._figure, next(iter(scores.values()))))
        if self.found and figure <= self.found["facts"]["selection_accuracy"]:
            return
        accuracies = {model: [score.test_accuracy for score in of_model] for model, of_model in scores.items()}
        facts = {"iteration": it, "selection_accuracy": figure, "accuracies": accuracies, "selected_on": self.name(),
                 "caveat": CAVEATS[self.select_on], **({} if step_size is None else {"syn_lr": step_size})}
        images, factors = stored()
        self.found = {"set": list(images), "factors": factors, "facts": facts}

    def _figure(self, score):
        return score.test_accuracy if self.select_on == "test" else score.selection_accuracy

    def name(self) -> str:
        """Word what the iteration is chosen on."""
        return "the TEST set" if self.select_on == "test" else f"{self.number} training images kept for selection"
