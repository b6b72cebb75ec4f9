"""The optimisers of a synthetic set: what a group asks for is what its parameters get, and clipping is joint."""

import pytest
import torch

from condense.synthetic.optimisers import build_optimizer


def groups(*sizes, **more):
    return [{"params": [torch.nn.Parameter(torch.zeros(size))], "lr": 1.0, "momentum": 0.0, **more} for size in sizes]


def give(groups, *gradients):
    for group, gradient in zip(groups, gradients, strict=True):
        group["params"][0].grad = torch.tensor(gradient)


def test_long_gradients_of_all_groups_are_shortened_together():
    ours = groups(2, 1)
    optimizer = build_optimizer("sgd", ours, clip_grad=2)
    give(ours, [3.0, 0.0], [4.0])
    optimizer.step()
    torch.testing.assert_close(ours[0]["params"][0].detach(), torch.tensor([-1.2, 0.0]))
    torch.testing.assert_close(ours[1]["params"][0].detach(), torch.tensor([-1.6]))


def test_short_gradients_stay_as_they_are():
    ours = groups(1)
    optimizer = build_optimizer("sgd", ours, clip_grad=2)
    give(ours, [1.5])
    optimizer.step()
    assert ours[0]["params"][0].item() == -1.5


def test_momentum_of_a_group_is_the_first_beta_of_adam_unless_the_group_has_betas():
    optimizer = build_optimizer("adam", [*groups(1, momentum=0.5), *groups(1, betas=(0.9, 0.99))])
    assert [group["betas"] for group in optimizer.param_groups] == [(0.5, 0.999), (0.9, 0.99)]


def test_two_steps_of_adam_are_those_of_the_formulas():
    ours = groups(1, momentum=0.5)
    ours[0]["lr"] = 0.1
    optimizer, first, second, x = build_optimizer("adam", ours), 0.0, 0.0, 0.0
    for step, gradient in enumerate((2.0, -1.0), 1):
        give(ours, [gradient])
        optimizer.step()
        first, second = 0.5 * first + 0.5 * gradient, 0.999 * second + 0.001 * gradient**2
        x -= 0.1 * first / (1 - 0.5**step) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
    assert ours[0]["params"][0].item() == pytest.approx(x, rel=1e-5)


def test_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="unknown optimizer 'lion'"):
        build_optimizer("lion", groups(1))
