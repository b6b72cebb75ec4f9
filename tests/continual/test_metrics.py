"""Metrics of class-incremental learning against figures worked out by hand."""

import math

import numpy as np
import pytest

from condense.continual.metrics import (
    average_accuracy,
    class_accuracies,
    forgetting,
    mean_and_std,
    step_accuracies,
    task_accuracies,
)

STEPS = ((2, 0), (1, 3))                                   # classes 2 and 0 come first


def confusions():
    """Two steps over four classes, ten test images of each class seen, of class 3 twenty."""
    first, second = np.zeros((4, 4), int), np.zeros((4, 4), int)
    first[2] = [1, 0, 8, 1]                                # a class not seen yet may be guessed, too
    first[0] = [9, 1, 0, 0]
    second[2] = [2, 3, 5, 0]
    second[0] = [4, 3, 2, 1]
    second[1] = [0, 7, 3, 0]
    second[3] = [5, 0, 0, 15]
    return np.stack([first, second])


def test_accuracy_of_a_step_counts_all_test_images_of_classes_seen():
    assert step_accuracies(confusions()) == pytest.approx([17 / 20, 31 / 50])
    assert average_accuracy(confusions()) == pytest.approx((17 / 20 + 31 / 50) / 2)


def test_task_accuracies_follow_the_classes_of_each_step():
    table = task_accuracies(confusions(), STEPS)
    assert table[0, 0] == pytest.approx(17 / 20) and math.isnan(table[0, 1])
    assert table[1] == pytest.approx([9 / 20, 22 / 30])


def test_forgetting_is_the_fall_from_the_best_earlier_accuracy():
    assert forgetting(confusions(), STEPS) == pytest.approx(17 / 20 - 9 / 20)


def test_forgetting_takes_the_best_before_the_last_step_and_the_mean_over_earlier_steps():
    accuracies = [[0.6], [0.8, 0.9], [0.5, 1.0, 0.7]]      # step by step, of the classes that came in step j
    counts = np.zeros((3, 3, 3), int)
    for step, row in enumerate(accuracies):
        for label, accuracy in enumerate(row):
            counts[step, label, label] = round(10 * accuracy)
            counts[step, label, (label + 1) % 3] = 10 - round(10 * accuracy)
    tasks = ((0,), (1,), (2,))
    assert forgetting(counts, tasks) == pytest.approx(((0.8 - 0.5) + (0.9 - 1.0)) / 2)
    assert task_accuracies(counts, tasks)[2] == pytest.approx(accuracies[2])


def test_a_single_step_forgets_nothing_that_could_be_measured():
    assert forgetting(confusions()[1:], ((2, 0, 1, 3),)) is None
    assert mean_and_std([None, None]) == (None, None)


def test_class_accuracies_are_unknown_without_test_images():
    values = class_accuracies(confusions()[0])
    assert values[[0, 2]] == pytest.approx([0.9, 0.8]) and np.isnan(values[[1, 3]]).all()


def test_deviation_is_that_of_the_population():
    assert mean_and_std([0.1, 0.2, 0.6]) == pytest.approx((0.3, math.sqrt((0.04 + 0.01 + 0.09) / 3)))
