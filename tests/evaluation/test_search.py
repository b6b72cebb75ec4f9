"""The learning rate is chosen on training images alone, and what is best there is what is chosen."""

from functools import partial

import pytest
import torch

from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import choose_lr, evaluate
from condense.evaluation import search as search_module
from condense.evaluation.selection import SelectionImages
from condense.operators import Compute
from condense.training import Protocol, TensorSet

QUICK = Protocol(epochs=3, lr=123.0, batch_size=16, augmentation="none")
POOL = {"MLP": QUICK, "ConvNetD1": QUICK}
RATES = [0.0001, 0.05, 0.5]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data(digits):
    batch = digits.sample(digits.classes, 5, seeded())
    return TensorSet(batch.images(), batch.labels)


def chosen(data, real, rates=RATES, protocols=POOL, num_eval=2, seed=0):
    return choose_lr(data, real, protocols, rates, num_eval, Streams(seed), Compute(), progress=False)


def test_the_rate_with_the_best_mean_on_selection_images_is_chosen_for_each_network(digits, data):
    found = chosen(data, digits)
    assert list(found) == list(POOL)
    for lr, means in found.values():
        assert list(means) == RATES and means[lr] == max(means.values()) > 0.4 > 2 * means[0.0001]


def test_means_are_those_of_networks_scored_on_the_selection_images(digits, data):
    found = chosen(data, digits, [0.05], {"MLP": QUICK})["MLP"]
    streams, key = Streams(0), search_module.SEARCH
    images = SelectionImages(digits, streams("data", key))
    protocol = Protocol(epochs=3, lr=0.05, batch_size=16, augmentation="none")
    scores = evaluate(data, images, {"MLP": protocol}, 2, partial(streams, "evaluation", key), Compute(),
                      progress=False)["MLP"]
    assert found == (0.05, {0.05: sum(score.test_accuracy for score in scores) / 2})


class Sealed:
    """Real data whose test part nobody may look at."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        if name.startswith("test"):
            raise AssertionError(f"somebody asked for {name}")
        return getattr(self._real, name)

    def __len__(self):
        return len(self._real)


def test_the_test_set_is_never_asked_for(digits, data):
    assert chosen(data, Sealed(digits)) == chosen(data, digits)


def test_poisoned_test_labels_change_nothing(data):
    clean, poisoned = load_data("Digits"), load_data("Digits")
    poisoned.test_labels = (poisoned.test_labels + 1) % 10
    poisoned.test_images = poisoned.test_images.flip(0)
    assert chosen(data, poisoned) == chosen(data, clean)


def test_candidates_are_tried_on_the_same_networks_and_these_are_not_the_scored_ones(digits, data, monkeypatch):
    keys, original = [], search_module.evaluate

    def watched(data, real, protocols, num_eval, rng, *rest):
        keys.append([rng(1, 0).initial_seed(), rng(1, 1).initial_seed()])
        return original(data, real, protocols, num_eval, rng, *rest)

    monkeypatch.setattr(search_module, "evaluate", watched)
    chosen(data, digits)
    assert len(keys) == 3 and keys[0] == keys[1] == keys[2]
    scored = partial(Streams(0), "evaluation")
    assert not set(keys[0]) & {scored(exp, it, 1, i).initial_seed() for exp in range(3) for it in range(50)
                               for i in range(2)}


def test_of_equal_means_the_smaller_rate_is_chosen_whatever_the_order(digits, data):
    same = {"MLP": Protocol(epochs=0, augmentation="none", schedule="constant")}             # nothing is learned
    for rates in ([0.3, 0.1, 0.2], [0.1, 0.2, 0.3]):
        lr, means = chosen(data, digits, rates, same)["MLP"]
        assert lr == 0.1 and len(set(means.values())) == 1 and list(means) == [0.1, 0.2, 0.3]


def test_the_choice_of_one_network_does_not_depend_on_the_others(digits, data):
    assert chosen(data, digits, protocols={"MLP": QUICK})["MLP"] == chosen(data, digits)["MLP"]


def test_the_seed_decides(digits, data):
    assert chosen(data, digits) == chosen(data, digits) != chosen(data, digits, seed=1)


@pytest.mark.parametrize("rates", [[], [0.1, 0], [-1.0], [float("nan")], [float("inf")]])
def test_what_is_no_learning_rate_is_refused(digits, data, rates):
    with pytest.raises(ValueError, match="must be positive numbers, at least one"):
        chosen(data, digits, rates)
