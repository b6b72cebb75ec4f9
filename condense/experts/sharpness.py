"""Steps towards flat minima: GSAM, with which FTD trains its experts.

Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, algorithm 1; the adaptive
perturbation is that of Kwon et al. (ASAM), ICML 2021. Du et al. (FTD), CVPR 2023, record trajectories with it.

All functions take lists of tensors, one per parameter. With `stacked` their first axis counts networks, each of
which has norms and products of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

TINY = 1e-30                               # squared norms below are 0: a gradient that is exactly zero stays so


@torch.no_grad()
def perturbation(weights: Sequence[Tensor], gradients: Sequence[Tensor], rho: float, adaptive: bool = False,
                 stacked: bool = False) -> list[Tensor]:
    """Return the step e of length `rho` uphill: rho g / ||g||, adaptive rho w^2 g / || |w| g ||."""
    scaled = [w.abs() * g for w, g in zip(weights, gradients)] if adaptive else gradients
    factor = rho * _inner(scaled, scaled, stacked).clamp_min(TINY).rsqrt()
    uphill = [w.abs() * s for w, s in zip(weights, scaled)] if adaptive else gradients
    return [_times(factor, u, stacked) for u in uphill]


@torch.no_grad()
def descent_direction(gradients: Sequence[Tensor], perturbed: Sequence[Tensor], alpha: float,
                      stacked: bool = False) -> list[Tensor]:
    """Return gp - alpha g_perp, g_perp being the part of `gradients` g orthogonal to `perturbed` gp.

    Descending along gp lowers the worst loss around the weights, along -g_perp the gap between it and the loss
    itself.
    """
    along = _inner(gradients, perturbed, stacked) / _inner(perturbed, perturbed, stacked).clamp_min(TINY)
    return [gp - alpha * (g - _times(along, gp, stacked)) for g, gp in zip(gradients, perturbed)]


@torch.no_grad()
def sharpen(parameters: Sequence[Tensor], gradients_here: Callable[[], object], rho: float, alpha: float,
            adaptive: bool = False, stacked: bool = False) -> None:
    """Turn the parameters' gradients into GSAM's descent direction.

    They hold the minibatch's gradients at the weights; `gradients_here()` adds those of the same minibatch at
    whatever the weights are. The weights end as they were, to the bit.
    """
    gradients: Any = [p.grad for p in parameters]
    weights = [p.clone() for p in parameters]
    for parameter, offset in zip(parameters, perturbation(parameters, gradients, rho, adaptive, stacked)):
        parameter.add_(offset)
        parameter.grad = None
    with torch.enable_grad():
        gradients_here()
    perturbed: Any = [p.grad for p in parameters]
    directions = descent_direction(gradients, perturbed, alpha, stacked)
    for parameter, weight, direction in zip(parameters, weights, directions):
        parameter.copy_(weight)
        parameter.grad = direction


def _inner(ones, others, stacked):
    """Inner product over all parameters: a scalar, or (M,) of stacked networks."""
    lead = int(stacked)
    return sum((a * b).flatten(lead).sum(lead) for a, b in zip(ones, others))


def _times(factor, tensor, stacked):
    return tensor * (factor.view(-1, *[1] * (tensor.dim() - 1)) if stacked else factor)
