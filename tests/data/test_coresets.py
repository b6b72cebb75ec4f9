"""Choosers of coresets against plain loops, and the rows they lead to."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data import RealData, load_data
from condense.data.coresets import (
    CHOOSERS,
    CORESET_METHODS,
    choose_coreset,
    class_features,
    herding,
    k_center,
    k_means,
    require_images,
)

TOLERANCE = 1e-4                           # of features near 1: what float32 leaves of a distance


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n=40, dim=6, seed=0):
    return torch.randn(n, dim, generator=rng(seed))


def few_values(n=30, dim=2, seed=0):
    """Small integers: many copies, many equal distances."""
    return torch.randint(0, 3, (n, dim), generator=rng(seed)).float()


def flat(images):
    return images.flatten(1)


def herding_scores(features, chosen):
    """||mean - mean of (chosen and x)|| of every x, by plain loops in float64; inf where x is chosen."""
    rows = features.double().numpy()
    return [np.inf if i in chosen else np.linalg.norm(rows.mean(0) - rows[[*chosen, i]].mean(0))
            for i in range(len(rows))]


def k_center_scores(features, chosen):
    """Minus the distance of every x from the chosen (from the mean for the first), by plain loops in float64."""
    rows = features.double().numpy()
    if not chosen:
        return [np.linalg.norm(row - rows.mean(0)) for row in rows]
    return [np.inf if i in chosen else -min(np.linalg.norm(row - rows[c]) for c in chosen)
            for i, row in enumerate(rows)]


GREEDY = [(herding, herding_scores), (k_center, k_center_scores)]


@pytest.mark.parametrize("chooser, scores", GREEDY, ids=["herding", "k-center"])
@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 25), dim=st.integers(1, 8), seed=st.integers(0, 999), data=st.data())
def test_greedy_chooser_takes_what_a_plain_loop_takes(chooser, scores, n, dim, seed, data):
    features, number = normal(n, dim, seed), data.draw(st.integers(1, n))
    chosen = chooser(features, number).tolist()
    for step, position in enumerate(chosen):
        expected = scores(features, chosen[:step])
        assert expected[position] <= min(expected) + TOLERANCE


@pytest.mark.parametrize("chooser, scores", GREEDY, ids=["herding", "k-center"])
def test_greedy_chooser_equals_the_plain_loop_index_by_index(chooser, scores):
    features, expected = normal(), []
    for _ in range(12):
        expected.append(int(np.argmin(scores(features, expected))))
    assert chooser(features, 12).tolist() == expected


@pytest.mark.parametrize("chooser, scores", GREEDY, ids=["herding", "k-center"])
def test_greedy_chooser_is_right_among_ties_and_copies(chooser, scores):
    features = few_values()
    chosen = chooser(features, len(features)).tolist()
    assert sorted(chosen) == list(range(len(features)))
    for step, position in enumerate(chosen):
        expected = scores(features, chosen[:step])
        assert expected[position] <= min(expected) + TOLERANCE


@pytest.mark.parametrize("chooser, scores", GREEDY, ids=["herding", "k-center"])
def test_greedy_chooser_is_right_on_a_class_of_digits(chooser, scores):
    features = class_features(load_data("Digits"), 3, flat, 64)
    chosen = chooser(features, 8).tolist()
    for step, position in enumerate(chosen):
        expected = scores(features, chosen[:step])
        assert expected[position] <= min(expected) + TOLERANCE


@pytest.mark.parametrize("name", CHOOSERS)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("features", [torch.zeros(9, 4), few_values(9), normal(9)], ids=["equal", "copies", "distinct"])
def test_no_image_is_chosen_twice_and_all_are_when_all_are_asked_for(name, features):
    for number in range(1, 10):
        chosen = CHOOSERS[name](features, number, rng())
        assert chosen.dtype == torch.int64 and len(set(chosen.tolist())) == number
        assert set(chosen.tolist()) <= set(range(9))


def test_k_center_covers_within_twice_the_best_radius():
    for seed in range(5):
        features = normal(10, 2, seed)
        distances = torch.cdist(features, features)
        best = min(distances[:, list(centers)].amin(1).max() for centers in combinations(range(10), 3))
        assert distances[:, k_center(features, 3)].amin(1).max() <= 2 * best


def test_herding_follows_the_mean_better_than_random_draws():
    features = normal(200, 10)
    error = (features[herding(features, 10)].mean(0) - features.mean(0)).norm()
    draws = [features[torch.randperm(200, generator=rng(seed))[:10]] for seed in range(200)]
    assert error < min((draw.mean(0) - features.mean(0)).norm() for draw in draws)


def blobs(sizes=(12, 7, 20), seed=0):
    """Clusters so far apart that k-means must find them."""
    centers = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    label = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    return centers[label] + normal(sum(sizes), 2, seed), label


@pytest.mark.parametrize("seed", range(4))
def test_k_means_takes_the_image_nearest_each_centroid(seed):
    features, label = blobs(seed=seed)
    expected = {int(((features - features[label == blob].mean(0)).norm(dim=1)).argmin()) for blob in range(3)}
    assert set(k_means(features, 3, rng(seed)).tolist()) == expected


def test_k_means_takes_distinct_images_where_centroids_share_their_nearest(monkeypatch):
    class Shared:                                          # both centroids are nearest to row 1
        def __init__(self, number, **kwargs):
            self.cluster_centers_ = np.array([[1.0], [1.2]], dtype=np.float32)

        def fit(self, points):
            return self

    monkeypatch.setattr("sklearn.cluster.KMeans", Shared)
    features = torch.tensor([[-5.0], [1.1], [1.5], [9.0]])
    assert k_means(features, 2, rng()).tolist() == [1, 2]    # 0.1 + 0.3 in all; the other way 0.5 + 0.1


def test_k_means_repeats_with_its_generator_and_draws_from_no_other():
    features, before = normal(120, 8), torch.get_rng_state()
    chosen = [k_means(features, 10, rng(seed)).tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert torch.equal(torch.get_rng_state(), before)


def make_real(counts=(6, 9, 7)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=rng())]
    images = torch.randint(0, 256, (len(labels), 1, 8, 8), dtype=torch.uint8, generator=rng(1))
    return RealData("toy", images, labels, images.clone(), labels, [f"c{i}" for i in range(len(counts))])


@pytest.mark.parametrize("method", CORESET_METHODS)
def test_rows_are_distinct_and_class_major(method):
    real = make_real()
    rows = choose_coreset(real, method, 4, flat, 5, rng())
    assert rows.dtype == torch.int64 and len(set(rows.tolist())) == 12
    assert real.labels[rows].tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("method", ["herding", "k-center"])
def test_each_class_is_chosen_from_by_itself(method):
    real = make_real()
    rows = choose_coreset(real, method, 3, flat, 1000, rng())
    for label, chosen in enumerate(rows.split(3)):
        members = (real.labels == label).nonzero().flatten()
        alone = CHOOSERS[method](real.normalise(real.images[members]).flatten(1), 3)
        assert torch.equal(members[alone], chosen)


def test_chunks_change_no_feature_and_nothing_is_kept_for_gradients():
    real = make_real()
    weight = torch.randn(64, 5, generator=rng(), requires_grad=True)
    whole, chunked = (class_features(real, 1, lambda images: images.flatten(1) @ weight, chunk) for chunk in (100, 2))
    torch.testing.assert_close(whole, chunked)
    assert whole.shape == (9, 5) and whole.dtype == torch.float32 and not whole.requires_grad


def test_random_is_uniform_and_keyed_by_its_generator():
    real, draws = make_real(), 3000
    seen = torch.zeros(len(real))
    for seed in range(draws):
        seen[choose_coreset(real, "random", 2, None, None, rng(seed))] += 1
    expected = torch.tensor([2 / 6] * 6 + [2 / 9] * 9 + [2 / 7] * 7)
    assert ((seen / draws - expected).abs() < 5 * (expected * (1 - expected) / draws).sqrt()).all()
    again = [choose_coreset(real, "random", 2, None, None, rng(seed)) for seed in (7, 7, 8)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


@pytest.mark.parametrize("method", CORESET_METHODS)
def test_more_images_than_the_smallest_class_has_are_refused_with_the_mend(method):
    with pytest.raises(ValueError, match="class 'c0' has 6; use --ipc 6 or less"):
        choose_coreset(make_real(), method, 7, flat, 5, rng())
    require_images(make_real(), 6)


def test_unknown_method_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean herding"):
        choose_coreset(make_real(), "hearding", 1, flat, 5, rng())
