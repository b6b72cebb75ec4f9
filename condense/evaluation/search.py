"""Choosing the learning rate that a set is trained with, on held-out training images, never on the test set."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from condense.core.errors import InputError
from condense.core.randomness import Streams
from condense.core.types import LabelledImages
from condense.data.real import RealData
from condense.evaluation.score import evaluate
from condense.evaluation.selection import SelectionImages
from condense.operators import Compute
from condense.training.protocols import Protocol

SEARCH = 2**31 + 1                         # the search's streams lie where no run, and no baseline, has any


def choose_lr(data: LabelledImages | Callable[[int], LabelledImages], real: RealData, protocols: Mapping[str, Protocol],
              candidates: Iterable[float], num_eval: int, rng: Streams, compute: Compute,
              progress: bool = True) -> dict[str, tuple[float, dict[float, float]]]:
    """Return {network name: (learning rate, {candidate: mean accuracy})}: the best of `candidates` for each network.

    `data` is the set to train on, as of `evaluate`; `protocols` {network name: `Protocol`} say all but the learning
    rate. Each candidate trains the same `num_eval` networks (at least 1) on the same draws, which are not those that
    any score is made with, and is judged by their accuracy on `SelectionImages` of `real`, whose test set is not
    looked at. Equal means: the smaller learning rate. `rng` are the `Streams` of the run. Raises ValueError without
    candidates, or for one that is no positive number.
    """
    candidates = rates(candidates)
    images = search_images(real, rng)
    streams = partial(rng, "evaluation", SEARCH)
    found = {lr: evaluate(data, images, {model: replace(protocol, lr=lr) for model, protocol in protocols.items()},
                          num_eval, streams, compute, progress) for lr in candidates}
    means = {model: {lr: statistics.fmean(score.test_accuracy for score in scores[model])
                     for lr, scores in found.items()} for model in protocols}
    return {model: best_rate(of_model) for model, of_model in means.items()}


def rates(candidates: Iterable[float]) -> list[float]:
    """Return learning rates to choose from in ascending order; raises ValueError without any, or for none above 0."""
    candidates = sorted(set(candidates))
    if not candidates or not all(0 < lr < float("inf") for lr in candidates):
        raise InputError(f"candidate learning rates must be positive numbers, at least one, not {candidates}")
    return candidates


def search_images(real: RealData, rng: Streams) -> SelectionImages:
    """Return the `SelectionImages` that learning rates are chosen on."""
    return SelectionImages(real, rng("data", SEARCH))


def best_rate(means: dict[float, float]) -> tuple[float, dict[float, float]]:
    """Return (learning rate, means) of `means` {learning rate, ascending: mean accuracy}: of equal ones the smaller."""
    return max(means, key=lambda lr: means[lr]), means
