"""Distances between network gradients (Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching",
ICLR 2021, equation 10 and appendix A)."""

import torch

from condense.registry import lookup

EPSILON = 1e-6


def row_distance(real, synthetic):
    """Sum over output units of 1 - cosine between the rows of one tensor's gradients; 0 for 1-D tensors.

    The first axis counts output units, all others are flattened into the row.
    """
    if real.dim() < 2:                                     # biases and norm affines are skipped, as published
        return real.new_zeros(())
    real, synthetic = real.flatten(1), synthetic.flatten(1)
    scale = real.norm(dim=1) * synthetic.norm(dim=1) + EPSILON
    return (1 - (real * synthetic).sum(1) / scale).sum()


def match_ours(real, synthetic):
    """Row-wise cosine distance, summed over all tensors of order two and higher."""
    return sum(row_distance(a, b) for a, b in zip(real, synthetic))


def match_mse(real, synthetic):
    """Squared distance, summed over every entry of every tensor."""
    return sum((a - b).square().sum() for a, b in zip(real, synthetic))


def match_cos(real, synthetic):
    """One cosine distance between all tensors, concatenated; in [0, 2]."""
    real, synthetic = (torch.cat([g.flatten() for g in side]) for side in (real, synthetic))
    return 1 - (real * synthetic).sum() / (real.norm() * synthetic.norm() + EPSILON)


METRICS = {"ours": match_ours, "mse": match_mse, "cos": match_cos}


def gradient_distance(real, synthetic, metric="ours"):
    """Distance of two lists of gradients, in parameter order; raises ValueError for an unknown metric."""
    return lookup(METRICS, metric, "distance metric")(list(real), list(synthetic))
