"""Low rank: the values that the factors start from."""

import pytest
import torch

from condense.data import RealData
from condense.synthetic import Pixels, build_synthetic
from condense.synthetic.low_rank import LowRank, balanced_factors
from tests.synthetic.low_rank_sets import random_set, seeded


def tiny_real(counts=(5, 2, 4), im_size=(4, 6)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), 3, *im_size), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, ["ape", "bee", "cat"][:len(counts)])


def test_noise_start_is_as_published_and_wider_than_normalised_images():
    synthetic = LowRank(10, 1, 3, (16, 16), 4, num_per_class=100).init_from(None, "noise", seeded())
    for factor in (synthetic.a, synthetic.b):
        assert abs(factor.mean()) < 0.01 and factor.std().item() == pytest.approx(1, abs=0.01)
    pixels = synthetic.images().detach().double()
    assert abs(pixels.mean()) < 0.05 and pixels.std().item() == pytest.approx(4**0.5, rel=0.03)
    kurtosis = pixels.pow(4).mean() / pixels.square().mean()**2
    assert kurtosis.item() == pytest.approx(3 + 6 / 4, rel=0.1)                  # heavy tails: 3 would be normal


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_scaled_noise_start_has_unit_variance(rank):
    scaled, noise = (LowRank(10, 1, 3, (16, 16), rank, num_per_class=100).init_from(None, how, seeded())
                     for how in ("noise_scaled", "noise"))
    assert scaled.images().std().item() == pytest.approx(1, rel=0.03)
    torch.testing.assert_close(scaled.images() * rank**0.5, noise.images())


@pytest.mark.parametrize("how", LowRank.INITS)
def test_start_depends_on_the_generator_alone(digits, how):
    before = torch.get_rng_state()
    one, two, other = (LowRank(10, 1, 1, (8, 8)).init_from(digits, how, seeded(s)).images() for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize("im_size", [(4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("spare", [0, 3])
def test_real_start_of_full_rank_reproduces_the_images(im_size, spare):
    real = tiny_real(im_size=im_size)
    synthetic = LowRank(3, 1, 3, im_size, min(im_size) + spare, num_per_class=2).init_from(real, "real", seeded())
    dense = Pixels(3, 2, 3, im_size).init_from(real, "real", seeded())
    assert (synthetic.images() - dense.images()).abs().max() < 1e-5
    assert torch.equal(synthetic.labels, dense.labels)


def test_real_start_reproduces_large_images_to_the_same_precision():
    images = 5 * torch.randn(2, 3, 64, 64, generator=seeded())
    a, b = balanced_factors(images, 64)
    assert (a.float() @ b.float() - images).abs().max() < 1e-5


def test_real_start_is_the_best_approximation_with_balanced_factors():
    images = torch.randn(4, 2, 6, 9, generator=seeded())
    singular = torch.linalg.svdvals(images.double())
    for rank in range(1, 7):
        a, b = balanced_factors(images, rank)
        error = torch.linalg.matrix_norm(images - a @ b)
        torch.testing.assert_close(error, singular[..., rank:].square().sum(-1).sqrt(), atol=1e-6, rtol=1e-6)
        kept = torch.diag_embed(singular[..., :rank])
        torch.testing.assert_close(a.mT @ a, kept)
        torch.testing.assert_close(b @ b.mT, kept)


def test_real_start_takes_distinct_images_of_the_own_class_whatever_is_decomposed_at_a_time(digits, monkeypatch):
    whole = LowRank(10, 1, 1, (8, 8), 8, num_per_class=5).init_from(digits, "real", seeded())
    for c in range(10):
        own = digits.normalise(digits.images[digits.indices_of(c)]).flatten(1)
        started = whole.images(whole.class_slice(c)).flatten(1)
        nearest = (started[:, None] - own).abs().amax(2).min(1)
        assert nearest.values.max() < 1e-5 and len(nearest.indices.unique()) == 5
    monkeypatch.setattr("condense.synthetic.low_rank.SVD_FLOATS", 64 * 7)        # 7 does not divide 50
    parts = LowRank(10, 1, 1, (8, 8), 8, num_per_class=5).init_from(digits, "real", seeded())
    torch.testing.assert_close(parts.images(), whole.images())


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match="unknown start 'noise_scale'; did you mean noise_scaled"):
        random_set().init_from(None, "noise_scale", seeded())


def test_more_images_than_a_class_has_are_refused_for_a_real_start_only():
    with pytest.raises(ValueError, match="needs 3 images of every class, but class 'bee' has 2.*--init noise"):
        build_synthetic("low_rank", tiny_real(), 3, "real", seeded(), rank=2)
    assert len(build_synthetic("low_rank", tiny_real(), 3, "noise", seeded(), rank=2).images()) == 9
