"""What a synthetic set is held against: random real images at the same ipc, and the whole training set."""

import math
import statistics
from dataclasses import replace
from functools import partial

from condense.evaluation.protocols import Protocol
from condense.evaluation.score import evaluate
from condense.evaluation.train import TensorSet

NO_EXPERIMENT = 2**31                     # the baselines' streams lie where no run has experiments
RANDOM, FULL = 1, 2
FULL_RECIPE = {"epochs": 100}             # same optimiser and augmentation as the set was scored with
FULL_RECIPE_DIGITS = {"epochs": 30, "batch_size": 32}        # 1,438 images: enough steps need small batches


def random_real(real, ipc, protocols, num_eval, rng, compute, progress=True):
    """Score random real images, `ipc` of each class: a new draw per network, {network name: [Score]}."""
    def draw(i):
        batch = real.sample(real.classes, ipc, rng("data", NO_EXPERIMENT, RANDOM, i))
        return TensorSet(batch.images(), batch.labels)

    streams = partial(rng, "evaluation", NO_EXPERIMENT, RANDOM)
    return evaluate(draw, real, protocols, num_eval, streams, compute, progress)


def full_data(real, protocols, num_eval, rng, compute, progress=True):
    """Score the whole training set by the recipe `full`."""
    recipe = FULL_RECIPE_DIGITS if real.name == "Digits" else FULL_RECIPE
    recipes = {model: replace(protocol, **recipe) for model, protocol in protocols.items()}
    streams = partial(rng, "evaluation", NO_EXPERIMENT, FULL)
    return evaluate(real.sample(real.classes), real, recipes, num_eval, streams, compute, progress)


def beats(ours, theirs):
    """Say whether accuracies `ours` beat `theirs`: the means differ by over three standard errors.

    mean difference > 3 sqrt(sA^2 / nA + sB^2 / nB), s with ddof 1. Raises ValueError below 5 networks a side,
    where the figure would mean nothing.
    """
    if min(len(ours), len(theirs)) < 5:
        raise ValueError("comparing needs at least 5 networks on each side")
    error = math.sqrt(sum(statistics.variance(side) / len(side) for side in (ours, theirs)))
    return statistics.fmean(ours) - statistics.fmean(theirs) > 3 * error


def protocols_of(meta):
    """Return {network name: `Protocol`} that a result with this `meta` was scored by, in its pool's order."""
    return {model: Protocol(**values) for model, values in meta["protocols"].items()}
