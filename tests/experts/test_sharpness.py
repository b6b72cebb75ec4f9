"""GSAM's step against the same computation in NumPy, for one network and for several stacked."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from condense.experts.sharpness import descent_direction, perturbation, sharpen

SHAPES = [(3, 4), (5,), (2, 1, 2)]
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)


def random_lists(number, seed=0, lead=()):
    rng = torch.Generator().manual_seed(seed)
    return [[torch.randn((*lead, *shape), generator=rng, dtype=torch.float64) for shape in SHAPES]
            for _ in range(number)]


def vector(tensors):
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def by_hand(weights, gradient_at, rho, alpha, adaptive):
    """One direction of Zhuang et al., algorithm 1, for a vector of weights."""
    g = gradient_at(weights)
    scale = np.abs(weights) if adaptive else np.ones_like(weights)
    e = rho * scale**2 * g / np.sqrt(np.sum((scale * g) ** 2))
    gp = gradient_at(weights + e)
    g_perp = g - (g @ gp) / (gp @ gp) * gp
    return gp - alpha * g_perp


def quadratic(seed):
    """A loss 0.5 w'Aw + b'w: (torch function of a list of tensors, NumPy gradient of a vector)."""
    rng = np.random.default_rng(seed)
    root, b = rng.normal(size=(SIZE, SIZE)), rng.normal(size=SIZE)
    a = root @ root.T
    matrix, offset = torch.from_numpy(a), torch.from_numpy(b)

    def loss(tensors):
        w = torch.cat([tensor.flatten() for tensor in tensors])
        return 0.5 * w @ matrix @ w + offset @ w

    return loss, lambda w: a @ w + b


def sharpened(parameters, losses, rho, alpha, adaptive, stacked=False):
    """Directions that `sharpen` leaves in the parameters' gradients; asserts that the weights stay."""
    def gradients_here():
        if stacked:
            sum(loss([p[i] for p in parameters]) for i, loss in enumerate(losses)).backward()
        else:
            losses[0](parameters).backward()

    parameters = [p.clone().requires_grad_() for p in parameters]
    before = [p.detach().clone() for p in parameters]
    gradients_here()
    sharpen(parameters, gradients_here, rho, alpha, adaptive, stacked)
    assert all(map(torch.equal, parameters, before))
    return [p.grad for p in parameters]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("rho, alpha", [(0.01, 0.3), (0.5, 1.0), (0.1, 0.0), (2.0, 0.4)])
def test_direction_equals_the_formula(rho, alpha, adaptive):
    (weights,), (loss, gradient_at) = random_lists(1), quadratic(1)
    expected = by_hand(vector(weights), gradient_at, rho, alpha, adaptive)
    np.testing.assert_allclose(vector(sharpened(weights, [loss], rho, alpha, adaptive)), expected, rtol=1e-10)


@pytest.mark.parametrize("adaptive", [False, True])
def test_stacked_networks_have_each_its_own_norm_and_product(adaptive):
    (weights,), problems = random_lists(1, lead=(3,)), [quadratic(seed) for seed in range(3)]
    found = sharpened(weights, [loss for loss, _ in problems], 0.1, 0.4, adaptive, stacked=True)
    for i, (_, gradient_at) in enumerate(problems):
        expected = by_hand(vector([w[i] for w in weights]), gradient_at, 0.1, 0.4, adaptive)
        np.testing.assert_allclose(vector([g[i] for g in found]), expected, rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_looking_nowhere_is_plain_descent(alpha):
    (weights,), (loss, gradient_at) = random_lists(1), quadratic(2)
    direction = vector(sharpened(weights, [loss], 0.0, alpha, False))
    np.testing.assert_allclose(direction, gradient_at(vector(weights)), rtol=1e-10)


@given(seed=st.integers(0, 1000), rho=st.floats(1e-4, 10), adaptive=st.booleans())
def test_perturbation_has_length_rho_and_climbs(seed, rho, adaptive):
    weights, gradients = random_lists(2, seed)
    offset, g, w = vector(perturbation(weights, gradients, rho, adaptive)), vector(gradients), vector(weights)
    length = np.linalg.norm(offset / np.abs(w) if adaptive else offset)        # in units of the weights
    assert length == pytest.approx(rho, rel=1e-9) and offset @ g > 0


@given(seed=st.integers(0, 1000), alpha=st.floats(0, 2))
def test_gap_is_reduced_without_touching_the_perturbed_loss_to_first_order(seed, alpha):
    gradients, perturbed = random_lists(2, seed)
    change = vector(descent_direction(gradients, perturbed, alpha)) - vector(perturbed)
    g, gp = vector(gradients), vector(perturbed)
    assert change @ gp == pytest.approx(0, abs=1e-9 * (1 + alpha) * np.linalg.norm(g) * np.linalg.norm(gp))
    assert change @ g <= 1e-12                              # a step against it does not lower the loss itself


def test_zero_gradient_stays_zero():
    zeros = [[torch.zeros(shape) for shape in SHAPES] for _ in range(2)]
    assert not vector(perturbation(random_lists(1)[0], zeros[0], 0.1)).any()
    assert not vector(descent_direction(*zeros, alpha=0.4)).any()
