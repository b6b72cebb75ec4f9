"""The adversary of hallucinators: its network, its losses against loops, its own steps, and what it leaves alone."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from condense.synthetic.adversary import Adversary, depth_for, similarity, supervised_contrast
from tests.synthetic.hallucinator_sets import random_set, seeded


def as_layers(adversary, channel, num_classes, im_size):
    """Return (features, classifier) with the parameters of `adversary`, made of PyTorch's layers."""
    blocks = []
    for block in range(depth_for(im_size)):
        blocks += [nn.Conv2d(128 if block else channel, 128, 3, padding=1), nn.GroupNorm(128, 128), nn.ReLU(),
                   nn.AvgPool2d(2)]
    features = nn.Sequential(*blocks, nn.Flatten()).double()
    classifier = nn.Linear(features(torch.zeros(1, channel, *im_size).double()).shape[1], num_classes).double()
    both = nn.Sequential(features, classifier)
    nn.utils.vector_to_parameters(adversary.theta.clone(), both.parameters())
    return both


def drawn(channel=2, num_classes=3, im_size=(8, 9)):
    adversary = Adversary(channel, num_classes, im_size).double()
    adversary.draw(seeded())
    with torch.no_grad():
        adversary.theta.add_(0.05 * torch.randn(adversary.theta.shape, generator=seeded(1)))     # norms, too
    return adversary


def vectors(number, size=5, seed=2):
    return torch.randn(number, size, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("channel, num_classes, side, depth, floats", [
    (3, 10, 32, 3, 320_010), (3, 100, 32, 3, 504_420), (1, 10, 28, 3, None), (1, 10, 8, 1, None),
    (3, 10, 64, 4, None), (3, 10, 128, 5, None), (3, 10, 4, 1, None), (3, 10, 3, 1, None)])
def test_network_is_the_published_one_at_32_pixels_and_as_deep_as_others_need(
        channel, num_classes, side, depth, floats):
    adversary = Adversary(channel, num_classes, (side, side))
    assert depth_for((side, side)) == depth
    assert floats in (None, adversary.theta.numel())
    features = adversary.features(torch.zeros(2, channel, side, side))
    assert features.shape == (2, 128 * (side >> depth)**2) and (side >> depth) in (1, 2, 3, 4)


@pytest.mark.parametrize("im_size", [(8, 9), (16, 24), (32, 32)])
def test_features_and_classes_are_those_of_pytorchs_layers(im_size):
    adversary = drawn(im_size=im_size)
    features, classifier = as_layers(adversary, 2, 3, im_size)
    images, labels = torch.randn(4, 2, *im_size, generator=seeded(), dtype=torch.float64), torch.tensor([0, 2, 0, 2])
    torch.testing.assert_close(adversary.features(images), features(images))
    torch.testing.assert_close(adversary.loss(images, labels, 1, 0, 0),
                               F.cross_entropy(classifier(features(images)), labels))
    assert (adversary.features(images) >= 0).all()


def test_fresh_network_is_drawn_as_pytorch_draws_its_layers():
    adversary = Adversary(2, 3, (16, 16))
    adversary.draw(seeded())
    features, classifier = as_layers(adversary.double(), 2, 3, (16, 16))
    for layer, inputs in ((features[0], 18), (features[4], 1152), (classifier, 2048)):
        bound = 1 / math.sqrt(inputs)
        for tensor in (layer.weight, layer.bias):
            assert 0.9 * bound < tensor.abs().max() <= bound
    for norm in (features[1], features[5]):
        assert (norm.weight == 1).all() and (norm.bias == 0).all()
    assert (adversary.velocity == 0).all()


def test_supervised_contrast_is_the_double_sum_of_its_formula():
    z, labels = vectors(12), torch.tensor([0, 0, 1, 2, 1, 0] * 2)
    unit = [row / row.norm() for row in z]
    total = 0
    for a in range(12):
        positive = [p for p in range(12) if p != a and labels[p] == labels[a]]
        denominator = sum(torch.exp(unit[a] @ unit[q] / 0.07) for q in range(12) if q != a)
        total += sum(torch.log(torch.exp(unit[a] @ unit[p] / 0.07) / denominator) for p in positive) / -len(positive)
    torch.testing.assert_close(supervised_contrast(z, labels), total / 12)


def test_one_base_per_class_has_its_other_view_as_the_only_positive():
    z, labels = F.normalize(vectors(6)), torch.arange(3).repeat(2)
    scores = (z @ z.T / 0.07).fill_diagonal_(-torch.inf)
    other = (torch.arange(6) + 3) % 6
    torch.testing.assert_close(supervised_contrast(7 * z, labels), F.cross_entropy(scores, other))


def test_gradient_of_supervised_contrast_is_that_of_finite_differences():
    labels = torch.tensor([0, 1, 0, 1, 0])
    assert torch.autograd.gradcheck(lambda z: supervised_contrast(z, labels, 0.5), vectors(5).requires_grad_())


def test_similarity_is_the_mean_cosine_brought_to_0_to_1():
    one, other = torch.tensor([[1.0, 0], [3, 4], [1, 1]]), torch.tensor([[2.0, 0], [-3, -4], [1, -1]])
    assert similarity(one, other).item() == pytest.approx((1 + 0 + 0.5) / 3)
    assert similarity(one, 5 * one).item() == pytest.approx(1)


def test_steps_are_those_of_sgd_with_momentum_on_the_weighted_sum_of_the_three_losses():
    adversary = drawn()
    net = as_layers(adversary, 2, 3, (8, 9))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    labels = torch.tensor([0, 1, 1, 2] * 2)
    for step in range(3):
        images = torch.randn(8, 2, 8, 9, generator=seeded(step), dtype=torch.float64)
        adversary.step(images, labels, 0.7, 0.2, 0.3)
        features = net[0](images)
        cosines = F.cosine_similarity(features[:4], features[4:])
        loss = (0.7 * F.cross_entropy(net[1](features), labels) + 0.2 * (1 - cosines).div(2).mean()
                + 0.3 * supervised_contrast(features, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(adversary.theta, nn.utils.parameters_to_vector(net.parameters()).detach())


# in a set

class Noted:
    """An augmentation that notes which groups it is asked for; image g is multiplied by 1 + g."""

    def __init__(self, num_groups):
        self.num_groups, self.groups = num_groups, []

    def __call__(self, images, groups):
        self.groups.append(list(groups))
        return images * torch.as_tensor(1.0 + groups)[:, None, None, None]


def cosine_by_hand(synthetic, pair, weigh=lambda rows, view: 1.0):
    """Return L_cos of all bases under the two of `pair`; the image of row i as view v is multiplied by weigh(i, v)."""
    rows = [torch.arange(len(synthetic.bases)) * synthetic.views + j for j in pair]
    features = as_layers(synthetic.adversary, 2, 3, synthetic.bases.shape[2:])[0]
    seen = [features(synthetic.images()[index] * weigh(index, view)) for view, index in enumerate(rows)]
    cosines = [(a @ b) / (a.norm() * b.norm()) for a, b in zip(*seen)]
    return sum((cosine + 1) / 2 for cosine in cosines) / len(cosines)


def drawn_pair(synthetic, rng):
    torch.randperm(len(synthetic.bases), generator=rng)
    return torch.randperm(synthetic.views, generator=rng)[:2].tolist()


def test_own_term_of_the_loss_is_the_weighted_similarity_of_all_bases_under_two_hallucinators():
    synthetic, pairs = random_set(im_size=(8, 9), lambda_club_content=0.3), set()
    for seed in range(6):
        pair = drawn_pair(synthetic, seeded(seed))
        pairs.add(tuple(pair))
        torch.testing.assert_close(synthetic.extra_loss(None, seeded(seed)), 0.3 * cosine_by_hand(synthetic, pair))
    assert len(pairs) > 2 and all(one != other for one, other in pairs)


@pytest.mark.parametrize("num_groups", [1, 3, 24])         # one for all, one per class, one per image
def test_views_are_augmented_by_the_groups_of_their_images_or_those_of_a_class_and_the_next(num_groups):
    synthetic, noted = random_set(im_size=(8, 9), lambda_club_content=1.0), Noted(num_groups)
    group = {1: lambda rows, view: 0 * rows, 3: lambda rows, view: (rows // 8 + view) % 3,
             24: lambda rows, view: rows}[num_groups]
    first, second = pair = drawn_pair(synthetic, seeded())
    loss = synthetic.extra_loss(noted, seeded())
    rows = torch.arange(6) * 4
    assert noted.groups == [torch.cat([group(rows + first, 0), group(rows + second, 1)]).tolist()]
    expected = cosine_by_hand(synthetic, pair, lambda rows, view: (1.0 + group(rows, view))[:, None, None, None])
    torch.testing.assert_close(loss, expected)


def test_equal_hallucinators_look_alike_and_others_between_a_half_and_one():
    synthetic = random_set(im_size=(8, 9), lambda_club_content=1.0)
    assert 0.5 <= synthetic.extra_loss(None, seeded()).item() < 1
    with torch.no_grad():
        for parameter in synthetic.hallucinators.parameters():
            parameter.copy_(parameter[:1].clone().expand_as(parameter))
    assert synthetic.extra_loss(None, seeded()).item() == pytest.approx(1)


def test_own_term_moves_bases_and_the_two_hallucinators_alone():
    synthetic = random_set(im_size=(8, 9))
    pair = drawn_pair(synthetic, seeded())
    synthetic.extra_loss(None, seeded()).backward()
    assert (synthetic.bases.grad.flatten(1) != 0).any(1).all()
    for name, parameter in synthetic.hallucinators.named_parameters():
        moved = (parameter.grad.flatten(1) != 0).any(1)
        assert moved.nonzero().flatten().tolist() == sorted(pair), name


def test_large_sets_are_compared_a_chunk_at_a_time(monkeypatch):
    synthetic = random_set(im_size=(8, 9))
    monkeypatch.setattr("condense.synthetic.hallucinator.CHUNK_PIXELS", 2 * 8 * 9 + 1)
    noted, bases = Noted(24), set()
    for seed in range(12):
        synthetic.extra_loss(noted, seeded(seed))
        first, second = noted.groups[-1][:2], noted.groups[-1][2:]
        assert len(second) == 2 and [row // 4 for row in first] == [row // 4 for row in second]
        bases |= {row // 4 for row in first}
    assert bases == set(range(6))


def test_adversary_steps_on_constant_images_and_moves_nothing_of_the_set():
    synthetic = random_set(im_size=(8, 9), lambda_likeli_content=0.2, lambda_cls_content=0.7,
                           lambda_contrast_content=0.3)
    (synthetic.images().sum() + synthetic.extra_loss(None, seeded())).backward()
    before = [(parameter.detach().clone(), parameter.grad.clone()) for parameter in synthetic.parameters()]
    other = drawn(im_size=(8, 9))
    other.load_state_dict(synthetic.adversary.state_dict())
    synthetic.after_step(None, seeded(5), end=True)
    for parameter, (value, gradient) in zip(synthetic.parameters(), before, strict=True):
        assert torch.equal(parameter, value) and torch.equal(parameter.grad, gradient)
    first, second = drawn_pair(synthetic, seeded(5))
    rows = torch.cat([torch.arange(6) * 4 + first, torch.arange(6) * 4 + second])
    other.step(synthetic.images()[rows], synthetic.labels[rows], 0.7, 0.2, 0.3)
    torch.testing.assert_close(synthetic.adversary.theta, other.theta)
    assert not torch.equal(other.theta, random_set(im_size=(8, 9)).adversary.theta)


def test_adversary_is_neither_stored_nor_a_parameter_but_in_the_state():
    synthetic, alone = random_set(), random_set(lambda_club_content=0)
    assert [name for name, _ in synthetic.named_parameters()] == [name for name, _ in alone.named_parameters()]
    assert synthetic.storage() == alone.storage() and not any("adversary" in name for name in synthetic.factors())
    state = copy.deepcopy(synthetic.state_dict())
    assert {"adversary.theta", "adversary.velocity"} == set(state) - set(alone.state_dict())
    for seed in range(2):
        synthetic.after_step(None, seeded(seed))
    again = random_set(seed=9)
    again.load_state_dict(state)
    for seed in range(2):
        again.after_step(None, seeded(seed))
    assert all(torch.equal(a, b) for a, b in zip(synthetic.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("options", [dict(n_style=1), dict(lambda_club_content=0)], ids=str)
def test_without_a_second_hallucinator_or_a_weight_there_is_no_adversary(options):
    synthetic = random_set(**options)
    assert synthetic.adversary is None and synthetic.extra_loss(None, seeded()) == 0.0
    before = {name: tensor.clone() for name, tensor in synthetic.state_dict().items()}
    synthetic.after_step(None, seeded(), end=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in synthetic.state_dict().items())


@pytest.mark.parametrize("lr, kept", [(0.01, 0.01), (0.0005, 0.001), (-1.0, 0.001)])
def test_learned_step_size_stays_from_a_thousandth_on(lr, kept):
    synthetic = random_set()
    synthetic.learned_steps.learn_one(lr)
    synthetic.after_step(None, seeded())
    assert synthetic.learned_steps.size.item() == pytest.approx(kept) and synthetic.learned_steps.size.requires_grad
