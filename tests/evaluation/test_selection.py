"""Choosing an iteration: which images it is done on, and which iteration that makes the best."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from condense.core.randomness import Streams
from condense.data import RealData, load_data
from condense.evaluation.score import Score
from condense.evaluation.selection import SELECTION_IMAGES, SelectionImages
from condense.run.outcome import Best


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(counts):
    """Return a set with `counts` training images of each class, no two alike: their pixels spell their number."""
    number = torch.arange(sum(counts))
    images = torch.stack([number % 256, number // 256], 1).view(-1, 1, 1, 2).to(torch.uint8)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return RealData("numbered", images, labels, images[:1], labels[:1], range(len(counts)))


def numbers(real, images):
    """Return which training images of a `numbered` set these are."""
    low, high = (real.denormalise(images) * 255).round().long().flatten(1).unbind(1)
    return low + 256 * high


@pytest.mark.parametrize("counts, each", [
    ([500] * 10, 50),                                      # a tenth of 5,000
    ([100, 300, 200], 20),                                 # of every class the same number, whatever its size
    ([3] * 4, 1),                                          # at least one
    ([13000] * 4, 1250),                                   # 5,000 at most
    ([400, 1600, 4], 66),                                  # a class with fewer gives what it has
])
def test_a_tenth_of_the_training_images_and_5000_at_most_are_kept_of_every_class_the_same_number(counts, each):
    real = numbered(counts)
    selection = SelectionImages(real, seeded())
    kept = selection.test_labels.bincount().tolist()
    assert kept == [min(each, count) for count in counts] and len(selection) == sum(kept) <= SELECTION_IMAGES


@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_batches_are_distinct_training_images_with_their_labels_in_one_order_whatever_the_size(size):
    real = numbered([100, 300, 200])
    selection = SelectionImages(real, seeded())
    images, labels = (torch.cat(parts) for parts in zip(*selection.test_batches(size)))
    which = numbers(real, images)
    assert len(which.unique()) == len(which) == 60 and torch.equal(real.labels[which], labels)
    assert torch.equal(labels, selection.test_labels)
    assert torch.equal(images, torch.cat([images for images, _ in selection.test_batches(60)]))


def test_the_seed_decides_which_and_test_images_are_none_of_them():
    real = load_data("Digits")
    one, same, other = (SelectionImages(real, Streams(seed)("data")).batch.images() for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert len(one) == 140
    tests = torch.cat([images for images, _ in real.test_batches()])
    assert not (one[:, None] == tests[None]).flatten(2).all(2).any()


# The best iteration

def score(test, selection=None):
    return Score(test, 0.5, 1.0, selection)


def offered(select_on, iterations):
    """Return the `Best` of iterations 0, 10, ... with these {network: [Score]}, and how many sets it asked for."""
    best, asked = Best(select_on, 140), []
    for place, scores in enumerate(iterations):
        best.offer(scores, 10 * place, lambda place=place: asked.append(place) or (["images", place], None), 0.01)
    return best.found, asked


fractions = st.integers(0, 8).map(lambda eighths: eighths / 8)


@given(st.lists(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=2), min_size=1, max_size=8),
       st.sampled_from(["val", "test"]))
def test_the_best_is_the_first_iteration_with_the_highest_mean_of_what_it_is_chosen_on(values, select_on):
    found, asked = offered(select_on, [{"MLP": [score(*pair) for pair in pairs]} for pairs in values])
    means = [sum(pair[select_on == "val"] for pair in pairs) for pairs in values]
    place = means.index(max(means))
    assert found["facts"]["iteration"] == 10 * place and found["set"] == ["images", place]
    assert found["facts"]["selection_accuracy"] == means[place] / 2
    assert found["facts"]["accuracies"] == {"MLP": [pair[0] for pair in values[place]]}
    assert asked == [i for i, mean in enumerate(means) if mean > max([-1, *means[:i]])]      # only of better ones


def test_the_first_network_of_the_pool_decides_and_all_are_told():
    iterations = [{"ConvNet": [score(0.5, 0.6)], "MLP": [score(0.9, 0.9)]},
                  {"ConvNet": [score(0.4, 0.7)], "MLP": [score(0.1, 0.1)]}]
    found, _ = offered("val", iterations)
    assert found["facts"]["iteration"] == 10
    assert found["facts"]["accuracies"] == {"ConvNet": [0.4], "MLP": [0.1]}


def test_facts_say_what_it_was_chosen_on_and_what_that_is_worth():
    (of_val, _), (of_test, _) = (offered(select_on, [{"MLP": [score(0.5, 0.6)]}]) for select_on in ("val", "test"))
    assert of_val["facts"]["selected_on"] == "140 training images kept for selection"
    assert "may have seen" in of_val["facts"]["caveat"]
    assert of_test["facts"]["selected_on"] == "the TEST set" and "flatters" in of_test["facts"]["caveat"]
    assert of_val["facts"]["syn_lr"] == 0.01


def test_nothing_offered_nothing_found():
    assert offered("val", []) == (None, [])
