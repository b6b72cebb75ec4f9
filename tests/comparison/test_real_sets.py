"""Baselines of Dataset Distillation: class means, centroids, the best of many draws, a step size that suits each."""

from dataclasses import asdict
from functools import partial

import pytest
import torch

from condense.comparison import baselines
from condense.comparison.baseline_rows import BASELINES, Baselines
from condense.comparison.baselines import best_draws, chosen_real, optimised_real, tuned_rate
from condense.comparison.real_sets import MAKERS, made_set, random_set
from condense.core.randomness import Streams
from condense.evaluation import choose_lr, evaluate
from condense.evaluation.selection import SelectionImages
from condense.operators import Compute
from condense.training import Protocol, TensorSet, published
from condense.training.protocols import StepProtocol
from condense.training.steps import Steps

STEPS = StepProtocol(2, distill_steps=3, constant=0.1)
CALL = dict(rng=Streams(0), compute=Compute(), progress=False)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sealed(digits):
    """The same data, whose test part nobody may look at."""
    class Sealed:
        def __getattr__(self, name):
            assert not name.startswith("test"), f"somebody asked for {name}"
            return getattr(digits, name)

        def __len__(self):
            return len(digits)

    return Sealed()


def class_pixels(digits, label):
    """(n, 64) float64, normalised by hand."""
    pixels = digits.images[digits.labels == label].double().flatten(1) / 255
    return (pixels - digits.mean[0]) / digits.std[0]


def by_hand(data, digits, protocol, key, num_eval=2):
    streams = partial(Streams(0), "evaluation", 2**31, *key)
    return evaluate(data, digits, {"MLP": protocol}, num_eval, streams, Compute(), progress=False)["MLP"]


# Means and centroids

def test_the_average_is_the_mean_image_of_each_class_as_often_as_asked_for(digits):
    data = made_set(digits, "average", 3, seeded())
    assert data.labels.tolist() == [label for label in range(10) for _ in range(3)]
    for label in range(10):
        mean = class_pixels(digits, label).mean(0)
        for image in data.tensor[3 * label:3 * label + 3]:
            torch.testing.assert_close(image.flatten().double(), mean, rtol=0, atol=1e-5)


def test_under_dd_every_step_sees_the_same_means_whatever_their_number(digits):
    scores = chosen_real(digits, "average", 6, {"MLP": STEPS}, 2, **CALL)["MLP"]
    means = torch.stack([class_pixels(digits, label).mean(0) for label in range(10)]).float().view(10, 1, 8, 8)
    once = TensorSet(means, torch.arange(10), Steps((torch.arange(10),) * 3, (0.1,) * 6))
    for ours, plain in zip(scores, by_hand(once, digits, STEPS, (3,))):
        assert ours.test_accuracy == pytest.approx(plain.test_accuracy, abs=0.006)     # equal but for rounding
        assert ours.train_loss == pytest.approx(plain.train_loss, rel=1e-4)


def test_centroids_are_the_means_of_the_images_nearest_to_them_and_no_image_changes_any_more(digits):
    data = made_set(digits, "centroids", 4, seeded())
    assert data.tensor.shape == (40, 1, 8, 8) and data.labels.tolist() == [c for c in range(10) for _ in range(4)]
    for label in range(10):
        points, centres = class_pixels(digits, label), data.tensor[data.labels == label].flatten(1).double()
        nearest = torch.cdist(points, centres).argmin(1)
        for number in range(4):
            torch.testing.assert_close(centres[number], points[nearest == number].mean(0), rtol=0, atol=1e-5)


def test_one_centroid_is_the_mean_and_centroids_are_no_real_images_as_k_means_takes_them(digits):
    one, mean = (made_set(digits, kind, 1, seeded()).tensor for kind in ("centroids", "average"))
    torch.testing.assert_close(one, mean, rtol=0, atol=1e-5)
    real = digits.normalise(digits.images).flatten(1)
    apart = {kind: torch.cdist(made_set(digits, kind, 2, seeded()).images().flatten(1), real).amin(1).min()
             for kind in ("centroids", "k-means")}
    assert apart["k-means"] < 1e-2 < 0.5 < apart["centroids"]


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_made_follows_from_the_seed(digits, kind):
    one, again = (made_set(digits, kind, 2, seeded(4)) for _ in range(2))
    assert torch.equal(one.images(), again.images()) and one.labels.tolist() == [c for c in range(10) for _ in range(2)]


def test_more_centroids_than_images_are_refused_but_a_mean_can_be_repeated(digits):
    with pytest.raises(ValueError, match="has 1"):
        chosen_real(digits, "centroids", 1000, {"MLP": STEPS}, 2, **CALL)
    assert len(made_set(digits, "average", 1000, None).labels) == 10_000


# The best of many draws

def draw(digits, i):
    return random_set(digits, 3, Streams(0)("data", 2**31, 4, 0, i))


def best_by_hand(digits, sets, nets):
    """Each draw alone: the mean accuracy of `nets` networks on 140 training images; returns the best fifth."""
    images = SelectionImages(digits, Streams(0)("data", 2**31, 4, 1))
    means = [sum(score.test_accuracy for score in by_hand(draw(digits, i), images, STEPS, (4, 1), nets)) / nets
             for i in range(sets)]
    return sorted(sorted(range(sets), key=lambda i: -means[i])[:-(-sets // 5)])


def test_the_best_fifth_of_the_draws_is_kept_as_judged_one_by_one_on_training_images(digits, sealed):
    kept = best_draws(partial(draw, digits), sealed, "MLP", STEPS, 6, 3, **CALL)
    assert kept == best_by_hand(digits, 6, 3) and len(kept) == 2


def test_kept_draws_are_scored_over_further_networks_one_after_another(digits):
    kept = best_by_hand(digits, 6, 3)
    ours = optimised_real(digits, 3, {"MLP": STEPS}, 4, **CALL, num_sets=6, num_nets=3)["MLP"]
    assert ours == by_hand(lambda i: draw(digits, kept[i % 2]), digits, STEPS, (4, 0), 4)


def test_draws_chosen_with_some_networks_on_training_images_serve_others_better_on_test_images(digits):
    kept = best_draws(partial(draw, digits), digits, "MLP", STEPS, 15, 12, **CALL)
    means = [sum(score.test_accuracy for score in by_hand(draw(digits, i), digits, STEPS, (99,), 6)) / 6
             for i in range(15)]                           # of all on the same networks: what differs is the images
    assert sum(means[i] for i in kept) / 3 > sum(means) / 15


def test_the_choice_is_made_once_and_anew_for_other_numbers(digits, monkeypatch):
    calls, original = [], baselines.evaluate
    monkeypatch.setattr(baselines, "evaluate", lambda *args: calls.append(args[3]) or original(*args))
    for sets, nets in ((6, 2), (6, 2), (5, 2), (6, 3)):
        optimised_real(digits, 1, {"MLP": STEPS}, 2, **CALL, num_sets=sets, num_nets=nets)
    assert calls == [12, 2, 10, 2, 18, 2]                  # the second time nothing is trained


# Step sizes

SIZES = (0.3, 1e-4, 0.05)


def test_the_step_size_of_a_baseline_is_what_choose_lr_chooses_for_its_images(digits, sealed):
    for kind, data in (("average", made_set(digits, "average", 3, None)),
                       ("random", lambda i: random_set(digits, 3, Streams(0)("data", 2**31, 1, i)))):
        ours = tuned_rate(sealed, kind, 3, "MLP", STEPS, SIZES, 2, **CALL)
        theirs = choose_lr(data, sealed, {"MLP": STEPS}, SIZES, 2, Streams(0), Compute(), progress=False)["MLP"]
        assert ours == theirs and ours[0] != 1e-4 and list(ours[1]) == sorted(SIZES)


def test_step_sizes_tried_once_are_not_tried_again(digits, monkeypatch):
    first, calls = tuned_rate(digits, "random", 3, "MLP", STEPS, SIZES[:2], 2, **CALL), []
    original = baselines.evaluate
    monkeypatch.setattr(baselines, "evaluate", lambda *args: calls.append(args[2]["MLP"].lr) or original(*args))
    lr, tried = tuned_rate(digits, "random", 3, "MLP", STEPS, SIZES, 2, **CALL)
    assert calls == [0.05] and tried[lr] == max(tried.values())
    assert {size: tried[size] for size in SIZES[:2]} == first[1]


def test_what_is_no_step_size_is_refused(digits):
    with pytest.raises(ValueError, match="must be positive"):
        tuned_rate(digits, "random", 3, "MLP", STEPS, (0.1, -1), 2, **CALL)


# In rows

def held(digits, *kinds):
    return Baselines(digits, kinds, 2, 1, Streams(0), Compute(), {"data": {"fingerprint": "f"}}, progress=False,
                     optimise=(5, 2))


def test_every_baseline_makes_a_row_by_the_steps_of_the_protocol(digits, monkeypatch):
    monkeypatch.setattr(published, "FULL_DIGITS", {"epochs": 1})
    rows = held(digits, *BASELINES).rows("MLP", STEPS, STEPS, 30 * 64 * 4, 30, "set.pt")
    assert [row.kind for row in rows] == list(BASELINES) and {row.images for row in rows[:-1]} == {30}
    assert all(row.source["recipe"] == asdict(STEPS) for row in rows[:-1])
    assert rows[-1].source["recipe"]["schedule"] == "drop"                 # a few steps are no way to see everything
    assert {row.kind: row.bytes for row in rows[:-1]} == dict.fromkeys(list(BASELINES)[:-1], 7680) | {"average": 2560}


def test_each_baseline_takes_the_step_size_that_suits_it_and_says_what_was_tried(digits):
    rows = held(digits, "random", "optimised", "average").rows("MLP", STEPS, STEPS, 7680, 30, "set.pt", SIZES)
    random, best, average = rows
    for row in rows:
        tried = row.facts["lr_candidates"]
        assert row.source["recipe"]["lr"] == row.facts["searched_lr"] and len(tried) == 3
        assert max(tried, key=tried.get) == str(row.facts["searched_lr"])
    assert best.facts["lr_candidates"] == random.facts["lr_candidates"] != average.facts["lr_candidates"]


def test_sets_of_several_images_in_the_place_of_one_are_held_against_one_row_of_means(digits):
    rows = held(digits, "average", "centroids").rows("MLP", STEPS, STEPS, 10 * 64 * 4, 40, "set.pt")
    assert [(row.kind, row.images, row.facts["compares"]) for row in rows] == [
        ("centroids", 10, "same bytes"), ("centroids", 40, "same number of images"),
        ("average", 40, "same number of images")]


@pytest.mark.parametrize("protocol", [Protocol(1, batch_size=16, strategy="crop"),
                                      Protocol(1, batch_size=16, augmentation="none", schedule="constant")])
def test_new_baselines_serve_other_protocols_too(digits, protocol):
    for row in held(digits, "optimised", "centroids", "average").rows("MLP", protocol, protocol, 7680, 30, "set.pt"):
        assert row.source["recipe"] == asdict(protocol) and 0.05 < row.summary.mean < 1
