"""What a synthetic set is held against: random and chosen real images, and the whole training set.

Scores are kept in the cache folder, network by network, so that each is paid for once on a machine.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import statistics
from functools import partial
from pathlib import Path

import torch

from condense.coresets import choose_coreset, require_images
from condense.evaluation.published import FULL_DIGITS, FULL_EPOCHS, named_protocols
from condense.evaluation.score import Score, evaluate
from condense.evaluation.train import TensorSet
from condense.files import atomic_path, cache_folder, locked

log = logging.getLogger("condense")

RECIPE_VERSION = 1                        # raise it when a change to this file or to training changes scores
NO_EXPERIMENT = 2**31                     # the baselines' streams lie where no run has experiments
RANDOM, FULL, CHOSEN = 1, 2, 3


def random_real(real, ipc, protocols, num_eval, rng, compute, progress=True):
    """Score random real images, `ipc` of each class: a new draw per network, {network name: [Score]}.

    `rng` are the `Streams` of the run that is compared. Of a class with fewer images, all are drawn.
    """
    def draw(i):
        batch = real.sample(real.classes, ipc, rng("data", NO_EXPERIMENT, RANDOM, i))
        return TensorSet(batch.images(), batch.labels)

    streams = partial(rng, "evaluation", NO_EXPERIMENT, RANDOM)
    score = partial(_score, draw, real, num_eval=num_eval, streams=streams, compute=compute, progress=progress)
    return _kept("random", ipc, real, protocols, num_eval, rng, compute, score)


def chosen_real(real, method, ipc, protocols, num_eval, rng, compute, progress=True):
    """Score the `ipc` real images of each class that `method` chooses by their pixels, {network name: [Score]}.

    'herding', 'k-center' or 'k-means', as `select_coreset.py` chooses them at the same seed: the same images for every
    network. `rng` as in `random_real`. Raises ValueError where some class has fewer images.
    """
    require_images(real, ipc)

    def score(model, protocol):
        rows = choose_coreset(real, method, ipc, partial(torch.flatten, start_dim=1), len(real), rng("init", 0))
        streams = partial(rng, "evaluation", NO_EXPERIMENT, CHOSEN)
        return _score(real.batch_of(rows), real, model, protocol, num_eval, streams, compute, progress)

    return _kept(method, ipc, real, protocols, num_eval, rng, compute, score)


def full_data(real, protocols, num_eval, rng, compute, progress=True):
    """Score the whole training set by `protocols` (see `full_recipe`), {network name: [Score]}; `rng` as above."""
    streams = partial(rng, "evaluation", NO_EXPERIMENT, FULL)
    score = partial(_score, real.sample(real.classes), real, num_eval=num_eval, streams=streams, compute=compute,
                    progress=progress)
    return _kept("full", None, real, protocols, num_eval, rng, compute, score)


def full_recipe(protocol, model, real):
    """Return how `model` is trained on all of `real`: as `protocol`, but for the epochs of the protocol `full`.

    The few steps of a `StepProtocol` are no way to train on everything: there it is `full` itself.
    """
    if protocol.schedule == "steps":
        return named_protocols("full", [model], real)[model]
    return dataclasses.replace(protocol, **(FULL_DIGITS if real.name == "Digits" else FULL_EPOCHS))


def _score(data, real, model, protocol, num_eval, streams, compute, progress):
    return evaluate(data, real, {model: protocol}, num_eval, streams, compute, progress)[model]


def _kept(kind, ipc, real, protocols, num_eval, rng, compute, score):
    """Return {network name: [Score]}, each network's from the cache, or by `score(model, protocol)`."""
    return {model: _remembered({"recipe": RECIPE_VERSION, "data": real.fingerprint, "kind": kind, "ipc": ipc,
                                "network": model, "protocol": dataclasses.asdict(protocol), "num_eval": num_eval,
                                "seed": rng.seed, "precision": compute.precision,
                                "zca": real.zca and real.zca.fingerprint}, partial(score, model, protocol))
            for model, protocol in protocols.items()}


def _remembered(key, score):
    """Return `score()`, or what it returned when somebody first asked for it under `key`."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "baselines" / f"{name}.json"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.with_suffix(".lock")))          # who asks second waits, and reads
        except OSError as error:
            log.warning("cannot keep baselines in %s (%s); name another folder in CONDENSE_CACHE", path.parent,
                        error.strerror or error)
            return score()
        scores = _read(path, key)
        if scores is None:
            scores = score()
            with contextlib.suppress(OSError), atomic_path(path) as temporary:   # a full disk costs time, no result
                temporary.write_text(json.dumps({"key": key, "scores": [dataclasses.asdict(s) for s in scores]}))
        return scores


def _read(path, key):
    """Return the scores kept at `path`, or None where there are none, or not whole ones of `key`."""
    try:
        content = json.loads(path.read_text())
        scores = [Score(**values) for values in content["scores"]]
        figures = [(score.test_accuracy, score.train_accuracy, score.train_loss) for score in scores]
        whole = all(type(value) is float for row in figures for value in row)
        return scores if whole and content["key"] == key and len(scores) == key["num_eval"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def beats(ours, theirs):
    """Say whether accuracies `ours` beat `theirs`: the means differ by over three standard errors.

    mean difference > 3 sqrt(sA^2 / nA + sB^2 / nB), s with ddof 1. Raises ValueError below 5 networks a side,
    where the figure would mean nothing.
    """
    if min(len(ours), len(theirs)) < 5:
        raise ValueError("comparing needs at least 5 networks on each side")
    error = math.sqrt(sum(statistics.variance(side) / len(side) for side in (ours, theirs)))
    return statistics.fmean(ours) - statistics.fmean(theirs) > 3 * error


def baselines_path(result_path):
    """Return where the baselines of a result are saved: beside it."""
    return Path(result_path).with_name(f"{Path(result_path).stem}_baselines.json")


def save_baselines(result_path, meta, random):
    """Save `random` {network name: [Score]} beside the result that `meta` describes, atomically."""
    accuracies = {model: [score.test_accuracy for score in scores] for model, scores in random.items()}
    with atomic_path(baselines_path(result_path)) as path:
        path.write_text(json.dumps({**_belonging(meta), "random": accuracies}))


def load_baselines(result_path, meta):
    """Return {network name: [accuracies of random real images]} as saved beside a result; {} where nothing is.

    Raises ValueError for a file that is not whole, or was made for a result of other data or protocols.
    """
    path = baselines_path(result_path)
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        if {key: content[key] for key in _belonging(meta)} == _belonging(meta):
            return {model: [float(value) for value in content["random"][model]] for model in meta["protocols"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"{path} does not belong to its result; make it again: python evaluate.py "
                     f"{result_path} --stored --beside")


def _belonging(meta):
    """Return what a result and its baselines must have in common."""
    return {"recipe": RECIPE_VERSION, "fingerprint": meta["fingerprint"], "protocols": meta["protocols"],
            "ipc": meta["options"]["ipc"], "seed": meta["seed"], "precision": meta["options"]["precision"]}
