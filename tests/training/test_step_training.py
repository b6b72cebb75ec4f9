"""Descent along learned steps, by hand and in the linear case where theory says what it can reach."""

import pytest
import torch
from torch import nn

from condense.matching.inner_sgd import InnerSGD
from condense.training.step_training import descend


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


def one_at_a_time(points, targets, theta, sizes, epochs):
    """The same with a step for each point."""
    theta = nn.Parameter(theta.clone())

    def accumulate(batch):
        ((theta @ points[batch] - targets[batch]).square().sum() / 2).backward()
        return torch.zeros(2)

    descend([theta], accumulate, sizes, epochs)
    return theta.detach()


@pytest.mark.parametrize("number", [D, D - 1])
def test_what_counts_is_the_points_of_all_steps_together(number):
    draw = dict(generator=seeded(6), dtype=torch.float64)
    best, starts, basis = torch.randn(D, **draw), torch.randn(20, D, **draw), orthogonal(D)
    points = SIZE ** -0.5 * basis[:number]                 # each step goes all the way along its own
    reached = one_at_a_time(points, points @ best, starts, [SIZE] * number, 1)
    missed = (reached - best) @ basis.T
    assert missed[:, :number].abs().max() < 1e-13
    assert number == D or missed[:, -1].abs().max() > 1


def learned_loss(number, starts, best, steps, epochs):
    """Learn `number` points with targets, in `steps` batches, such that descent takes all `starts` to `best`.

    Gradient descent on them (L-BFGS) through `InnerSGD.unroll`; returns the mean of ||theta_T - best||^2 / 2 reached,
    which is the least-squares loss on real data with uncorrelated inputs.
    """
    draw = dict(generator=seeded(8), dtype=torch.float64)
    points, targets = torch.randn(number, 3, **draw), torch.randn(number, **draw)
    sizes = torch.full((steps * epochs,), 0.5, dtype=torch.float64)
    learned = [tensor.requires_grad_() for tensor in (points, targets, sizes)]
    optimizer = torch.optim.LBFGS(learned, max_iter=300, tolerance_grad=1e-12, tolerance_change=1e-16,
                                  line_search_fn="strong_wolfe")
    parts = torch.arange(number).tensor_split(steps)

    def inner_gradient(t, theta, points, targets):
        x, y = points[parts[t % steps]], targets[parts[t % steps]]
        return ((theta.view(-1, 3) @ x.T - y) @ x / len(x)).flatten()

    def loss():
        theta = InnerSGD().unroll(inner_gradient, starts.flatten(), sizes, steps * epochs, (points, targets))
        return (theta.view(-1, 3) - best).square().sum(1).mean() / 2

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    return loss().item()


@pytest.mark.parametrize("steps, epochs", [(1, 1), (1, 3), (3, 1)])
def test_learned_points_reach_the_optimum_where_they_are_as_many_as_weights_and_else_stay_above_a_floor(steps, epochs):
    draw = dict(generator=seeded(7), dtype=torch.float64)
    best, starts = torch.randn(3, **draw), 2 * torch.randn(12, 3, **draw)
    moments = (starts - best).T @ (starts - best) / len(starts)
    floor = float(torch.linalg.eigvalsh(moments)[0]) / 2   # what lies across the span of two points no step can touch
    assert learned_loss(3, starts, best, steps, epochs) < 1e-8 < 0.1 < floor
    fewer = learned_loss(2, starts, best, min(steps, 2), epochs)
    assert floor * (1 - 1e-9) <= fewer < 1.05 * floor
