"""Low rank: the budget rule, the starts, gradients of the factors, the file's form, and what is refused."""

import io
import math
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.augmentation import draw_siamese
from condense.data import RealData, load_data
from condense.device import Compute
from condense.matching.class_gradients import class_gradients, matching_over_classes
from condense.matching.features import class_means
from condense.matching.gradients import class_distances
from condense.networks import get_network
from condense.synthetic import Pixels, build_synthetic
from condense.synthetic.low_rank import LowRank, balanced_factors, images_within

SIDES = st.integers(1, 12)
SHAPES = dict(channel=st.integers(1, 3), height=SIDES, width=SIDES, ipc=st.integers(1, 6), rank=st.integers(1, 14))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


def tiny_real(counts=(5, 2, 4), im_size=(4, 6)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), 3, *im_size), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, ["ape", "bee", "cat"][:len(counts)])


def random_set(num_classes=3, channel=2, im_size=(5, 7), rank=2, num_per_class=4, seed=0):
    """A set with standard normal factors that belongs to no real data."""
    synthetic = LowRank(num_classes, 1, channel, im_size, rank, num_per_class)
    return synthetic.init_from(None, "noise", seeded(seed))


# the budget

@given(**SHAPES)
@settings(max_examples=200, deadline=None)
def test_budget_is_filled_with_whole_images_and_never_exceeded(channel, height, width, ipc, rank):
    quotient = Fraction(ipc * height * width, rank * (height + width))
    if quotient < 1:
        with pytest.raises(ValueError, match="holds no"):
            LowRank(3, ipc, channel, (height, width), rank)
        return
    synthetic = LowRank(3, ipc, channel, (height, width), rank)
    assert synthetic.counts == [math.floor(quotient)] * 3
    storage = synthetic.storage()
    assert storage["floats"] == synthetic.a.numel() + synthetic.b.numel()
    assert storage["budget_floats"] == 3 * ipc * channel * height * width
    one_more_per_class = 3 * channel * rank * (height + width)
    assert storage["floats"] <= storage["budget_floats"] < storage["floats"] + one_more_per_class


@given(**SHAPES)
@settings(max_examples=200, deadline=None)
def test_refused_budget_names_the_largest_rank_and_the_smallest_ipc_that_fit(channel, height, width, ipc, rank):
    if images_within(ipc, (height, width), rank):
        return
    with pytest.raises(ValueError) as refused:
        LowRank(1, ipc, channel, (height, width), rank)
    smallest = int(re.search(r"--ipc (\d+) or more$", str(refused.value))[1])
    assert images_within(smallest, (height, width), rank) >= 1 > images_within(smallest - 1, (height, width), rank)
    largest = re.search(r"use --rank (\d+) or less", str(refused.value))
    if largest is None:
        assert images_within(ipc, (height, width), 1) == 0
    else:
        largest = int(largest[1])
        assert images_within(ipc, (height, width), largest) >= 1 > images_within(ipc, (height, width), largest + 1)


@pytest.mark.parametrize("ipc, im_size, rank, number", [
    (1, (32, 32), 2, 8), (10, (32, 32), 2, 80), (50, (32, 32), 4, 200), (1, (28, 28), 2, 7), (1, (64, 64), 4, 8),
    (10, (28, 28), 8, 17), (50, (28, 28), 8, 87), (1, (28, 28), 8, 1), (2, (28, 28), 16, 1),
    (2**60 + 1, (2, 2), 1, 2**60 + 1),                     # a float would lose the 1
])
def test_images_per_class_follow_the_recommended_rule(ipc, im_size, rank, number):
    assert images_within(ipc, im_size, rank) == number


def test_number_given_directly_is_obeyed_and_storage_tells_the_truth():
    synthetic = LowRank(2, 1, 3, (4, 6), rank=4, num_per_class=5)
    assert synthetic.images().shape == (10, 3, 4, 6) and synthetic.labels.tolist() == [0] * 5 + [1] * 5
    storage = synthetic.storage()
    assert (storage["floats"], storage["budget_floats"]) == (2 * 5 * 3 * 4 * (4 + 6), 2 * 3 * 4 * 6)
    assert storage["bytes"] == 4 * storage["floats"]


@pytest.mark.parametrize("rank", [0, -1])
def test_rank_below_one_is_refused(rank):
    with pytest.raises(ValueError, match=f"--rank must be 1 or larger, not {rank}"):
        LowRank(10, 1, 3, (32, 32), rank)


# decoding

@given(**SHAPES, init=st.sampled_from(LowRank.INITS))
@settings(max_examples=60, deadline=None)
def test_matrix_rank_of_every_decoded_channel_is_at_most_rank(channel, height, width, ipc, rank, init):
    labels = torch.arange(2).repeat_interleave(ipc)
    images = torch.randint(256, (2 * ipc, channel, height, width), generator=seeded(), dtype=torch.uint8)
    real = RealData("random", images, labels, images, labels, ["ape", "bee"], [0.5] * channel, [0.25] * channel)
    synthetic = LowRank(2, 1, channel, (height, width), rank, num_per_class=ipc).init_from(real, init, seeded())
    decoded = synthetic.double().images()                  # in double precision: rounding adds no rank
    assert decoded.shape == (2 * ipc, channel, height, width)
    assert torch.linalg.matrix_rank(decoded).max() <= rank


def test_rank_stays_bounded_under_training():
    synthetic = random_set(rank=2).double()
    optimizer = torch.optim.SGD(synthetic.param_groups(0.01, momentum=0.5))
    for _ in range(20):
        optimizer.zero_grad()
        (synthetic.images() - 1).square().sum().backward()
        optimizer.step()
    assert torch.linalg.matrix_rank(synthetic.images()).max() <= 2


@pytest.mark.parametrize("index", [slice(2, 9), slice(8, 100), slice(3, 3), torch.tensor([7, 0, 7]), [4, 1],
                                   torch.arange(12) % 3 == 0], ids=str)
def test_picked_images_are_those_of_the_whole(index):
    synthetic = random_set()
    torch.testing.assert_close(synthetic.images(index), synthetic.images()[index])


def test_picked_images_carry_the_gradient_to_their_own_factors_only():
    synthetic = random_set()
    synthetic.images(torch.tensor([3, 7])).square().sum().backward()
    for factor in (synthetic.a, synthetic.b):
        touched = factor.grad.flatten(1).abs().sum(1).nonzero().flatten()
        assert touched.tolist() == [3, 7]


def test_loss_summed_over_classes_is_the_same_decoded_per_class_or_at_once():
    def loss(images):
        return images.pow(3).mean((0, 2, 3)).square().sum()

    synthetic = random_set().double()
    whole = sum(map(loss, synthetic.images().split(synthetic.counts)))
    parts = sum(loss(synthetic.images(synthetic.class_slice(c))) for c in range(3))
    torch.testing.assert_close(whole, parts)
    for one, other in zip(torch.autograd.grad(whole, synthetic.parameters()),
                          torch.autograd.grad(parts, synthetic.parameters())):
        torch.testing.assert_close(one, other)


# gradients of the factors

def test_gradients_of_the_factors_are_the_analytic_ones():
    synthetic = random_set(rank=3).double()
    images = synthetic.images()
    images.retain_grad()
    (images.sin() * images).sum().backward()
    a, b, of_image = synthetic.a.detach(), synthetic.b.detach(), images.grad
    torch.testing.assert_close(synthetic.a.grad, of_image @ b.mT)                # dL/dA = G B^T
    torch.testing.assert_close(synthetic.b.grad, a.mT @ of_image)                # dL/dB = A^T G


def test_one_step_moves_the_images_by_the_formula():
    synthetic, eta = random_set(rank=3).double(), 0.03
    before = synthetic.images().detach()
    a, b = synthetic.a.detach().clone(), synthetic.b.detach().clone()
    optimizer = torch.optim.SGD(synthetic.param_groups(eta, momentum=0.5))
    synthetic.images().pow(3).sum().backward()
    optimizer.step()
    g = 3 * before.square()
    moved = -eta * (g @ b.mT @ b + a @ a.mT @ g) + eta**2 * g @ b.mT @ a.mT @ g
    torch.testing.assert_close(synthetic.images() - before, moved)


def test_optimizer_groups_are_the_two_factors():
    synthetic = random_set()
    groups = synthetic.param_groups(0.3, momentum=0.5)
    assert [(group["name"], group["lr"], group["momentum"]) for group in groups] == [("a", 0.3, 0.5), ("b", 0.3, 0.5)]
    assert groups[0]["params"][0] is synthetic.a and groups[1]["params"][0] is synthetic.b


def twins(real, number):
    """The same real images as factors of full rank and as pixels."""
    channel, num_classes, im_size = real.spec
    low_rank = LowRank(num_classes, 1, channel, im_size, min(im_size), number).init_from(real, "real", seeded(1))
    return low_rank, Pixels(num_classes, number, channel, im_size).init_from(real, "real", seeded(1))


def assert_chain_rule(low_rank, pixels):
    """The gradients that reach the factors are those of the same images, handed on by the chain rule."""
    a, b, of_image = low_rank.a.detach(), low_rank.b.detach(), pixels.pixels.grad
    for factor, expected in ((low_rank.a, of_image @ b.mT), (low_rank.b, a.mT @ of_image)):
        assert factor.grad.abs().max() > 0
        torch.testing.assert_close(factor.grad, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("chunk, recompute", [(None, False), (7, False), (7, True)])
def test_distribution_matching_gives_the_hosts_loss_and_reaches_both_factors(digits, chunk, recompute):
    embed = get_network("ConvNetD2", *digits.spec, rng=seeded()).requires_grad_(False).embed
    augment = draw_siamese("scale_rotate", 10, seeded())
    target = class_means(embed, digits.sample(digits.classes, 20, seeded()), augment)
    sets = twins(digits, 3)
    losses = [(class_means(embed, of, augment, chunk, recompute) - target).square().sum() for of in sets]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert_chain_rule(*sets)


def test_gradient_matching_gives_the_hosts_loss_and_reaches_both_factors(digits):
    net = get_network("ConvNetD2", *digits.spec, rng=seeded())
    gradients = class_gradients(net, Compute(), chunk=16)
    batch = digits.sample(digits.classes, 10, seeded())
    sets = twins(digits, 2)
    losses = [matching_over_classes(lambda *sides: class_distances(*sides).sum(), gradients, batch, of) for of in sets]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert_chain_rule(*sets)


# starts

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


# the file's form

def reloaded(factors):
    file = io.BytesIO()
    torch.save(factors, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("how", LowRank.INITS)
def test_factors_through_a_file_give_the_same_images_bit_for_bit(digits, how):
    before = LowRank(10, 3, 1, (8, 8), 3).init_from(digits, how, seeded())
    after = LowRank.from_factors(reloaded(before.factors()))
    assert torch.equal(after.images(), before.images()) and torch.equal(after.labels, before.labels)
    assert (after.counts, after.rank, after.storage()) == (before.counts, before.rank, before.storage())


def test_factors_are_detached_copies_of_plain_types():
    synthetic = random_set()
    factors = synthetic.factors()
    assert {name: value for name, value in factors.items() if not torch.is_tensor(value)} == \
        {"parameterization": "low_rank", "ipc": 1, "num_per_class": 4, "im_size": [5, 7]}
    assert factors["a"].shape == (12, 2, 5, 2) and factors["b"].shape == (12, 2, 2, 7)
    assert factors["labels"].tolist() == [0, 1, 2]         # one for each class
    kept = factors["a"].clone()
    with torch.no_grad():
        synthetic.a.add_(1)
    assert torch.equal(factors["a"], kept) and not factors["a"].requires_grad and factors["a"].dtype == torch.float32


def test_labels_that_do_not_count_from_zero_come_back():
    factors = random_set().factors() | {"labels": torch.tensor([7, 2, 5])}
    assert LowRank.from_factors(factors).labels.tolist() == [7] * 4 + [2] * 4 + [5] * 4


def test_pixels_have_no_factors_beside_their_images():
    assert Pixels(2, 1, 1, (4, 4)).factors() is None


@pytest.mark.parametrize("name", ["a", "b", "labels", "ipc", "num_per_class", "im_size"])
def test_missing_part_is_named(name):
    factors = random_set().factors()
    del factors[name]
    with pytest.raises(ValueError, match=rf"^a low-rank set without {name}; save the set again$"):
        LowRank.from_factors(factors)


@pytest.mark.parametrize("name, value, said", [
    ("a", torch.zeros(12, 2, 5, 2, dtype=torch.float64), "a of a low-rank set is torch.float64, not a tensor of "),
    ("b", [[0.0]], "b of a low-rank set is list, not a tensor of torch.float32"),
    ("labels", torch.zeros(3), "labels of a low-rank set is torch.float32, not a tensor of torch.int64"),
    ("ipc", 0, "ipc of a low-rank set is 0, not a whole number"),
    ("num_per_class", 4.0, "num_per_class of a low-rank set is 4.0, not a whole number"),
    ("num_per_class", 3, "do not fit together"),
    ("im_size", [7, 5], "do not fit together"),
    ("im_size", None, "do not fit together"),
    ("a", torch.zeros(11, 2, 5, 2), r"a \[11, 2, 5, 2\], b \[12, 2, 2, 7\].*do not fit together"),
    ("a", torch.zeros(12, 1, 5, 2), "do not fit together"),
    ("a", torch.zeros(12, 2, 4, 2), "do not fit together"),
    ("a", torch.zeros(12, 2, 5, 3), "do not fit together"),
    ("a", torch.zeros(12, 2, 10), "do not fit together"),
    ("b", torch.zeros(12, 2, 2, 6), "do not fit together"),
    ("labels", torch.tensor([0, 1]), "do not fit together"),
    ("labels", torch.tensor(0), "do not fit together"),
])
def test_part_that_does_not_fit_is_named_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        LowRank.from_factors(random_set().factors() | {name: value})
    assert "\n" not in str(refused.value) and str(refused.value).endswith("; save the set again")


def test_factors_of_rank_zero_are_refused():
    factors = random_set().factors() | {"a": torch.zeros(12, 2, 5, 0), "b": torch.zeros(12, 2, 0, 7)}
    with pytest.raises(ValueError, match="do not fit together"):
        LowRank.from_factors(factors)


def test_state_dict_restores_the_set():
    one, two = (random_set(seed=seed) for seed in (0, 1))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.images(), two.images())
