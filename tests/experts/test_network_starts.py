"""The networks that unrolled training begins with: fresh fixed or trained, and always by address."""

from types import SimpleNamespace

import pytest
import torch

from condense.core.randomness import Streams
from condense.experts.network_starts import NetworkStarts
from condense.networks import get_network, reset


def starts(regime, available=3, number=2, init="xavier", gain=1.0):
    return NetworkStarts(get_network("MLP", 1, 10, (8, 8)), regime, available, number, init, gain, Streams(5))


def of_step(one, exp, it):
    return [theta.clone() for theta in one.of_step(exp, it, one.fixed(exp))]


def test_a_start_is_what_reset_draws_for_its_address():
    net = reset(get_network("MLP", 1, 10, (8, 8)), Streams(5)("nets", 1, 7, 0), "xavier", 2.0)
    plain = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    assert torch.equal(starts("unknown_init", gain=2.0).draw(1, 7, 0), plain)


def test_unknown_starts_are_all_different_and_the_same_when_asked_for_again():
    one = starts("unknown_init")
    assert one.fixed(0) is None
    drawn = [theta for exp, it in ((0, 0), (0, 1), (1, 0)) for theta in of_step(one, exp, it)]
    assert len({tuple(theta[:5].tolist()) for theta in drawn}) == 6
    again = of_step(starts("unknown_init"), 0, 1)
    assert all(map(torch.equal, again, drawn[2:4])) and len(again) == 2


def test_known_starts_stay_through_an_experiment_and_a_step_draws_some_of_them_without_repetition():
    one = starts("known_init")
    bank = {tuple(theta.tolist()) for theta in one.fixed(0)}
    assert len(bank) == 3 and not bank & {tuple(theta.tolist()) for theta in one.fixed(1)}
    picks = [{tuple(theta.tolist()) for theta in of_step(one, 0, it)} for it in range(20)]
    assert all(len(pick) == 2 and pick < bank for pick in picks) and set.union(*picks) == bank


def test_loaded_starts_are_those_of_the_bank_for_learning_and_scored_are_the_held_out_ones():
    training, held_out = torch.arange(15.0).view(5, 3), torch.arange(100.0, 106).view(2, 3)
    banks = training, SimpleNamespace(together=lambda: held_out)
    one = NetworkStarts(None, "loaded", 5, 2, "xavier", 1.0, Streams(5), banks)
    assert one.fixed(0) is one.fixed(1) is training and one.scored(one.fixed(0)) is held_out
    picks = [{int(theta[0]) // 3 for theta in of_step(one, 0, it)} for it in range(30)]
    assert all(len(pick) == 2 for pick in picks) and set.union(*picks) == set(range(5))
    assert [theta.tolist() for theta in of_step(one, 0, 3)] == [theta.tolist() for theta in of_step(one, 0, 3)]


def test_networks_that_stay_are_scored_themselves_and_fresh_ones_are_none():
    one = starts("known_init")
    fixed = one.fixed(0)
    assert one.scored(fixed) is fixed and starts("unknown_init").scored(None) is None


def test_one_known_start_is_used_by_every_step():
    one = starts("known_init", available=1, number=1)
    (bank,) = one.fixed(0)
    assert all(torch.equal(theta, bank) for it in range(3) for theta in of_step(one, 0, it))


@pytest.mark.parametrize("init", ["xavier", "default"])
def test_the_initialisation_that_is_asked_for_is_drawn(init):
    theta, net = starts("unknown_init", init=init).draw(0, 0, 0), get_network("MLP", 1, 10, (8, 8))
    bias = theta[net.fc_1.weight.numel():][:128]
    assert (bias == 0).all() if init == "xavier" else (bias != 0).all()
