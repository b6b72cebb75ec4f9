"""Networks that begin as an expert of buffer.py was, or fresh."""

import pytest
import torch

from condense.experts.expert_starts import open_expert_starts
from condense.experts.trajectories import open_experts
from condense.networks import get_network


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(digits, model="ConvNetD1"):
    return get_network(model, *digits.spec, rng=seeded())


def vector(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_without_an_epoch_networks_are_fresh_and_nothing_is_opened(digits):
    net, other = network(digits), get_network("ConvNetD1", *digits.spec, rng=seeded(7))
    beginnings = open_expert_starts(-1, 1, "nowhere", net, digits, "ConvNetD1")
    beginnings.begin(net, seeded(7))
    assert torch.equal(vector(net), vector(other)) and beginnings.sources == {}


def test_networks_begin_as_one_of_all_experts_at_one_of_the_epochs(digits, able_experts):
    net = network(digits)
    experts = open_experts(able_experts, net, digits, "ConvNetD1", (0, 3))
    snapshots = {(number, epoch): experts.snapshot(number, epoch) for number in range(3) for epoch in range(4)}
    beginnings, seen = open_expert_starts(1, 2, able_experts, net, digits, "ConvNetD1"), set()
    for seed in range(40):
        beginnings.begin(net, seeded(seed))
        (found,) = [key for key, theta in snapshots.items() if torch.equal(theta, vector(net))]
        seen.add(found)
    assert seen == {(number, epoch) for number in range(3) for epoch in (1, 2)}
    assert beginnings.sources["experts"] == experts.source
    beginnings.begin(net, seeded(3))
    first = vector(net)
    beginnings.begin(net, seeded(3))
    assert torch.equal(vector(net), first)


def test_layout_of_the_parameters_stays(digits, able_experts):
    net = network(digits).to(memory_format=torch.channels_last)
    before = [(parameter.data_ptr(), parameter.stride()) for parameter in net.parameters()]
    open_expert_starts(3, 1, able_experts, net, digits, "ConvNetD1").begin(net, seeded())
    assert [(parameter.data_ptr(), parameter.stride()) for parameter in net.parameters()] == before


@pytest.mark.parametrize("first, number", [(4, 1), (3, 2)])
def test_epochs_that_experts_do_not_hold_are_refused_naming_those_that_they_do(digits, able_experts, first, number):
    with pytest.raises(ValueError, match=f"hold epochs 0 to 3, not {first} to {first + number - 1}, which --pt_from"):
        open_expert_starts(first, number, able_experts, network(digits), digits, "ConvNetD1")


def test_missing_experts_are_answered_by_the_command_that_makes_them(digits, tmp_path):
    with pytest.raises(FileNotFoundError, match="python buffer.py --dataset Digits --model ConvNetD1"):
        open_expert_starts(2, 1, tmp_path, network(digits), digits, "ConvNetD1")


def test_batch_norm_is_refused(digits, able_experts):
    net = network(digits, "ConvNetD2")
    net.features[1] = torch.nn.BatchNorm2d(128)
    with pytest.raises(ValueError, match="statistics experts do not keep; leave --pt_from out"):
        open_expert_starts(2, 1, able_experts, net, digits, "ConvNetD2")
