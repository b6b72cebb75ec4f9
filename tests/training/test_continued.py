"""Training that goes on between calls, against the loop written plainly, and what its state holds."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from condense.training import TensorSet
from condense.training.continued import ContinuedTraining
from condense.training.train import TrainingDraws, train_network
from tests.training.training_by_hand import FULL, PLAIN, Spy, assert_same_state, build, seeded, some_digits

PROTOCOL = replace(PLAIN, epochs=1, schedule="constant")


@pytest.fixture(scope="module")
def data():
    return some_digits()


def halves(data):
    return [TensorSet(data.tensor[part], data.labels[part]) for part in (slice(0, 12), slice(12, 23))]


def test_calls_are_one_training_with_momentum_on_other_images_each_time(data):
    net = build("instancenorm")
    other = copy.deepcopy(net)
    training = ContinuedTraining(net, PROTOCOL)
    optimizer = torch.optim.SGD(other.parameters(), 0.05, 0.9, weight_decay=5e-4)
    for seed, part in enumerate(halves(data) * 2):
        training.epoch(part, seeded(seed))
        order, *_ = TrainingDraws(seeded(seed), len(part.labels), 8, 0, "cpu", block=1).epoch()
        for index in order.split(8):
            optimizer.zero_grad()
            nn.functional.cross_entropy(other(part.tensor[index]), part.labels[index]).backward()
            optimizer.step()
    assert_same_state(net, other)


def test_after_a_restart_nothing_of_the_momentum_is_left(data):
    first, second = halves(data)
    net, fresh = build("MLP"), build("MLP")
    training = ContinuedTraining(net, PROTOCOL)
    training.epoch(first, seeded(1))
    net.load_state_dict(fresh.state_dict())
    training.restart()
    for one in (training, ContinuedTraining(fresh, PROTOCOL)):
        one.epoch(second, seeded(2))
    assert_same_state(net, fresh, 0)


def test_state_of_network_and_optimiser_is_all_that_going_on_needs(data):
    first, second = halves(data)
    whole, resumed = build("MLP"), build("MLP", seed=5)
    training, later = ContinuedTraining(whole, PROTOCOL), ContinuedTraining(resumed, PROTOCOL)
    training.epoch(first, seeded(1))
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    later.optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))
    for one in (training, later):
        one.epoch(second, seeded(2))
    assert_same_state(whole, resumed, 0)


def test_augmentation_and_cutmix_are_those_of_the_protocol_and_follow_the_seed(data):
    protocol = replace(PROTOCOL, augmentation="composed", strategy=FULL, cutmix=1.0)
    net = build("instancenorm")
    before = copy.deepcopy(net)
    ContinuedTraining(net, protocol).epoch(data, seeded(3))
    again = copy.deepcopy(before)
    ContinuedTraining(again, protocol).epoch(data, seeded(3))
    assert_same_state(net, again, 0)
    for other in (replace(protocol, cutmix=0.0), replace(protocol, strategy="none")):
        changed = copy.deepcopy(before)
        ContinuedTraining(changed, other).epoch(data, seeded(3))
        assert not torch.allclose(changed.classifier.weight, net.classifier.weight)


def test_chunks_accumulate_to_the_same_step(data):
    protocol, (whole, parts) = replace(PROTOCOL, cutmix=0.5), (build("instancenorm"), build("instancenorm"))
    spy = Spy(parts, [])
    ContinuedTraining(whole, protocol).epoch(data, seeded(2))
    ContinuedTraining(parts, protocol, spy, 3).epoch(data, seeded(2))
    assert max(spy.seen) == 3
    assert_same_state(parts, whole)


def test_it_learns_what_usual_training_learns(data):
    nets = [build("MLP"), build("MLP")]
    training = ContinuedTraining(nets[0], PROTOCOL)
    for epoch in range(30):
        training.epoch(data, seeded(epoch))
    train_network(nets[1], data, replace(PROTOCOL, epochs=30), seeded(0))
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(net(data.tensor), data.labels).item() for net in nets]
    assert max(losses) < 0.1


def test_the_global_generator_is_left_alone(data):
    protocol = replace(PROTOCOL, augmentation="composed", strategy=FULL, cutmix=1.0)
    training, before = ContinuedTraining(build("MLP"), protocol), torch.get_rng_state()
    training.epoch(data, seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
