"""What the experiments of a run leave: their sets as the result file holds them, accuracies, and further facts."""

import copy

from condense.results import save_result
from condense.synthetic import restore_synthetic


class Outcome:
    """Finished experiments, in order: `data` (images, labels), `factors` (None for plain pixels) and `facts`.

    `accuracies` {network name: [fractions]} over all of them. `kept` says what a file holds of sets with factors:
    both, factors or images.
    """

    def __init__(self, kept="both"):
        self.kept = kept
        self.data, self.factors, self.accuracies, self.facts = [], [], {}, {}

    def __len__(self):
        return len(self.data)

    def state(self):
        """Return all of it as plain values, for a checkpoint."""
        return {"data": [list(entry) for entry in self.data], "factors": self.factors,
                "accuracies": self.accuracies, "facts": self.facts}

    def restore(self, state):
        """Take over what `state` returned."""
        self.data = [tuple(entry) for entry in state["data"]]
        self.factors, self.accuracies, self.facts = state["factors"], state["accuracies"], state["facts"]

    def note(self, exp, facts):
        """Keep plain values about experiment `exp`; a resumed experiment says again what it had said."""
        for name, fact in facts.items():
            self.facts[name] = [*self.facts.get(name, [])[:exp], fact]

    def add(self, synthetic):
        """Take in the set of a finished experiment."""
        images, factors = as_stored(synthetic)
        self.data.append(images)
        self.factors.append(factors)

    def with_current(self, synthetic):
        """Return a copy that has the set of an unfinished experiment, too."""
        more = copy.copy(self)
        more.data, more.factors = list(self.data), list(self.factors)
        more.add(synthetic)
        return more

    def save(self, path, meta):
        """Write the result file."""
        factors = [of for of in self.factors if of is not None]
        kept = self.kept if factors else "images"
        save_result(path, [] if kept == "factors" else self.data, self.accuracies, meta,
                    [] if kept == "images" else factors)


def as_stored(synthetic):
    """Return ((images, labels), factors) of a set as the result file holds them; factors None for plain pixels.

    Images are decoded from the factors as every reader does it, so that both agree to the bit, whatever the device.
    """
    factors = synthetic.factors()
    return (restore_synthetic(factors) if factors else synthetic).snapshot(), factors
