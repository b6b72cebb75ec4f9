"""Accuracies in figures: mean, spread and confidence over networks and experiments, and class by class."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean and population standard deviation of all networks' accuracies, fractions, as the papers print them.

    `interval` is the 95 % confidence interval of the mean (low, high) by Student's t, None where it has nothing to
    go by. With several experiments their means are what varies, as networks of one set share its luck; with one
    experiment it is over its networks, and says nothing about another condensation.
    """

    mean: float
    std: float
    interval: tuple | None
    networks: int
    experiments: int


def summary(accuracies: Sequence[Sequence[float]]) -> Summary:
    """Return the `Summary` of `accuracies`, a list over experiments of lists over networks of fractions."""
    pooled = [value for of_one in accuracies for value in of_one]
    drawn = [statistics.fmean(of_one) for of_one in accuracies] if len(accuracies) > 1 else pooled
    mean = statistics.fmean(pooled)
    return Summary(mean, statistics.pstdev(pooled), confidence_interval(drawn), len(pooled), len(accuracies))


def confidence_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval (low, high) of the mean of independent `values` by Student's t; None for one value.

    It is cut at 0 and 1, as accuracies are.
    """
    if len(values) < 2:
        return None
    error = statistics.stdev(values) / math.sqrt(len(values))
    half, mean = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * error, statistics.fmean(values)
    return max(0.0, mean - half), min(1.0, mean + half)


def per_class(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """Return the accuracy of each class, fractions; None where the test images have none of it.

    `confusion` (K, K) counts test images: true class by row, guess by column.
    """
    return [row[label] / sum(row) if sum(row) else None for label, row in enumerate(confusion)]


def added(confusions: Iterable[Sequence[Sequence[int]]]) -> list[list[int]]:
    """Return the sum of several confusion matrices, a list of lists of int."""
    return [[sum(cells) for cells in zip(*rows)] for rows in zip(*confusions)]
