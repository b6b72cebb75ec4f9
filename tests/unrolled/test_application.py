"""Descent along learned steps, by hand and in the linear case where theory says what it can reach."""

import pytest
import torch
from torch import nn

from condense.matching.inner_sgd import InnerSGD
from condense.unrolled.application import descend


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_steps_go_in_order_with_the_size_of_their_own_and_are_those_that_training_differentiates(momentum):
    draw = dict(generator=seeded(), dtype=torch.float64)
    targets, sizes = torch.randn(2, 3, **draw), [0.1, 0.5, 0.3, 0.2, 0.9, 0.4]
    begin, seen, ticks = torch.randn(3, **draw), [], []
    theta = nn.Parameter(begin.clone())

    def accumulate(batch):
        seen.append(batch)
        loss = (theta - targets[batch]).square().sum() / 2
        loss.backward()
        return torch.tensor([1.0, 10.0 * batch])

    totals = descend([theta], accumulate, sizes, 3, momentum, lambda: ticks.append(len(seen)))
    assert seen == [0, 1] * 3 and ticks == [2, 4, 6] and totals.tolist() == [2, 10]
    plain, velocity = begin, 0
    for t, size in enumerate(sizes):
        velocity = momentum * velocity + plain - targets[t % 2]
        plain = plain - size * velocity
    torch.testing.assert_close(theta.detach(), plain, rtol=1e-13, atol=0)
    unrolled = InnerSGD(momentum).unroll(lambda t, state: state - targets[t % 2], begin,
                                         torch.tensor(sizes, dtype=torch.float64), 6, ())
    torch.testing.assert_close(unrolled, plain, rtol=1e-13, atol=0)


def test_no_epoch_moves_nothing():
    theta = nn.Parameter(torch.ones(2))
    assert descend([theta], lambda batch: 1 / 0, [], 0) is None and theta.tolist() == [1, 1]


# Linear least squares with D weights: the paper's section on why few images cannot serve every initialisation

D, SIZE = 6, 0.7


def orthogonal(number):
    return torch.linalg.qr(torch.randn(D, D, generator=seeded(3), dtype=torch.float64))[0][:number]


def after_steps(points, targets, theta, sizes, epochs):
    """Descend (1/2M) ||points theta - targets||^2 from each row of `theta` (n, D)."""
    theta = nn.Parameter(theta.clone())

    def accumulate(batch):
        ((theta @ points.T - targets).square().sum() / (2 * len(points))).backward()
        return torch.zeros(2)

    descend([theta], accumulate, sizes, epochs)
    return theta.detach()


def test_as_many_points_as_weights_reach_the_optimum_in_one_step_from_any_start():
    draw = dict(generator=seeded(4), dtype=torch.float64)
    best, starts = torch.randn(D, **draw), 5 * torch.randn(20, D, **draw)
    points = (D / SIZE) ** 0.5 * orthogonal(D)             # d~^T d~ = (M / eta) I, with M = D
    reached = after_steps(points, points @ best, starts, [SIZE], 1)
    assert (reached - best).abs().max() < 1e-13


@pytest.mark.parametrize("epochs", [1, 50])
def test_one_point_fewer_leaves_what_is_orthogonal_to_them_however_many_the_steps(epochs):
    draw = dict(generator=seeded(5), dtype=torch.float64)
    best, starts, basis = torch.randn(D, **draw), torch.randn(20, D, **draw), orthogonal(D)
    points = ((D - 1) / SIZE) ** 0.5 * basis[:D - 1]
    reached = after_steps(points, points @ best, starts, [SIZE] * epochs, epochs)
    missed = (reached - best) @ basis.T
    assert missed[:, :-1].abs().max() < 1e-12              # in their span they do all that can be done
    torch.testing.assert_close(missed[:, -1], (starts - best) @ basis[-1], rtol=1e-12, atol=1e-12)
