"""Training on a set, alone and stacked, against a loop that spells out epochs, momentum and weight decay."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from condense.data import load_data
from condense.device import Compute, can_compile
from condense.evaluation import Protocol, TensorSet
from condense.evaluation.train import TrainingDraws, accuracy, train_network, train_stacked
from condense.networks import MLP, ConvNet, get_network, reset

PLAIN = Protocol(epochs=7, lr=0.05, batch_size=8, augmentation="none")
FULL = "color_crop_cutout_flip_scale_rotate"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


@pytest.fixture(scope="module")
def data(digits):
    """23 digits in float64: with minibatches of 8, the last one is partial."""
    batch = digits.sample(digits.classes, 3, seeded())
    chosen = torch.randperm(30, generator=seeded(1))[:23]
    return TensorSet(batch.images()[chosen].double(), batch.labels[chosen])


def build(kind, seed=0):
    if kind == "MLP":
        net = MLP(1, 10, im_size=(8, 8))
    else:
        net = ConvNet(1, 10, 8, 2, "relu", kind, "avgpooling", im_size=(8, 8))
    return reset(net, seeded(seed)).double()


def orders(rng, data, protocol):
    """The order of the images in each epoch, as the generator gives it."""
    draws = TrainingDraws(rng, len(data.labels), protocol.batch_size, 0, "cpu")
    return [draws.epoch()[0] for _ in range(protocol.epochs + 1)]


def train_plainly(net, data, protocol, rng):
    """The published recipe with everything written out; returns (accuracy, mean loss) of the last epoch."""
    net.train()
    lr, velocity, parameters = protocol.lr, None, list(net.parameters())
    soft = data.labels if data.labels.is_floating_point() else nn.functional.one_hot(data.labels, 10).double()
    for epoch, order in enumerate(orders(rng, data, protocol)):
        right = total = 0
        for start in range(0, len(order), protocol.batch_size):
            index = order[start:start + protocol.batch_size]
            logits = net(data.tensor[index])
            losses = -(soft[index] * logits.log_softmax(1)).sum(1)
            gradients = torch.autograd.grad(losses.mean(), parameters)
            with torch.no_grad():
                steps = [g + protocol.weight_decay * p for g, p in zip(gradients, parameters)]
                if velocity is None:
                    velocity = steps
                else:
                    velocity = [protocol.momentum * v + step for v, step in zip(velocity, steps)]
                for parameter, v in zip(parameters, velocity):
                    parameter -= lr * v
            total += losses.sum().item()
            right += (logits.argmax(1) == soft[index].argmax(1)).sum().item()
        if epoch == protocol.epochs // 2 + 1:
            lr, velocity = lr * 0.1, None
    return right / len(soft), total / len(soft)


def assert_same_state(one, two, tolerance=1e-10):
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        def named(text, name=name):
            return f"{name}: {text}"

        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=named)


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 7, 10, 20])
def test_training_equals_the_plain_loop_for_every_length(data, epochs):
    protocol = replace(PLAIN, epochs=epochs)
    ours, plain = build("MLP"), build("MLP")
    figures = train_network(ours, data, protocol, seeded(5))
    expected = train_plainly(plain, data, protocol, seeded(5))
    assert_same_state(ours, plain)
    assert [figure.item() for figure in figures] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["instancenorm", "batchnorm"])
def test_convnets_train_as_in_the_plain_loop(data, kind):
    ours, plain = build(kind), build(kind)
    train_network(ours, data, PLAIN, seeded(5))
    train_plainly(plain, data, PLAIN, seeded(5))
    assert_same_state(ours, plain)


@pytest.mark.parametrize("epochs, first, second", [(300, 152, 149), (1000, 502, 499)])
def test_epochs_split_as_published(epochs, first, second):
    protocol = Protocol(epochs=epochs)
    assert (protocol.drop_epoch, epochs + 1 - protocol.drop_epoch) == (first, second)


@dataclass
class Spy:
    """A forward function that notes how many images it sees at a time."""

    net: nn.Module
    seen: list

    def __call__(self, images):
        self.seen.append(len(images))
        return self.net(images)


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
    original = train_network.__globals__["one_operator_each"]
    monkeypatch.setitem(train_network.__globals__, "one_operator_each",
                        lambda *drawn: calls.append(drawn) or original(*drawn))
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
    labels = torch.rand(23, 10, generator=seeded(4), dtype=torch.float64).softmax(1)
    soft, ours, plain = TensorSet(data.tensor, labels), build("MLP"), build("MLP")
    train_network(ours, soft, PLAIN, seeded(3))
    train_plainly(plain, soft, PLAIN, seeded(3))
    assert_same_state(ours, plain)


# Stacked

def train_both_ways(kind, datasets, protocol):
    alone = [build(kind, seed) for seed in range(len(datasets))]
    stacked = copy.deepcopy(alone)
    seeds = range(10, 10 + len(datasets))
    figures = [train_network(net, d, protocol, seeded(s)) for net, d, s in zip(alone, datasets, seeds)]
    together = train_stacked(stacked, datasets, protocol, [seeded(s) for s in seeds])
    torch.testing.assert_close(torch.stack(together, 1), torch.stack([torch.stack(f) for f in figures]))
    return alone, stacked


@pytest.mark.parametrize("augmentation, strategy",
                         [("none", "none"), ("siamese", FULL), ("classic", "crop_scale")])
@pytest.mark.parametrize("kind", ["instancenorm", "batchnorm", "MLP"])
def test_stacked_networks_train_like_each_alone(data, kind, augmentation, strategy):
    protocol = replace(PLAIN, augmentation=augmentation, strategy=strategy)
    for one, two in zip(*train_both_ways(kind, [data] * 3, protocol)):
        assert_same_state(two, one, 1e-9)


@pytest.mark.parametrize("kind", ["layernorm", "none", "groupnorm"])
def test_other_norms_train_stacked_too(data, kind):
    for one, two in zip(*train_both_ways(kind, [data] * 2, replace(PLAIN, epochs=1))):
        assert_same_state(two, one, 1e-9)


def test_stacking_goes_on_past_a_block_of_drawn_epochs(data):
    protocol = replace(PLAIN, epochs=20, augmentation="siamese", strategy=FULL)
    for one, two in zip(*train_both_ways("MLP", [data] * 2, protocol)):
        assert_same_state(two, one, 1e-9)


def test_stacked_networks_have_each_its_own_set(digits):
    batches = [digits.sample(digits.classes, 2, seeded(i)) for i in range(3)]
    sets = [TensorSet(batch.images().double(), batch.labels) for batch in batches]
    for one, two in zip(*train_both_ways("instancenorm", sets, PLAIN)):
        assert_same_state(two, one, 1e-9)


def test_stacked_networks_take_soft_labels(data):
    labels = torch.rand(23, 10, generator=seeded(4), dtype=torch.float64).softmax(1)
    for one, two in zip(*train_both_ways("MLP", [TensorSet(data.tensor, labels)] * 2, PLAIN)):
        assert_same_state(two, one, 1e-9)


def test_stacked_training_puts_networks_in_train_mode(data):
    alone, stacked = build("batchnorm"), build("batchnorm").eval()
    train_network(alone, data, PLAIN, seeded(1))
    train_stacked([stacked], [data], PLAIN, [seeded(1)])
    assert_same_state(stacked, alone, 1e-9)


def test_channels_last_networks_train_stacked_in_float32(data):
    compute = Compute()
    single = TensorSet(data.tensor.float(), data.labels)
    alone = [compute.prepare(build("instancenorm", seed).float()) for seed in range(2)]
    stacked = copy.deepcopy(alone)
    for number, net in enumerate(alone):
        train_network(net, single, PLAIN, seeded(number), compute.wrap(net), chunk=4)
    train_stacked(stacked, [single] * 2, PLAIN, [seeded(0), seeded(1)], compute.wrap_stacked)
    for one, two in zip(alone, stacked):
        assert_same_state(two, one, 1e-4)


# Testing

def test_accuracy_equals_counting_one_image_at_a_time(digits):
    net = get_network("ConvNetBN", *digits.spec, rng=seeded())
    train_network(net, digits.sample(digits.classes, 4, seeded()), replace(PLAIN, epochs=3), seeded())
    net.eval()
    with torch.no_grad():
        right = 0
        for pixels, label in zip(digits.test_images, digits.test_labels):
            right += int(net(digits.normalise(pixels)[None]).argmax() == label)
    for batch_size in (7, 256, 10**6):
        net.train()
        running = net.state_dict()["features.1.running_mean"].clone()
        share = accuracy(net, digits, batch_size=batch_size).item()
        assert share == pytest.approx(right / len(digits.test_labels))
        assert net.training and torch.equal(net.state_dict()["features.1.running_mean"], running)
    assert 0.2 < right / len(digits.test_labels) < 1


def test_training_leaves_a_learnable_set_untouched(digits):
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
