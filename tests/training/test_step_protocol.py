"""Protocol dd: the steps of a set, from a fresh start or its own, and nothing else."""

from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from condense.core.randomness import Streams
from condense.evaluation import evaluate
from condense.evaluation.accuracy import accuracy
from condense.evaluation.score import _Tester, _together
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.training import TensorSet, named_protocols
from condense.training.protocols import Protocol, StepProtocol, protocol_of
from condense.training.steps import Steps, split_steps
from condense.training.train import train_network, train_stacked

SIZES = (0.3, 0.05, 0.2, 0.1, 0.4, 0.15)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data(digits):
    """Four real images per class in two batches, with step sizes for three epochs."""
    batch = digits.sample(digits.classes, 4, seeded())
    return TensorSet(batch.images(), batch.labels, Steps(split_steps(batch.labels, 2), SIZES))


def network(rng, model="MLP", **how):
    return reset(get_network(model, 1, 10, (8, 8)), rng, **how)


def by_hand(net, data, rows, sizes, epochs, momentum=0.0):
    """Plain descent, written out; returns (accuracy, mean loss) on the images as the last epoch met them."""
    parameters = list(net.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    met = {}
    for t in range(epochs * len(rows)):
        met = met if t % len(rows) else {"loss": 0, "right": 0}
        images, labels = data.images(rows[t % len(rows)]), data.labels[rows[t % len(rows)]]
        logits = net(images)
        loss = F.cross_entropy(logits, labels)
        met["loss"] += loss.item() * len(labels)
        met["right"] += (logits.argmax(1) == labels).sum().item()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(parameters, velocities, gradients):
                velocity.mul_(momentum).add_(gradient)
                parameter -= sizes[t] * velocity
    return met["right"] / len(data.labels), met["loss"] / len(data.labels)


def assert_same(one, other, tolerance=1e-5):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("chunk", [None, 3])
def test_a_network_is_trained_by_the_steps_of_the_set_as_written_out(data, momentum, chunk):
    net, plain = network(seeded(1)), network(seeded(1))
    figures = train_network(net, data, StepProtocol(momentum=momentum), seeded(2), chunk=chunk)
    expected = by_hand(plain, data, data.steps.rows, SIZES, 3, momentum)
    assert_same(net, plain)
    assert [figure.item() for figure in figures] == pytest.approx(expected, rel=1e-4)


def test_images_that_bring_no_steps_are_cut_and_take_constant_ones(digits):
    batch = digits.sample(digits.classes, 3, seeded())
    net, plain = network(seeded(1)), network(seeded(1))
    train_network(net, batch, StepProtocol(2, distill_steps=2, constant=0.25), seeded(2))
    rows = [torch.tensor([3 * c + i for c in range(10) for i in of_class]) for of_class in ((0, 1), (2,))]
    by_hand(plain, batch, rows, [0.25] * 4, 2)
    assert_same(net, plain)


def test_a_given_step_size_takes_the_place_of_learned_ones_and_no_draw_is_made(data):
    net, plain, rng = network(seeded(1)), network(seeded(1)), seeded(2)
    train_network(net, data, StepProtocol(4, lr=0.125), rng)
    by_hand(plain, data, data.steps.rows, [0.125] * 8, 4)
    assert_same(net, plain)
    assert torch.equal(rng.get_state(), seeded(2).get_state())


def test_of_no_epoch_nothing_is_known(data):
    net = network(seeded(1))
    figures = train_network(net, data, StepProtocol(0, lr=0.1), seeded(2))
    assert_same(net, network(seeded(1)), 0)
    assert all(figure.isnan() for figure in figures)


@pytest.mark.parametrize("model", ["MLP", "ConvNetD1"])
def test_stacked_networks_take_the_steps_that_each_takes_alone(digits, data, model):
    other = digits.sample(digits.classes, 4, seeded(7))
    sets = [data, replace(data, tensor=other.images())]
    protocol = StepProtocol(momentum=0.5)
    nets, alone = ([network(seeded(i), model).double() for i in range(2)] for _ in range(2))
    sets = [replace(one, tensor=one.tensor.double()) for one in sets]
    figures = train_stacked(nets, sets, protocol, [seeded(), seeded()])
    for i, net in enumerate(alone):
        single = train_network(net, sets[i], protocol, seeded())
        assert_same(nets[i], net, 1e-9)
        for of_all, of_one in zip(figures, single):
            assert of_all[i].item() == pytest.approx(of_one.item(), rel=1e-6)


# NetworkStarts

def score(data, digits, protocol, num_eval=2, model="MLP"):
    rng = partial(Streams(0), "evaluation", 0, 0)
    return evaluate(data, digits, {model: protocol}, num_eval, rng, Compute(), progress=False)[model]


def test_networks_start_as_the_protocol_says_and_are_tested_after_the_last_step(digits, data):
    import zlib
    for init, gain in (("xavier", 0.5), ("default", 1.0)):
        for i, of_one in enumerate(score(data, digits, StepProtocol(net_init=init, gain=gain))):
            net = network(Streams(0)("evaluation", 0, 0, zlib.crc32(b"MLP"), i), init=init, gain=gain)
            by_hand(net, data, data.steps.rows, SIZES, 3)
            assert of_one.test_accuracy == pytest.approx(accuracy(net, digits).item(), abs=1e-6)


@pytest.fixture(scope="module")
def fixed(data):
    """The same set, learned for two networks."""
    starts = [torch.cat([p.detach().flatten() for p in network(seeded(20 + i)).parameters()]) for i in range(2)]
    return replace(data, steps=replace(data.steps, starts=torch.stack(starts), model="MLP"))


def test_networks_begin_with_the_sets_own_starts_which_stay_as_they_are(digits, fixed):
    before = fixed.steps.starts.clone()
    found = score(fixed, digits, StepProtocol())
    for i, of_one in enumerate(found):
        net = network(seeded(20 + i))
        by_hand(net, fixed, fixed.steps.rows, SIZES, 3)
        assert of_one.test_accuracy == pytest.approx(accuracy(net, digits).item(), abs=1e-6)
    assert torch.equal(fixed.steps.starts, before)
    assert score(fixed, digits, StepProtocol()) == found


def test_stacked_networks_begin_with_the_sets_own_starts_each_with_its_number(digits, fixed):
    alone, protocol = score(fixed, digits, StepProtocol()), StepProtocol()
    tester = _Tester(digits, None, Compute(), False)
    for i in range(2):
        bar = type("Bar", (), {"update": lambda self, number: None})()
        (stacked,) = _together({i: fixed}, digits, tester, "MLP", protocol, [seeded()], Compute(), bar)
        assert stacked.test_accuracy == pytest.approx(alone[i].test_accuracy, abs=2e-3)


def test_another_network_or_another_protocol_starts_afresh(digits, fixed, data):
    protocol = StepProtocol()
    assert score(fixed, digits, protocol, model="ConvNetD1") == score(data, digits, protocol, model="ConvNetD1")
    trained = Protocol(1, augmentation="none", schedule="constant")
    assert score(fixed, digits, trained, 3) == score(data, digits, trained, 3)


def test_more_networks_than_starts_and_starts_of_other_images_are_refused(digits, fixed):
    with pytest.raises(ValueError, match="2 fixed starts of MLP; give --num_eval 2 or less"):
        score(fixed, digits, StepProtocol(), 3)
    short = replace(fixed, steps=replace(fixed.steps, starts=fixed.steps.starts[:, 1:]))
    with pytest.raises(ValueError, match="name the data set that it was learned on"):
        score(short, digits, StepProtocol())


# The record

def test_a_protocol_of_steps_comes_back_from_what_is_stored_of_it():
    protocol = StepProtocol(5, distill_steps=2, constant=0.1, net_init="default", momentum=0.5)
    assert protocol_of(asdict(protocol)) == protocol
    assert protocol_of(asdict(Protocol())) == Protocol() and type(protocol_of(asdict(Protocol()))) is Protocol


def test_other_protocols_are_stored_as_ever():
    assert list(asdict(Protocol())) == ["epochs", "lr", "batch_size", "momentum", "weight_decay", "augmentation",
                                        "strategy", "schedule", "cutmix"]


@pytest.mark.parametrize("values, mend", [
    ({"batch_size": 10}, "leave --batch_train out"),
    ({"augmentation": "siamese", "strategy": "color"}, "choose another --protocol"),
    ({"weight_decay": 1e-4}, "plain descent"),
    ({"net_init": "xaver"}, "did you mean xavier"),
    ({"distill_steps": 0}, "one or more steps"),
    ({"schedule": "drop"}, "one or more steps"),
])
def test_what_is_no_part_of_it_is_refused(values, mend):
    with pytest.raises(ValueError, match=mend):
        StepProtocol(**values)


def test_a_learned_step_size_serves_images_that_bring_none():
    (protocol,) = named_protocols("dd", ["MLP"], "MNIST", lr_learned=0.07).values()
    assert (protocol.constant, protocol.lr, protocol.epochs, protocol.distill_steps) == (0.07, None, 3, 10)
    (protocol,) = named_protocols("dd", ["MLP"], "MNIST", lr_learned=0.07, lr=0.5).values()
    assert protocol.lr == 0.5
    with pytest.raises(ValueError, match="augmentation of dd"):
        named_protocols("dd", ["MLP"], "MNIST", augmentation="dsa")
