"""What an evaluated set is held against: baselines at equal bytes and equal images, and DD-Ranking's scores."""

import dataclasses
import logging
import math
import statistics
from functools import partial

from condense.augmentation.siamese import default_strategy
from condense.evaluation.baselines import chosen_real, full_data, random_real
from condense.evaluation.ranking import augmentation_robust_score, label_robust_score
from condense.evaluation.rows import Row
from condense.evaluation.score import evaluate
from condense.evaluation.train import TensorSet

log = logging.getLogger("condense")

BASELINES = ("random", "herding", "k-center", "k-means", "full", "none")
FULL_RECIPE_NAME = "full"
IMAGE_FLOAT_BYTES = 4


def equal_numbers(stored_bytes, images, real):
    """Return {real images of each class: how it compares} at equal bytes (first) and at equal images.

    `stored_bytes` and `images` are those of the whole set. A part of an image counts as a whole one, in favour of the
    baseline; an image takes 4 bytes per value, as in a synthetic set.
    """
    of_one = IMAGE_FLOAT_BYTES * real.channel * math.prod(real.im_size)
    by_bytes, by_images = (max(1, -(-number // real.num_classes)) for number in (-(-stored_bytes // of_one), images))
    if by_bytes == by_images:
        return {by_bytes: "same bytes and images"}
    return {by_bytes: "same bytes", by_images: "same number of images"}


class Baselines:
    """The baselines of sets on `real`, scored at need and kept on disk: see `condense.evaluation.baselines`.

    `kinds` are of BASELINES, `num_eval` networks each, of the whole training set `full_networks`; `source` are the
    plain values that say what data, seed and precision are theirs.
    """

    def __init__(self, real, kinds, num_eval, full_networks, rng, compute, source, progress=True):
        self.real, self.kinds = real, [kind for kind in kinds if kind != "none"]
        self.num_eval, self.full_networks, self.source = num_eval, full_networks, source
        self.common = {"rng": rng, "compute": compute, "progress": progress}

    def rows(self, protocols, stored_bytes, images, beside):
        """Return {network name: [Row]}, random images at equal bytes first; `beside` names the set they stand by."""
        found = {model: [] for model in protocols}
        for kind in sorted(self.kinds, key=BASELINES.index):
            numbers = {None: ""} if kind == "full" else equal_numbers(stored_bytes, images, self.real)
            for number, how in numbers.items():
                for model, scores in self._scores(kind, number, protocols).items():
                    found[model].append(self._row(kind, number, how, beside, model, protocols[model], scores))
        return found

    def _scores(self, kind, number, protocols):
        if kind == "full":
            return full_data(self.real, protocols, self.full_networks, **self.common)
        smallest = min(self.real.class_counts)
        if number > smallest:
            log.info("%s: no baseline of %d images per class, as a class of %s has %d", kind, number, self.real.name,
                     smallest)
            return {}
        if kind == "random":
            return random_real(self.real, number, protocols, self.num_eval, **self.common)
        return chosen_real(self.real, kind, number, protocols, self.num_eval, **self.common)

    def _row(self, kind, number, how, beside, model, protocol, scores):
        images = len(self.real) if number is None else number * self.real.num_classes
        each = f"{number:,} per class" if number else ""
        name = {"full": "full training set", "random": f"random real images, {each}"}.get(kind, f"{kind}, {each}")
        size = images * IMAGE_FLOAT_BYTES * self.real.channel * math.prod(self.real.im_size)
        recipe = {**dataclasses.asdict(protocol), **({"name": FULL_RECIPE_NAME} if kind == "full" else {})}
        return Row(name, model, [[score.test_accuracy for score in scores]], images, size,
                   {**self.source, "per_class_images": number, "recipe": recipe},
                   {"compares": how} if how else {}, kind=kind, told_apart=f"trained as {beside}")


def ranking_facts(data, real, protocols, num_eval, streams, compute, baselines, accuracies, stored_bytes,
                  progress=True):
    """Return {network name: DD-Ranking's scores of the set `data`, and the accuracies they are made of}, as facts.

    `accuracies` {network: [fractions]} are the set's under its own protocol; `streams(key, i)` draws networks.
    Further networks are trained: with hard labels where the set's are soft, and without augmentation.
    """
    run = partial(_means, real=real, num_eval=num_eval, rng=streams, compute=compute, progress=progress)
    number = next(iter(equal_numbers(stored_bytes, len(data.labels), real)))
    random = partial(random_real, real, number, num_eval=baselines.num_eval, **baselines.common)
    hard = data if data.labels.dim() == 1 else TensorSet(data.images(), data.labels.argmax(1))
    augmented = {model: _augmenting(protocol, real.name) for model, protocol in protocols.items()}
    plain = {model: dataclasses.replace(protocol, augmentation="none", strategy="none", **_unmixed(protocol))
             for model, protocol in protocols.items()}
    own = {model: statistics.fmean(values) for model, values in accuracies.items()}
    figures = {
        "synthetic": own,
        "synthetic_hard": own if hard is data else run(hard, protocols=protocols),
        "synthetic_augmented": own if augmented == protocols else run(data, protocols=augmented),
        "synthetic_plain": own if plain == protocols else run(data, protocols=plain),
        "random": _mean_scores(random(protocols)), "random_augmented": _mean_scores(random(augmented)),
        "random_plain": _mean_scores(random(plain)),
        "full_hard": _mean_scores(full_data(real, protocols, baselines.full_networks, **baselines.common)),
    }
    return {model: {"ranking": _scores_of({name: of[model] for name, of in figures.items()})} for model in protocols}


def _scores_of(figures):
    label = [figures[name] for name in ("full_hard", "synthetic_hard", "synthetic", "random")]
    augmentation = [figures[f"{of}_{how}"] for how in ("augmented", "plain") for of in ("synthetic", "random")]
    return {"label_robust_score": label_robust_score(*label),
            "augmentation_robust_score": augmentation_robust_score(*augmentation), "accuracies": figures}


def _means(data, protocols, real, num_eval, rng, compute, progress):
    return _mean_scores(evaluate(data, real, protocols, num_eval, rng, compute, progress))


def _mean_scores(scores):
    return {model: statistics.fmean(score.test_accuracy for score in of) for model, of in scores.items()}


def _augmenting(protocol, dataset):
    """Return `protocol`, or, where it does not augment, with the Siamese augmentation of `dataset`."""
    if protocol.augmentation == "none" or protocol.strategy == "none" and protocol.augmentation in ("siamese",
                                                                                                    "classic"):
        return dataclasses.replace(protocol, augmentation="siamese", strategy=default_strategy(dataset))
    return protocol


def _unmixed(protocol):
    return {"cutmix": 0.0} if getattr(protocol, "cutmix", 0.0) else {}
