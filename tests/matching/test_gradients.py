"""Gradient distances against plain loops in float64, and what makes them usable as a loss."""

from math import sqrt

import pytest
import torch

from condense.matching.gradients import EPSILON, METRICS, gradient_distance, row_distance

# convolution, bias, linear weight, bias, and a layer norm's weight
SHAPES = [(4, 3, 2, 2), (4,), (5, 6), (5,), (3, 2, 2)]


def gradients(seed, shapes=SHAPES):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def distance_by_loops(real, synthetic, metric):
    """The definition, number by number."""
    if metric == "ours":
        total = 0.0
        for a, b in zip(real, synthetic, strict=True):
            if a.dim() == 1:
                continue
            for unit in range(a.shape[0]):
                r, s = a[unit].flatten().tolist(), b[unit].flatten().tolist()
                total += 1 - dot(r, s) / (sqrt(dot(r, r)) * sqrt(dot(s, s)) + 1e-6)
        return total
    r = [value for tensor in real for value in tensor.flatten().tolist()]
    s = [value for tensor in synthetic for value in tensor.flatten().tolist()]
    if metric == "mse":
        return sum((a - b) ** 2 for a, b in zip(r, s, strict=True))
    return 1 - dot(r, s) / (sqrt(dot(r, r)) * sqrt(dot(s, s)) + 1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", METRICS)
def test_distance_equals_a_loop_over_every_output_unit(metric, seed):
    real, synthetic = gradients(seed), gradients(seed + 100)
    expected = distance_by_loops(real, synthetic, metric)
    assert float(gradient_distance(real, synthetic, metric)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_gradients_have_no_distance(metric):
    real = gradients(0)
    assert float(gradient_distance(real, real, metric)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("metric, per_row", [("ours", True), ("cos", False)])
def test_opposite_gradients_have_twice_the_number_of_cosines(metric, per_row):
    real = gradients(0)
    rows = sum(shape[0] for shape in SHAPES if len(shape) > 1) if per_row else 1
    opposite = [-g for g in real]
    assert float(gradient_distance(real, opposite, metric)) == pytest.approx(2 * rows, abs=1e-4)


@pytest.mark.parametrize("metric, heard", [("ours", False), ("mse", True), ("cos", True)])
def test_only_ours_ignores_tensors_of_one_axis(metric, heard):
    real, synthetic = gradients(0), gradients(1)
    before = gradient_distance(real, synthetic, metric)
    synthetic[1] = synthetic[1] + 1
    assert bool(gradient_distance(real, synthetic, metric) != before) == heard


def test_a_tensor_of_one_axis_is_exactly_zero_of_the_same_kind():
    distance = row_distance(torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert distance == 0 and distance.dim() == 0 and distance.dtype == torch.float64


@pytest.mark.parametrize("dead_side", ["real", "synthetic"])
def test_a_dead_unit_costs_exactly_one(dead_side):
    real, synthetic = gradients(0, [(4, 6)])[0], gradients(1, [(4, 6)])[0]
    alive = row_distance(real[1:], synthetic[1:])
    (real if dead_side == "real" else synthetic)[0] = 0
    assert float(row_distance(real, synthetic)) == pytest.approx(float(alive) + 1, rel=1e-12)


def test_epsilon_is_added_once_to_the_product_of_norms():
    tiny = torch.tensor([[1e-3, 0.0]], dtype=torch.float64)                # product of norms: EPSILON
    assert float(row_distance(tiny, tiny)) == pytest.approx(1 - 1e-6 / (1e-6 + EPSILON), rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_the_synthetic_side_is_differentiable(metric):
    real, synthetic = gradients(0), [g.requires_grad_() for g in gradients(1)]
    gradient_distance(real, synthetic, metric).backward()
    for g in synthetic:
        if g.dim() > 1:
            assert g.grad.isfinite().all() and g.grad.abs().sum() > 0


@pytest.mark.parametrize("metric", METRICS)
def test_descending_through_a_second_derivative_brings_gradients_together(metric):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    labels = torch.tensor([0, 1])
    images = torch.randn(2, 12, requires_grad=True)

    def gradients_on(batch, **how):
        loss = torch.nn.functional.cross_entropy(net(batch), labels)
        return torch.autograd.grad(loss, list(net.parameters()), **how)

    real = gradients_on(torch.randn(2, 12))
    optimizer, losses = torch.optim.Adam([images], lr=0.05), []
    for _ in range(40):
        losses.append(gradient_distance(real, gradients_on(images, create_graph=True), metric))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown distance metric 'mes'; did you mean mse"):
        gradient_distance([], [], "mes")
