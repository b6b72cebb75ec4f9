"""Networks trained on a set whose images are views of fewer things: an epoch sees every thing once."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from condense.augmentation.siamese import DRAWS
from condense.training import Protocol, TensorSet
from condense.training.minibatches import TrainingDraws
from condense.training.train import train_network, train_stacked
from tests.training.training_by_hand import assert_same_state, build, seeded, some_digits

PLAIN = Protocol(epochs=7, lr=0.05, batch_size=4, augmentation="none", schedule="constant")
VIEWS = 3


def some_views(seed=0):
    """Return 7 digits, each three times with noise of its own, in float64."""
    digits = some_digits()
    images = digits.tensor[:7].repeat_interleave(VIEWS, 0)
    images = images + 0.3 * torch.randn(images.shape, generator=seeded(seed), dtype=torch.float64)
    return TensorSet(images, digits.labels[:7].repeat_interleave(VIEWS), views=VIEWS)


def test_an_epoch_has_one_view_of_each_thing_drawn_anew_for_every_thing_and_epoch():
    draws = TrainingDraws(seeded(), 300, 64, 2, "cpu", views=VIEWS)
    seen = []
    for _ in range(40):
        order, operators, uniforms = draws.epoch()
        assert sorted((order // VIEWS).tolist()) == list(range(100))
        assert len(operators) == 2 and uniforms.shape == (100, DRAWS)
        seen.append((order % VIEWS)[(order // VIEWS).argsort()])
    shares = torch.stack([(torch.stack(seen) == view).double().mean() for view in range(VIEWS)])
    assert (shares - 1 / VIEWS).abs().max() < 0.03
    assert len(torch.stack(seen).unique(dim=0)) == 40                      # of every epoch another choice
    assert all(len(views.unique()) == VIEWS for views in seen)             # and within one, too


def test_orders_and_magnitudes_of_a_set_without_views_stay_as_they_are():
    with_views, without = (TrainingDraws(seeded(4), number, 64, 3, "cpu", views=views)
                           for number, views in ((90, VIEWS), (30, 1)))
    for _ in range(3):
        (order, operators, uniforms), others = with_views.epoch(), without.epoch()
        assert torch.equal(order // VIEWS, others[0]) and operators == others[1] and torch.equal(uniforms, others[2])


def test_network_is_trained_as_by_hand_on_the_views_drawn():
    data, net = some_views(), build("MLP")
    ours = copy.deepcopy(net)
    accuracy, loss = train_network(ours, data, PLAIN, seeded(1))
    draws = TrainingDraws(seeded(1), 21, 4, 0, "cpu", views=VIEWS)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(7):
        right = total = 0
        order = draws.epoch()[0]
        for rows in (order[:4], order[4:]):
            logits = net(data.tensor[rows])
            losses = nn.functional.cross_entropy(logits, data.labels[rows], reduction="none")
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            total, right = total + losses.sum().item(), right + (logits.argmax(1) == data.labels[rows]).sum().item()
    assert_same_state(ours, net)
    assert (accuracy.item(), loss.item()) == (pytest.approx(right / 7), pytest.approx(total / 7))


@pytest.mark.parametrize("augmentation", ["none", "siamese"])
def test_networks_trained_together_see_the_views_that_they_see_alone(augmentation):
    protocol = replace(PLAIN, augmentation=augmentation, strategy="color_crop" if augmentation == "siamese" else "none")
    alone = [build("MLP", seed) for seed in range(3)]
    together = copy.deepcopy(alone)
    sets = [some_views(seed) for seed in range(3)]
    figures = [train_network(net, data, protocol, seeded(9 + i)) for i, (net, data) in enumerate(zip(alone, sets))]
    of_all = train_stacked(together, sets, protocol, [seeded(9 + i) for i in range(3)])
    torch.testing.assert_close(torch.stack(of_all, 1), torch.stack([torch.stack(of_one) for of_one in figures]))
    for one, other in zip(alone, together):
        assert_same_state(one, other)
