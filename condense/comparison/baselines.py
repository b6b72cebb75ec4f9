"""Baselines of a synthetic set: random and chosen real images, and the whole training set.

Scores are kept in the cache folder, network by network, so that each is paid for once on a machine. `given` are the
`Conditions` of the set that they are compared with.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from condense.comparison.conditions import USUAL, Conditions
from condense.comparison.real_sets import ANY_NUMBER, made_set, random_set
from condense.core.errors import InputError
from condense.core.files import atomic_path, cache_folder, locked
from condense.core.randomness import Streams
from condense.core.types import LabelledImages
from condense.data.coresets import require_images
from condense.data.real import RealData
from condense.evaluation.cache_key import cache_key, code_of_scores
from condense.evaluation.score import Score, evaluate
from condense.evaluation.search import SEARCH, best_rate, rates, search_images
from condense.evaluation.selection import SelectionImages
from condense.operators import Compute
from condense.training.protocols import Protocol
from condense.training.published import FULL_DIGITS, FULL_EPOCHS, named_protocols

log = logging.getLogger("condense")

# what decides baselines, in addition to what decides any score: how their images are drawn and chosen
OWN_FILES = ("comparison/baselines.py", "comparison/conditions.py", "comparison/real_sets.py", "data/coresets.py")
OWN_LIBRARIES = ("scipy", "scikit-learn")
CODE = code_of_scores(*OWN_FILES)
NO_EXPERIMENT = 2**31                     # the baselines' streams lie where no run has experiments
RANDOM, FULL, CHOSEN, OPTIMISED = 1, 2, 3, 4
TRAINING_BATCH = 1024                     # images that the best of many draws are chosen on
KEPT = 5                                  # one of so many draws is kept, rounded up: the best fifth


def random_real(real: RealData, ipc: int, protocols: Mapping[str, Protocol], num_eval: int, rng: Streams,
                compute: Compute, progress: bool = True, given: Conditions = USUAL) -> dict[str, list[Score]]:
    """Score random real images, `ipc` of each class: a new draw per network, {network name: [Score]}.

    `rng` are the `Streams` of the run that is compared. Of a class with fewer images, all are drawn.
    """
    draw, streams = _data_of("random", real, ipc, rng), partial(rng, "evaluation", NO_EXPERIMENT, RANDOM)
    score = partial(_score, draw, real, num_eval=num_eval, streams=streams, compute=compute, progress=progress,
                    given=given)
    return _kept("random", ipc, real, protocols, num_eval, rng, compute, score, given)


def chosen_real(real: RealData, method: str, ipc: int, protocols: Mapping[str, Protocol], num_eval: int, rng: Streams,
                compute: Compute, progress: bool = True, given: Conditions = USUAL) -> dict[str, list[Score]]:
    """Score the set of `ipc` images of each class that `method` of MAKERS makes, {network name: [Score]}.

    'herding', 'k-center' and 'k-means' are chosen as `select_coreset.py` does it by pixels at the same seed. All
    networks are trained on the same images. `rng` as in `random_real`. Raises ValueError where some class has fewer.
    """
    if method not in ANY_NUMBER:
        require_images(real, ipc)

    def score(model, protocol):
        streams = partial(rng, "evaluation", NO_EXPERIMENT, CHOSEN)
        return _score(_data_of(method, real, ipc, rng), real, model, protocol, num_eval, streams, compute, progress,
                      given)

    return _kept(method, ipc, real, protocols, num_eval, rng, compute, score, given)


def optimised_real(real: RealData, ipc: int, protocols: Mapping[str, Protocol], num_eval: int, rng: Streams,
                   compute: Compute, progress: bool = True, num_sets: int = 50, num_nets: int = 20,
                   given: Conditions = USUAL) -> dict[str, list[Score]]:
    """Score the best of `num_sets` draws of `ipc` random real images per class, {network name: [Score]}.

    Each draw trains the same `num_nets` networks, and is judged by their mean accuracy on a batch of training images.
    The best fifth of the draws are kept, and scored over further networks: network i on one of them after another.
    `rng` as in `random_real`. Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018: the best 10 of 50.
    """
    def score(model, protocol):
        kept = best_draws(draw, real, model, protocol, num_sets, num_nets, rng, compute, progress, given)
        streams = partial(rng, "evaluation", NO_EXPERIMENT, OPTIMISED, 0)
        return _score(lambda i: draw(kept[i % len(kept)]), real, model, protocol, num_eval, streams, compute, progress,
                      given)

    draw = _data_of("optimised", real, ipc, rng)
    return _kept("optimised", ipc, real, protocols, num_eval, rng, compute, score, given, draws=[num_sets, num_nets])


def best_draws(draw: Callable[[int], LabelledImages], real: RealData, model: str, protocol: Protocol, num_sets: int,
               num_nets: int, rng: Streams, compute: Compute, progress: bool = True,
               given: Conditions = USUAL) -> list[int]:
    """Return which of the sets `draw(i)`, i = 0 .. `num_sets` - 1, are the best fifth (rounded up), in this order.

    See `optimised_real`; no test image is looked at.
    """
    images = SelectionImages(real, rng("data", NO_EXPERIMENT, OPTIMISED, 1), TRAINING_BATCH)

    def streams(key, i):
        return rng("evaluation", NO_EXPERIMENT, OPTIMISED, 1, key, i % num_nets)

    log.info("%s: training %d networks to choose the best of %d draws of real images, once; fewer with "
             "--optimise_sets, --optimise_nets", model, num_sets * num_nets, num_sets)
    scores = _score(lambda i: draw(i // num_nets), images, model, protocol, num_sets * num_nets, streams, compute,
                    progress, given, period=num_nets)
    means = [_mean(scores[i * num_nets:(i + 1) * num_nets]) for i in range(num_sets)]
    return sorted(sorted(range(num_sets), key=means.__getitem__, reverse=True)[:-(-num_sets // KEPT)])


def tuned_rate(real: RealData, kind: str, ipc: int, model: str, protocol: Protocol, candidates: Iterable[float],
               num_eval: int, rng: Streams, compute: Compute, progress: bool = True,
               given: Conditions = USUAL) -> tuple[float, dict[float, float]]:
    """Return (learning rate, {candidate: mean accuracy}) of the best for baseline `kind` of `ipc` images per class.

    As `choose_lr` does it for a set: on held-out training images, over networks that no score is made with, but
    where the set comes with starts: those are all that there are.
    """
    streams = partial(rng, "evaluation", SEARCH)

    def score(model, protocol):
        return _score(_data_of(kind, real, ipc, rng), search_images(real, rng), model, protocol, num_eval, streams,
                      compute, progress, given)

    def mean(lr):
        trained = {model: dataclasses.replace(protocol, lr=lr)}
        return _mean(_kept(f"search, {kind}", ipc, real, trained, num_eval, rng, compute, score, given)[model])

    return best_rate({lr: mean(lr) for lr in rates(candidates)})


def _data_of(kind, real, ipc, rng):
    """Return what the networks of a baseline train on: one set, or a function i -> set."""
    if kind == "random":
        return lambda i: random_set(real, ipc, rng("data", NO_EXPERIMENT, RANDOM, i))
    if kind == "optimised":
        return lambda i: random_set(real, ipc, rng("data", NO_EXPERIMENT, OPTIMISED, 0, i))
    return made_set(real, kind, ipc, rng("init", 0))


def _mean(scores):
    return statistics.fmean(score.test_accuracy for score in scores)


def full_data(real: RealData, protocols: Mapping[str, Protocol], num_eval: int, rng: Streams, compute: Compute,
              progress: bool = True) -> dict[str, list[Score]]:
    """Score the whole training set by `protocols` (see `full_recipe`), {network name: [Score]}; `rng` as above."""
    streams = partial(rng, "evaluation", NO_EXPERIMENT, FULL)
    score = partial(_score, real.sample(real.classes), real, num_eval=num_eval, streams=streams, compute=compute,
                    progress=progress)
    return _kept("full", None, real, protocols, num_eval, rng, compute, score, USUAL)


def full_recipe(protocol: Protocol, model: str, real: RealData) -> Protocol:
    """Return how `model` is trained on all of `real`: as `protocol`, but for the epochs of the protocol `full`.

    The few steps of a `StepProtocol` are no way to train on everything: there it is `full` itself.
    """
    if protocol.schedule == "steps":
        return named_protocols("full", [model], real)[model]
    return dataclasses.replace(protocol, **(FULL_DIGITS if real.name == "Digits" else FULL_EPOCHS))


def _score(data, real, model, protocol, num_eval, streams, compute, progress, given=USUAL, period=None):
    data = given.applied(data, model, protocol, period)
    more = {"confusion": True} if given.attack else {}     # accuracy alone hides what an attack does
    return evaluate(data, real, {model: protocol}, num_eval, streams, compute, progress, **more)[model]


def _kept(kind, ipc, real, protocols, num_eval, rng, compute, score, given, **more):
    """Return {network name: [Score]}, each network's from the cache, or by `score(model, protocol)`.

    `more` is what else the scores depend on. Other code or libraries, another kind of device: another key.
    """
    made_by = cache_key(compute, CODE, OWN_LIBRARIES)
    return {model: _remembered({**made_by, "data": real.fingerprint, "zca": real.zca and real.zca.fingerprint,
                                "kind": kind, "ipc": ipc, "network": model, "protocol": dataclasses.asdict(protocol),
                                "num_eval": num_eval, "seed": rng.seed, **given.key(), **more},
                               partial(score, model, protocol))
            for model, protocol in protocols.items()}


def _remembered(key, score):
    """Return `score()`, or what an earlier call under `key` returned."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "baselines" / f"{name}.json"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.with_suffix(".lock")))          # who asks second waits, and reads
        except OSError as error:
            log.warning("cannot store baselines in %s (%s); set CONDENSE_CACHE to another folder", path.parent,
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


def beats(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Say whether accuracies `ours` beat `theirs`: the means differ by over three standard errors.

    mean difference > 3 sqrt(sA^2 / nA + sB^2 / nB), s with ddof 1. Raises ValueError below 5 networks a side,
    where the figure would mean nothing.
    """
    if min(len(ours), len(theirs)) < 5:
        raise InputError("a comparison needs at least 5 networks on each side")
    error = math.sqrt(sum(statistics.variance(side) / len(side) for side in (ours, theirs)))
    return statistics.fmean(ours) - statistics.fmean(theirs) > 3 * error


def baselines_path(result_path: str | Path) -> Path:
    """Return the path of the baselines of a result, in its folder."""
    return Path(result_path).with_name(f"{Path(result_path).stem}_baselines.json")


def save_baselines(result_path: str | Path, meta: Mapping[str, Any], random: Mapping[str, Sequence[Score]]) -> None:
    """Save `random` {network name: [Score]} in the folder of the result that `meta` describes, atomically."""
    accuracies = {model: [score.test_accuracy for score in scores] for model, scores in random.items()}
    with atomic_path(baselines_path(result_path)) as path:
        path.write_text(json.dumps({**_belonging(meta), "random": accuracies}))


def load_baselines(result_path: str | Path, meta: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return {network name: [accuracies of random real images]} as saved with a result; {} where nothing is.

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
    raise InputError(f"{path} does not belong to its result; make it again: python evaluate.py "
                     f"{result_path} --stored --beside")


def _belonging(meta):
    """Return what a result and its baselines must have in common.

    Not the code: a result does not say which one scored it, and its baselines are a record, kept with it.
    """
    starts = meta["options"].get("train_nets_type", "unknown_init")
    return {"fingerprint": meta["fingerprint"], "protocols": meta["protocols"], "ipc": meta["options"]["ipc"],
            "seed": meta["seed"], "precision": meta["options"]["precision"],
            **({} if starts == "unknown_init" else {"starts": starts})}
