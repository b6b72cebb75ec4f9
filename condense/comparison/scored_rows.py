"""One network's row in the table: the accuracies on the sets of a file, and the rows of its baselines."""

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

from condense.comparison.baseline_rows import Baselines, ranking_facts
from condense.comparison.rows import Row, score_facts
from condense.comparison.scored_set import Changes
from condense.core.randomness import Streams
from condense.core.words import duration
from condense.evaluation.score import estimate_seconds, evaluate
from condense.evaluation.search import choose_lr

log = logging.getLogger("condense")

LONG_S = 30                                # from here on, how long the networks take is said


@dataclass(frozen=True)
class Scoring:
    """How the sets of a file are scored: everything but the sets and the network.

    `changes` are what is to be other than the set's own protocol says, `source` plain values that say what data, seed
    and machine these are. `search_lr` are learning rates to choose from: for the set, whose baselines then take it,
    too; in protocol dd for each baseline by itself, while a set that brings step sizes keeps them. `stored` takes the
    accuracies that the file holds; `ranking` adds DD-Ranking's scores of the first set scored.
    """

    changes: Changes
    baselines: Baselines
    num_eval: int
    rng: Streams
    compute: object
    source: dict
    search_lr: tuple = ()
    stored: bool = False
    ranking: bool = False
    progress: bool = True

    def rows(self, ready: Any, address: object, model: str) -> list[Row]:
        """Return [Row of `model` on the sets of `ready` (`ScoredSet`), Row of each baseline]; `address` names them."""
        searched = self._searched(ready, model)
        accuracies, facts = self._accuracies(ready, model, searched)
        protocol = self._protocol(ready, model, None, searched)
        fixed = ready.fixed_lr(protocol, searched=bool(searched))
        step_sizes = self.search_lr if protocol.schedule == "steps" else ()
        given = ready.conditions(model, protocol)
        others = self.baselines.rows(model, protocol, fixed, ready.bytes, ready.images, address, step_sizes, given)
        if self.ranking:
            facts = {**facts, **self._ranking(ready, model, searched, fixed, accuracies[0])}
        source = {**self.source, **ready.source(address), "num_eval": len(accuracies[0]), "stored": self.stored,
                  "protocol": ready.protocol_name(self.changes), "recipe": {**asdict(protocol), **given.key()}}
        equal = tuple(row for row in others if row.kind == "random" and row.facts["compares"].startswith("same bytes"))
        equal = equal if given.attack is None else ()      # an attack is not made to beat anything
        return [Row(ready.name(), model, accuracies, ready.images, ready.bytes, source,
                    {**ready.facts(), **facts, **searched}, equal, told_apart=str(address)), *others]

    def _protocol(self, ready, model, exp, searched):
        """Return the protocol of experiment `exp` (None: at the mean step size), at the learning rate searched."""
        (protocol,) = ready.protocols([model], self.changes, exp).values()
        return replace(protocol, lr=searched["searched_lr"]) if searched else protocol

    def _accuracies(self, ready, model, searched):
        """Return (accuracies over the experiments, facts): those of the file, or of fresh networks."""
        if self.stored:
            return ready.stored_accuracies(model), ready.stored_attack()
        protocols = {exp: self._protocol(ready, model, exp, searched) for exp in ready.experiments}
        self._announce(ready, model, next(iter(protocols.values())))
        scores = [evaluate(ready.sets[exp], ready.real, {model: protocol}, self.num_eval,
                           ready.streams(self.rng, exp), self.compute, self.progress, confusion=True)[model]
                  for exp, protocol in protocols.items()]
        everyone = [score for listed in scores for score in listed]
        attack = ready.conditions(model, next(iter(protocols.values()))).facts([score.confusion for score in everyone])
        return [[score.test_accuracy for score in listed] for listed in scores], {
            **score_facts(everyone, ready.real.class_names), **attack}

    def _announce(self, ready, model, protocol):
        once = estimate_seconds(ready.sets[ready.experiments[0]], ready.real, {model: protocol}, self.num_eval,
                                self.compute, len(ready.real.test_labels))
        if once * len(ready.experiments) > LONG_S:
            log.info("about %s for %d networks on %d set%s, baselines not counted; shorter with --num_eval, "
                     "--experiment, --epoch_eval_train", duration(once * len(ready.experiments)), self.num_eval,
                     len(ready.experiments), "s" * (len(ready.experiments) > 1))

    def _searched(self, ready, model):
        """Return facts of the learning rate chosen on training images; {} where none is searched."""
        if not self.search_lr:
            return {}
        first = ready.experiments[0]
        protocols = ready.protocols([model], self.changes, first)
        if ready.keeps_its_steps(protocols[model]):
            return {}
        lr, tried = choose_lr(ready.sets[first], ready.real, protocols, self.search_lr, self.num_eval, self.rng,
                              self.compute, self.progress)[model]
        log.info("%s: learning rate %g, the best of %s on held-out training images; its baselines use it as well",
                 model, lr, ", ".join(f"{value:g} ({100 * accuracy:.1f} %)" for value, accuracy in tried.items()))
        return {"searched_lr": lr, "lr_candidates": {str(value): accuracy for value, accuracy in tried.items()}}

    def _ranking(self, ready, model, searched, fixed, accuracies):
        first = ready.experiments[0]
        return ranking_facts(ready.sets[first], ready.real, model, self._protocol(ready, model, first, searched), fixed,
                             self.num_eval, ready.streams(self.rng, first), accuracies, self.baselines, ready.bytes)
