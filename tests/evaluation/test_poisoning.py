"""Data poisoning: whose labels change, and what an attack comes to, against a loop over guesses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.evaluation.accuracy import confusion_counts
from condense.evaluation.poisoning import attack_figures, poisoned, relabelled


def test_the_attacked_class_is_called_the_target_on_a_copy():
    labels = torch.tensor([0, 3, 1, 3, 2])
    assert relabelled(labels, 3, 1).tolist() == [0, 1, 1, 1, 2] and labels.tolist() == [0, 3, 1, 3, 2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40), st.permutations(range(4)))
def test_figures_are_those_counted_image_by_image(pairs, order):
    attacked, target = order[:2]
    pairs = [(attacked, 0), *pairs]                        # a class without test images has no accuracy
    labels, guesses = (torch.tensor(column) for column in zip(*pairs))
    found = attack_figures(tuple(map(tuple, confusion_counts(labels, guesses, 4).tolist())), attacked, target)
    wanted = [target if label == attacked else label for label, _ in pairs]
    of_class = [guess for label, guess in pairs if label == attacked]
    assert found == pytest.approx({
        "accuracy": sum(label == guess for label, guess in pairs) / len(pairs),
        "relabelled_accuracy": sum(label == guess for label, (_, guess) in zip(wanted, pairs)) / len(pairs),
        "attacked_class_accuracy": sum(guess == attacked for guess in of_class) / len(of_class),
        "attacked_as_target": sum(guess == target for guess in of_class) / len(of_class)})


def test_without_test_images_of_the_attacked_class_its_figures_are_0():
    figures = attack_figures(((0, 0, 0), (0, 4, 0), (1, 0, 3)), 0, 1)
    assert figures == {"accuracy": 7 / 8, "relabelled_accuracy": 7 / 8, "attacked_class_accuracy": 0,
                       "attacked_as_target": 0}


def test_both_functions_are_of_the_same_attack():
    relabel, figures = poisoned(2, 0, 3)
    assert relabel(torch.tensor([0, 1, 2])).tolist() == [0, 1, 0]
    assert figures(((1, 0, 0), (0, 1, 0), (1, 0, 0)))["attacked_as_target"] == 1


@pytest.mark.parametrize("attacked, target, mend", [
    (3, 0, "--attack_class 3 is none of the classes 0..2"),
    (0, 5, "--target_class 5 is none of"),
    (1, 1, "choose two classes"),
])
def test_classes_that_there_are_not_are_refused(attacked, target, mend):
    with pytest.raises(ValueError, match=mend):
        poisoned(attacked, target, 3)
