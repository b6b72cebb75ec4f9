"""Means, intervals and class accuracies against other ways to compute them."""

import numpy as np
import pytest
from scipy import stats

from condense.comparison.intervals import added, confidence_interval, per_class, summary

ONE = [0.52, 0.55, 0.49, 0.53, 0.51]


def test_summary_of_one_experiment_is_over_its_networks():
    figures = summary([ONE])
    low, high = stats.ttest_1samp(ONE, 0).confidence_interval(0.95)
    assert figures.mean == pytest.approx(np.mean(ONE)) and figures.std == pytest.approx(np.std(ONE))
    assert figures.interval == pytest.approx((low, high))
    assert (figures.networks, figures.experiments) == (5, 1)


def test_the_interval_of_several_experiments_is_over_their_means():
    lucky, unlucky = [value + 0.1 for value in ONE], ONE
    figures = summary([lucky, unlucky])
    means = [np.mean(lucky), np.mean(unlucky)]
    low, high = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert figures.interval == pytest.approx((max(0, low), min(1, high)))
    assert figures.interval[1] - figures.interval[0] > 10 * (np.diff(confidence_interval(lucky + unlucky))[0])
    assert figures.std == pytest.approx(np.std(lucky + unlucky)) and figures.networks == 10


def test_one_network_has_no_interval():
    assert summary([[0.5]]).interval is None


def test_an_interval_of_accuracies_stays_among_them():
    assert confidence_interval([0.01, 0.99]) == (0, 1)


def test_class_accuracies_are_read_off_the_confusion_matrix():
    assert per_class([[8, 2, 0], [5, 15, 0], [0, 0, 0]]) == [0.8, 0.75, None]
    assert added([[[1, 2], [3, 4]], [[10, 20], [30, 40]]]) == [[11, 22], [33, 44]]
