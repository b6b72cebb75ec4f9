"""Sets of real images, made without learning: a learned set must beat them.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, compare with random images, the best of many such draws,
centroids of k-means and class means.
"""

from collections.abc import Callable
from functools import partial

import torch

from condense.core.registry import lookup
from condense.core.types import LabelledImages
from condense.data.coresets import centroids, choose_coreset, class_features, require_images
from condense.data.real import RealBatch, RealData
from condense.training.train import TensorSet


def random_set(real: RealData, number: int, rng: torch.Generator | None) -> TensorSet:
    """Return `number` random real images of each class, drawn by `rng`; of a class with fewer all."""
    batch = real.sample(real.classes, number, rng)
    return TensorSet(batch.images(), batch.labels)


def coreset(method: str, real: RealData, number: int, rng: torch.Generator | None) -> RealBatch:
    """Return the `number` real images of each class that `method` of CHOOSERS takes by their pixels."""
    return real.batch_of(choose_coreset(real, method, number, _pixels, len(real), rng))


@torch.no_grad()
def mean_set(real: RealData, number: int, rng: torch.Generator | None = None) -> TensorSet:
    """Return the mean image of each class, `number` times: the same in every step of descent. Draws nothing."""
    means = torch.stack([class_features(real, label, _pixels, len(real)).mean(0) for label in real.classes])
    return _set(real, means.repeat_interleave(number, 0), number)


@torch.no_grad()
def centroid_set(real: RealData, number: int, rng: torch.Generator) -> TensorSet:
    """Return the centroids of `number` clusters of each class's pixels: no real images, but means of some.

    Raises ValueError where some class has fewer images.
    """
    require_images(real, number)
    found = [centroids(class_features(real, label, _pixels, len(real)), number, rng) for label in real.classes]
    return _set(real, torch.cat(found), number)


def _set(real, rows, number):
    """Return rows of pixels (K number, C H W), class-major, as a set."""
    labels = torch.tensor(list(real.classes), device=rows.device).repeat_interleave(number)
    return TensorSet(rows.view(len(rows), real.channel, *real.im_size), labels)


def _pixels(images):
    return images.flatten(1)


# kind of baseline -> (real data, images per class, rng) -> set: the same for every network
MAKERS: dict[str, Callable] = {
    "herding": partial(coreset, "herding"), "k-center": partial(coreset, "k-center"),
    "k-means": partial(coreset, "k-means"), "centroids": centroid_set, "average": mean_set}
ANY_NUMBER = ("average", "full")           # kinds for which no class has too few images
# in words, for --help
WORDS = {"random": "random real images", "optimised": "the best of many draws of random real images, on training data",
         "herding": "real images chosen by herding", "k-center": "real images chosen by k-center",
         "k-means": "the real images nearest the centroids of k-means", "centroids": "those centroids themselves",
         "average": "the mean image of each class", "full": "the full training set"}


def made_set(real: RealData, kind: str, number: int, rng: torch.Generator | None) -> LabelledImages:
    """Return the set that MAKERS makes for `kind`; raises ValueError where some class has too few images for it."""
    return lookup(MAKERS, kind, "baseline")(real, number, rng)
