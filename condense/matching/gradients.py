"""Distances between network gradients (Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching",
ICLR 2021, equation 10 and appendix A)."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.registry import lookup

EPSILON = 1e-6


def row_distance(real: Float[Tensor, "*shape"], synthetic: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum over output units of 1 - cosine between the rows of one tensor's gradients; 0 for 1-D tensors.

    The first axis counts output units, all others are flattened into the row.
    """
    return _row_distances(real[None], synthetic[None])[0]


def _row_distances(real, synthetic):
    """`row_distance` for each of K classes: (K, units, ...) twice -> (K,)."""
    if real.dim() < 3:                                     # biases and norm affines are skipped, as published
        return real.new_zeros(len(real))
    real, synthetic = real.flatten(2), synthetic.flatten(2)
    scale = real.norm(dim=2) * synthetic.norm(dim=2) + EPSILON
    return (1 - (real * synthetic).sum(2) / scale).sum(1)


def match_ours(real: Sequence[Float[Tensor, "k ..."]],
               synthetic: Sequence[Float[Tensor, "k ..."]]) -> Float[Tensor, " k"]:
    """Row-wise cosine distance, summed over all tensors of order two and higher."""
    return sum(_row_distances(a, b) for a, b in zip(real, synthetic, strict=True))


def match_mse(real: Sequence[Float[Tensor, "k ..."]],
              synthetic: Sequence[Float[Tensor, "k ..."]]) -> Float[Tensor, " k"]:
    """Squared distance, summed over every entry of every tensor."""
    return sum((a - b).square().flatten(1).sum(1)                               # type: ignore[return-value]
               for a, b in zip(real, synthetic, strict=True))


def match_cos(real: Sequence[Float[Tensor, "k ..."]],
              synthetic: Sequence[Float[Tensor, "k ..."]]) -> Float[Tensor, " k"]:
    """One cosine distance between all tensors, concatenated; in [0, 2]."""
    real, synthetic = (torch.cat([g.flatten(1) for g in side], 1) for side in (real, synthetic))
    return 1 - (real * synthetic).sum(1) / (real.norm(dim=1) * synthetic.norm(dim=1) + EPSILON)


METRICS = {"ours": match_ours, "mse": match_mse, "cos": match_cos}


def class_distances(real: Iterable[Float[Tensor, "k ..."]], synthetic: Iterable[Float[Tensor, "k ..."]],
                    metric: str = "ours") -> Float[Tensor, " k"]:
    """Return the distance of the gradients of each of K classes, (K,).

    `real` and `synthetic` list one tensor (K, *parameter shape) per parameter, in parameter order. Raises
    ValueError for an unknown metric.
    """
    return lookup(METRICS, metric, "distance metric")(list(real), list(synthetic))


def gradient_distance(real: Iterable[Float[Tensor, "..."]], synthetic: Iterable[Float[Tensor, "..."]],
                      metric: str = "ours") -> Float[Tensor, ""]:
    """Distance of two lists of gradients, in parameter order; raises ValueError for an unknown metric."""
    return class_distances([g[None] for g in real], [g[None] for g in synthetic], metric)[0]
