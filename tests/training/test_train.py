"""Training on a set against a loop that spells out epochs, momentum and weight decay."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from condense.data import load_data
from condense.networks import get_network
from condense.operators import Compute, can_compile
from condense.training import Protocol, TensorSet, minibatches
from condense.training.train import TrainingDraws, train_network, train_stacked
from tests.training.training_by_hand import (
    FULL,
    PLAIN,
    Spy,
    assert_same_state,
    build,
    orders,
    seeded,
    soft_labels,
    some_digits,
    train_plainly,
)


@pytest.fixture(scope="module")
def data():
    return some_digits()


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 7, 10, 20])
def test_training_equals_the_plain_loop_for_every_length(data, epochs):
    protocol = replace(PLAIN, epochs=epochs)
    ours, plain = build("MLP"), build("MLP")
    figures = train_network(ours, data, protocol, seeded(5))
    expected = train_plainly(plain, data, protocol, seeded(5))
    assert_same_state(ours, plain)
    assert [figure.item() for figure in figures] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("epochs", [1, 2, 5, 6, 9])
def test_the_schedule_of_idc_equals_the_plain_loop_and_keeps_momentum(data, epochs):
    protocol = replace(PLAIN, epochs=epochs, schedule="idc")
    ours, plain = build("MLP"), build("MLP")
    train_network(ours, data, protocol, seeded(5))
    if epochs == 1:                                        # floor(2/3) = floor(5/6) = 0: slow from the start
        protocol = replace(protocol, lr=0.04 * protocol.lr)
    train_plainly(plain, data, protocol, seeded(5))
    assert_same_state(ours, plain)


@pytest.mark.parametrize("kind", ["instancenorm", "batchnorm"])
def test_convnets_train_as_in_the_plain_loop(data, kind):
    ours, plain = build(kind), build(kind)
    train_network(ours, data, PLAIN, seeded(5))
    train_plainly(plain, data, PLAIN, seeded(5))
    assert_same_state(ours, plain)


def test_every_epoch_sees_every_image_and_keeps_the_partial_minibatch(data):
    net, ticks = build("MLP"), []
    spy = Spy(net, [])
    train_network(net, data, PLAIN, seeded(), spy, tick=lambda: ticks.append(1))
    assert spy.seen == [8, 8, 7] * (PLAIN.epochs + 1) and len(ticks) == PLAIN.epochs + 1
    for order in orders(seeded(), data, replace(PLAIN, epochs=40)):
        assert sorted(order.tolist()) == list(range(23))


def test_epochs_have_different_orders():
    draws = TrainingDraws(seeded(), 23, 8, 6, "cpu")
    epochs = [draws.epoch() for _ in range(40)]
    assert len({tuple(order.tolist()) for order, _, _ in epochs}) == 40
    assert len({tuple(operators) for _, operators, _ in epochs}) > 20
    assert all(len(operators) == 3 and set(operators) <= set(range(6)) for _, operators, _ in epochs)
    assert len({uniforms.sum().item() for _, _, uniforms in epochs}) == 40


@pytest.mark.parametrize("chunk", [1, 3, 5, 8, 100])
@pytest.mark.parametrize("strategy", ["none", FULL])
def test_gradients_accumulated_in_chunks_equal_the_whole_minibatch(data, chunk, strategy):
    protocol = replace(PLAIN, augmentation="siamese", strategy=strategy, epochs=4)
    whole, parts = build("instancenorm"), build("instancenorm")
    spy = Spy(parts, [])
    expected = train_network(whole, data, protocol, seeded(2))
    figures = train_network(parts, data, protocol, seeded(2), spy, chunk)
    assert_same_state(parts, whole)
    assert max(spy.seen) == min(chunk, 8)
    torch.testing.assert_close(figures, expected)


def test_networks_with_batch_norm_see_their_minibatches_whole(data):
    net = build("batchnorm")
    spy = Spy(net, [])
    train_network(net, data, replace(PLAIN, epochs=0), seeded(), spy, chunk=3)
    assert spy.seen == [8, 8, 7]


def test_no_epochs_leave_the_network_as_it_is_and_tell_nothing(data):
    none = replace(PLAIN, epochs=0, schedule="constant")
    for train in (lambda net: train_network(net, data, none, seeded()),
                  lambda net: train_stacked([net], [data], none, [seeded()])):
        net, before = build("MLP"), build("MLP")
        assert all(bool(figure.isnan().all()) for figure in train(net))
        assert_same_state(net, before, 0)


def test_constant_schedule_trains_its_epochs_at_one_learning_rate(data):
    protocol = replace(PLAIN, epochs=4, schedule="constant", momentum=0, weight_decay=0, batch_size=len(data.labels))
    net, expected = build("MLP"), build("MLP")
    train_network(net, data, protocol, seeded())
    optimizer = torch.optim.SGD(expected.parameters(), lr=protocol.lr)
    for _ in range(4):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(expected(data.images()), data.labels).backward()
        optimizer.step()
    assert_same_state(net, expected, 1e-6)


def test_training_obeys_the_generator_alone(data):
    protocol = replace(PLAIN, augmentation="siamese", strategy=FULL, epochs=2)
    one, two, other = build("MLP"), build("MLP"), build("MLP")
    before = torch.get_rng_state()
    for net, seed in ((one, 1), (two, 1), (other, 2)):
        train_network(net, data, protocol, seeded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_state(one, two, 0)
    assert not torch.equal(one.fc_1.weight, other.fc_1.weight)


def test_augmentation_gives_one_operator_to_a_minibatch_and_magnitudes_to_each_image(data, monkeypatch):
    calls = []
    original = minibatches.one_operator_each
    monkeypatch.setattr(minibatches, "one_operator_each", lambda *drawn: calls.append(drawn) or original(*drawn))
    protocol = replace(PLAIN, augmentation="siamese", strategy=FULL, epochs=30)
    train_network(build("MLP"), data, protocol, seeded())
    assert len(calls) == 31 * 3
    for _, choice, uniforms in calls:
        assert len(set(choice)) == 1 and len(choice) == len(uniforms) == len(uniforms.unique(dim=0))
    counts = [sum(choice[0] == number for _, choice, _ in calls) for number in range(6)]
    assert min(counts) > 3                                 # 15.5 expected of each


def test_soft_labels_that_are_one_hot_equal_hard_labels(data):
    soft = TensorSet(data.tensor, nn.functional.one_hot(data.labels, 10).double())
    hard_net, soft_net = build("MLP"), build("MLP")
    hard = train_network(hard_net, data, PLAIN, seeded(3))
    onehot = train_network(soft_net, soft, PLAIN, seeded(3))
    assert_same_state(soft_net, hard_net)
    torch.testing.assert_close(onehot, hard)


def test_mixed_soft_labels_train_as_in_the_plain_loop(data):
    soft, ours, plain = TensorSet(data.tensor, soft_labels()), build("MLP"), build("MLP")
    train_network(ours, soft, PLAIN, seeded(3))
    train_plainly(plain, soft, PLAIN, seeded(3))
    assert_same_state(ours, plain)


def test_training_leaves_a_learnable_set_untouched():
    digits = load_data("Digits")
    learnable = nn.Parameter(digits.sample(digits.classes, 1, seeded()).images())
    data, protocol = TensorSet(learnable, torch.arange(10)), replace(PLAIN, epochs=0)
    train_network(build("MLP").float(), data, protocol, seeded())
    train_stacked([build("MLP").float()], [data], protocol, [seeded()])
    assert learnable.grad is None


def test_compiled_training_ends_with_eager_weights_to_rounding():
    if not can_compile(torch.device("cpu")):
        pytest.skip("torch.compile finds no C++ compiler here")
    rng = torch.Generator().manual_seed(0)
    data = TensorSet(torch.randn(12, 1, 8, 8, generator=rng), torch.arange(12) % 3)
    weights = []
    try:
        for compute in (Compute(), Compute(compile=True)):
            net = compute.prepare(get_network("ConvNetW32", 1, 3, (8, 8), rng=torch.Generator().manual_seed(1)))
            train_network(net, data, Protocol(epochs=3, strategy="none"), torch.Generator().manual_seed(2),
                          compute.wrap(net), chunk=6)
            weights.append(torch.cat([parameter.detach().flatten() for parameter in net.parameters()]))
    finally:
        torch.compiler.reset()
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
