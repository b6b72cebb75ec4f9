"""What a set is compared with: how many real images, by which recipe; and DD-Ranking's accuracies."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from condense.comparison.baseline_rows import Baselines, equal_numbers, ranking_facts
from condense.comparison.baselines import full_recipe
from condense.core.randomness import Streams
from condense.evaluation import evaluate
from condense.operators import Compute
from condense.training import Protocol, TensorSet

QUICK = Protocol(epochs=1, batch_size=64, strategy="crop_cutout")
OWN = replace(QUICK, lr=0.05)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))


def baselines(digits, *kinds):
    return Baselines(digits, kinds, 2, 1, Streams(0), Compute(), {"data": {"fingerprint": "f"}}, progress=False)


@pytest.mark.parametrize("stored, images, numbers", [
    (10 * 64 * 4, 10, {1: "same bytes and images"}), (10 * 64 * 4, 40, {1: "same bytes", 4: "same number of images"}),
    (10 * 64 * 4 + 4, 10, {2: "same bytes", 1: "same number of images"}),     # a part counts as a whole image
    (4, 15, {1: "same bytes", 2: "same number of images"}),
])
def test_equal_bytes_and_images_are_rounded_in_favour_of_the_baseline(digits, stored, images, numbers):
    found = equal_numbers(stored, images, digits)
    assert found == numbers and list(found) == list(numbers)


def test_baselines_take_the_sets_protocol_and_the_whole_set_one_that_was_not_made_for_it(digits):
    rows = baselines(digits, "full", "herding", "random").rows("MLP", OWN, QUICK, 2560, 40, "set.pt")
    assert [(row.kind, row.images) for row in rows] == [("random", 10), ("random", 40), ("herding", 10),
                                                        ("herding", 40), ("full", 1438)]
    assert {row.source["recipe"]["lr"] for row in rows[:4]} == {0.05}
    full = rows[4].source["recipe"]
    assert (full["lr"], full["epochs"], full["batch_size"]) == (0.01, 30, 32)


def test_more_images_than_a_class_has_make_no_row(digits):
    assert baselines(digits, "random", "k-means").rows("MLP", OWN, OWN, 2560 * 200, 10 * 200, "set.pt") == []


def test_ranking_trains_with_hard_labels_and_without_augmentation_as_by_hand(digits):
    soft = TensorSet(digits.sample(digits.classes, 2, torch.Generator().manual_seed(0)).images(),
                     (4 * torch.eye(10)).repeat_interleave(2, 0).softmax(1))
    held, streams = baselines(digits), partial(Streams(0), "evaluation", 0, 0)
    facts = ranking_facts(soft, digits, "MLP", OWN, QUICK, 2, streams, [0.4, 0.6], held, 2560)["ranking"]["accuracies"]

    def by_hand(data, protocol):
        scores = evaluate(data, digits, {"MLP": protocol}, 2, streams, Compute(), progress=False)["MLP"]
        return sum(score.test_accuracy for score in scores) / 2

    hard = TensorSet(soft.tensor, torch.arange(10).repeat_interleave(2))
    plain = replace(OWN, augmentation="none", strategy="none")
    assert facts["synthetic"] == facts["synthetic_augmented"] == pytest.approx(0.5)
    assert facts["synthetic_hard"] == pytest.approx(by_hand(hard, OWN))
    assert facts["synthetic_plain"] == pytest.approx(by_hand(soft, plain))
    random = [held.random("MLP", 1, recipe) for recipe in (OWN, plain)]              # of equal bytes
    assert [facts["random_augmented"], facts["random_plain"]] == [
        pytest.approx(sum(score.test_accuracy for score in scores) / 2) for scores in random]
    assert facts["full_hard"] == held.full("MLP", full_recipe(QUICK, "MLP", digits))[0].test_accuracy


def test_ranking_of_a_protocol_without_augmentation_adds_one(digits):
    plain = Protocol(epochs=1, batch_size=64, augmentation="none", cutmix=0.5)
    data = TensorSet(digits.sample(digits.classes, 1, torch.Generator().manual_seed(0)).images(), torch.arange(10))
    facts = ranking_facts(data, digits, "MLP", plain, plain, 2, partial(Streams(0), "evaluation", 0, 0), [0.5],
                          baselines(digits), 2560)["ranking"]["accuracies"]
    assert len({facts["synthetic"], facts["synthetic_augmented"], facts["synthetic_plain"]}) == 3


def test_ranking_is_left_out_where_no_class_has_so_many_images(digits):
    data = TensorSet(torch.zeros(10, 1, 8, 8), torch.arange(10))
    assert ranking_facts(data, digits, "MLP", OWN, OWN, 2, None, [0.5], baselines(digits), 2560 * 200) == {}
