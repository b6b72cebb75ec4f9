"""Metrics of a class-incremental run: accuracies per step, their average, forgetting, accuracies of classes.

A run is one class order with one network drawn anew at every step; everything follows from its confusion matrices,
(K, K) counts of test images, row = true class, column = guess. Accuracies are fractions in [0, 1].
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


def step_accuracies(confusions: ArrayLike) -> Float[np.ndarray, " steps"]:
    """Return the accuracy over all classes seen at each step, (steps,), of one run's `confusions` (steps, K, K)."""
    counts = np.asarray(confusions, dtype=np.float64)
    return counts.diagonal(axis1=1, axis2=2).sum(1) / counts.sum((1, 2))


def task_accuracies(confusions: ArrayLike,
                    classes_of_steps: Sequence[Sequence[int]]) -> Float[np.ndarray, "steps steps"]:
    """Return (steps, steps): row t, column j is the accuracy after step t on the classes that came in step j.

    NaN where they had not come yet, j > t.
    """
    counts = np.asarray(confusions, dtype=np.float64)
    right, all_of = counts.diagonal(axis1=1, axis2=2), counts.sum(2)                  # (steps, K)
    columns = [list(classes) for classes in classes_of_steps]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([right[:, classes].sum(1) / all_of[:, classes].sum(1) for classes in columns], 1)


def average_accuracy(confusions: ArrayLike) -> float:
    """Return the average incremental accuracy of one run: the mean of `step_accuracies` (Rebuffi et al., CVPR 2017)."""
    return float(step_accuracies(confusions).mean())


def forgetting(confusions: ArrayLike, classes_of_steps: Sequence[Sequence[int]]) -> float | None:
    """Return how far a run fell on earlier steps' classes: best accuracy before the last step, less that after it.

    The mean over all steps but the last; negative where later networks are better. None for a single step. Chaudhry
    et al., "Riemannian Walk for Incremental Learning", ECCV 2018, equation 3.
    """
    if len(classes_of_steps) < 2:
        return None
    accuracies = task_accuracies(confusions, classes_of_steps)[:, :-1]                # of the last step nothing is lost
    return float((np.nanmax(accuracies[:-1], axis=0) - accuracies[-1]).mean())


def class_accuracies(confusion: ArrayLike) -> Float[np.ndarray, " k"]:
    """Return the accuracy of each class, (K,) with NaN for those without test images, of (K, K) counts."""
    counts = np.asarray(confusion, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts.diagonal() / counts.sum(1)


def mean_and_std(values: Sequence[float] | np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Return mean and population standard deviation, as the papers' programs do; (None, None) of no values."""
    if not len(values) or None in values:
        return None, None
    return float(np.mean(values)), float(np.std(values))
