"""Low rank: the budget rule, decoding, and gradients of the factors."""

import math
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.augmentation import draw_siamese
from condense.data import RealData
from condense.matching.class_gradients import class_gradients, matching_over_classes
from condense.matching.features import class_means
from condense.matching.gradients import class_distances
from condense.networks import get_network
from condense.operators import Compute
from condense.synthetic import Pixels
from condense.synthetic.low_rank import LowRank, images_within
from tests.synthetic.low_rank_sets import random_set, seeded

SIDES = st.integers(1, 12)
SHAPES = dict(channel=st.integers(1, 3), height=SIDES, width=SIDES, ipc=st.integers(1, 6), rank=st.integers(1, 14))


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
    losses = [(class_means(embed, own, augment, chunk, recompute) - target).square().sum() for own in sets]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert_chain_rule(*sets)


def test_gradient_matching_gives_the_hosts_loss_and_reaches_both_factors(digits):
    net = get_network("ConvNetD2", *digits.spec, rng=seeded())
    gradients = class_gradients(net, Compute(), chunk=16)
    batch = digits.sample(digits.classes, 10, seeded())
    sets = twins(digits, 2)
    losses = [matching_over_classes(lambda *sides: class_distances(*sides).sum(), gradients, batch, own)
              for own in sets]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    assert_chain_rule(*sets)
