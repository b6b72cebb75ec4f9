"""What an evaluated set is compared with: baselines at equal bytes and equal images, and DD-Ranking's scores."""

import dataclasses
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from condense.augmentation.siamese import default_strategy
from condense.comparison.baselines import chosen_real, full_data, full_recipe, optimised_real, random_real, tuned_rate
from condense.comparison.conditions import USUAL, Conditions
from condense.comparison.ranking import augmentation_robust_score, label_robust_score
from condense.comparison.real_sets import ANY_NUMBER, MAKERS, WORDS
from condense.comparison.rows import Row
from condense.core.randomness import Streams
from condense.data.real import RealData
from condense.evaluation.score import Score, evaluate
from condense.operators import Compute
from condense.training.protocols import Protocol
from condense.training.train import TensorSet

log = logging.getLogger("condense")

BASELINES = WORDS                          # kind -> what that is
FLOAT_BYTES = 4


def equal_numbers(stored_bytes: int, images: int, real: RealData) -> dict[int, str]:
    """Return {real images of each class: how it compares} at equal bytes (first) and at equal images.

    `stored_bytes` and `images` are those of the whole set. A part of an image counts as a whole one, in favour of the
    baseline; an image takes 4 bytes per value, as in a synthetic set.
    """
    of_one = FLOAT_BYTES * real.channel * math.prod(real.im_size)
    by_bytes, by_images = (max(1, -(-number // real.num_classes)) for number in (-(-stored_bytes // of_one), images))
    if by_bytes == by_images:
        return {by_bytes: "same bytes and images"}
    return {by_bytes: "same bytes", by_images: "same number of images"}


class Baselines:
    """The baselines of sets on `real`, scored at need and kept on disk: see `condense.comparison.baselines`.

    `kinds` are of BASELINES, `num_eval` networks each, of the whole training set `full_networks`; `source` are the
    plain values that say what data, seed and machine are theirs. `optimise` are the numbers of sets and of networks
    that "optimised" chooses with.
    """

    def __init__(self, real: RealData, kinds: Iterable[str], num_eval: int, full_networks: int, rng: Streams,
                 compute: Compute, source: dict[str, Any], progress: bool = True,
                 optimise: tuple[int, int] = (50, 20)) -> None:
        self.real, self.kinds = real, sorted(kinds, key=list(BASELINES).index)
        self.num_eval, self.full_networks, self.source = num_eval, full_networks, source
        self.common: dict[str, Any] = {"rng": rng, "compute": compute, "progress": progress}
        self.optimise = dict(zip(("num_sets", "num_nets"), optimise))

    def rows(self, model: str, protocol: Protocol, fixed: Protocol, stored_bytes: int, images: int, row_of_set: object,
             step_sizes: Sequence[float] = (), given: Conditions = USUAL) -> list[Row]:
        """Return the [Row]s of `model`, random images at equal bytes first; `row_of_set` names the compared set.

        All are trained by `protocol`, but for the whole training set, which takes `fixed`: the same at a learning rate
        that was not made for the set. Of `step_sizes` each of the others takes the one that suits it best, chosen on
        training images; none: that of `protocol`. All but the whole training set are under the `Conditions` `given`.
        """
        return [row for kind in self.kinds for number, how in self._numbers(kind, stored_bytes, images).items()
                for row in self._rows(kind, number, how, model, protocol, fixed, row_of_set, step_sizes, given)]

    def _numbers(self, kind, stored_bytes, images):
        """Return {images per class: how they compare} of the rows of a kind; None: all there are."""
        if kind == "full":
            return {None: ""}
        if kind == "average":                              # an image of each class, however often it is used
            return {-(-images // self.real.num_classes): "same number of images"}
        return equal_numbers(stored_bytes, images, self.real)

    def _rows(self, kind, number, how, model, protocol, fixed, row_of_set, step_sizes, given):
        """Return a list with the row of one baseline, empty where the data have not so many images."""
        if kind == "full":
            recipe = full_recipe(fixed, model, self.real)
            return [self._row(kind, number, how, row_of_set, model, recipe, self.full(model, recipe))]
        smallest = min(self.real.class_counts)
        if number > smallest and kind not in ANY_NUMBER:
            log.info("%s: no baseline of %d images per class, as a class of %s has %d", kind, number, self.real.name,
                     smallest)
            return []
        recipe, facts = self._tuned(kind, number, model, protocol, step_sizes, given)
        scores = self._scores(kind, number, model, recipe, given)
        facts = {**facts, **given.facts([score.confusion for score in scores])}
        return [self._row(kind, number, how, row_of_set, model, recipe, scores, facts, given)]

    def _tuned(self, kind, number, model, protocol, step_sizes, given):
        """Return (`protocol` at the best of `step_sizes`, facts about the choice)."""
        if not step_sizes:
            return protocol, {}
        like = "random" if kind == "optimised" else kind   # draws have to be compared at one step size
        lr, tried = tuned_rate(self.real, like, number, model, protocol, step_sizes, self._networks(like, given),
                               **self.common, given=given)
        log.info("%s, %s, %d per class: step size %g, the best of %s on held-out training images", model, kind,
                 number, lr, ", ".join(f"{value:g} ({100 * accuracy:.1f} %)" for value, accuracy in tried.items()))
        return dataclasses.replace(protocol, lr=lr), {
            "searched_lr": lr, "lr_candidates": {str(value): accuracy for value, accuracy in tried.items()}}

    def _networks(self, kind, given):
        """Return how many networks score a kind: the same set from the same start is the same network once more."""
        alike = kind in MAKERS and given.starts is not None
        return min(self.num_eval, len(given.starts)) if alike else self.num_eval

    def _scores(self, kind, number, model, protocol, given):
        if kind == "random":
            return self.random(model, number, protocol, given)
        if kind == "optimised":
            return optimised_real(self.real, number, {model: protocol}, self.num_eval, **self.common,
                                  **self.optimise, given=given)[model]
        return chosen_real(self.real, kind, number, {model: protocol}, self._networks(kind, given), **self.common,
                           given=given)[model]

    def random(self, model: str, number: int, protocol: Protocol, given: Conditions = USUAL) -> list[Score]:
        """Return [Score] of `number` random real images of each class."""
        return random_real(self.real, number, {model: protocol}, self.num_eval, **self.common, given=given)[model]

    def full(self, model: str, recipe: Protocol) -> list[Score]:
        """Return [Score] of the whole training set by `recipe`."""
        return full_data(self.real, {model: recipe}, self.full_networks, **self.common)[model]

    def _row(self, kind, number, how, row_of_set, model, recipe, scores, facts=(), given=USUAL):
        images = len(self.real) if number is None else number * self.real.num_classes
        stored = self.real.num_classes if kind == "average" else images
        each = f"{number:,} per class" if number else ""
        name = {"full": "full training set", "random": f"random real images, {each}",
                "optimised": f"optimised real images, {each}", "average": f"class means, each {number} times"}
        name = name.get(kind, f"{kind}, {each}")
        size = stored * FLOAT_BYTES * self.real.channel * math.prod(self.real.im_size)
        draws = {"optimised": self.optimise} if kind == "optimised" else {}
        return Row(name, model, [[score.test_accuracy for score in scores]], images, size,
                   {**self.source, "per_class_images": number,
                    "recipe": {**dataclasses.asdict(recipe), **given.key()}, **draws},
                   {**({"compares": how} if how else {}), **dict(facts)}, kind=kind,
                   told_apart=f"trained as {row_of_set}")


def ranking_facts(data: TensorSet, real: RealData, model: str,
                  protocol: Protocol, fixed: Protocol, num_eval: int, streams: Callable[..., torch.Generator],
                  accuracies: Sequence[float], baselines: Baselines, stored_bytes: int) -> dict[str, Any]:
    """Return DD-Ranking's scores of the set `data`, and the accuracies they are made of, as facts; {} if impossible.

    `accuracies` [fractions] are the set's under `protocol`, its own; `streams(key, i)` draws networks. Further networks
    are trained: with hard labels where the set's are soft, with augmentation and without, on random images at equal
    bytes, and on the whole training set by `fixed` (see `Baselines.rows`).
    """
    number = next(iter(equal_numbers(stored_bytes, len(data.labels), real)))
    if protocol.schedule == "steps" or number > min(real.class_counts):
        log.info("no DD-Ranking scores: they need augmentation, and %d real images of each class", number)
        return {}
    hard = data if data.labels.dim() == 1 else dataclasses.replace(data, labels=data.labels.argmax(1))
    own = statistics.fmean(accuracies)

    def synthetic(data, recipe):
        return _mean(evaluate(data, real, {model: recipe}, num_eval, streams, baselines.common["compute"],
                              baselines.common["progress"])[model])

    figures = {"synthetic": own, "synthetic_hard": own if hard is data else synthetic(hard, protocol),
               "random": _mean(baselines.random(model, number, protocol)),
               "full_hard": _mean(baselines.full(model, full_recipe(fixed, model, real)))}
    for how, recipe in (("augmented", _augmenting(protocol, real.name)), ("plain", _plain(protocol))):
        figures[f"synthetic_{how}"] = own if recipe == protocol else synthetic(data, recipe)
        figures[f"random_{how}"] = _mean(baselines.random(model, number, recipe))
    return {"ranking": _scores_of(figures)}


def _scores_of(figures):
    label = [figures[name] for name in ("full_hard", "synthetic_hard", "synthetic", "random")]
    augmentation = [figures[f"{source}_{how}"] for how in ("augmented", "plain") for source in ("synthetic", "random")]
    return {"label_robust_score": label_robust_score(*label),
            "augmentation_robust_score": augmentation_robust_score(*augmentation), "accuracies": figures}


def _mean(scores):
    return statistics.fmean(score.test_accuracy for score in scores)


def _augmenting(protocol, dataset):
    """Return `protocol`, or, where it does not augment, with the Siamese augmentation of `dataset`."""
    idle = protocol.augmentation == "none" or (protocol.augmentation in ("siamese", "classic")
                                               and protocol.strategy == "none")
    if not idle:
        return protocol
    return dataclasses.replace(protocol, augmentation="siamese", strategy=default_strategy(dataset))


def _plain(protocol):
    """Return `protocol` without augmentation, mixing included."""
    return dataclasses.replace(protocol, augmentation="none", strategy="none", cutmix=0.0)
