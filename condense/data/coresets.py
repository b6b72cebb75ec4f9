"""Coresets: real images that stand for their class, the baselines of dataset condensation.

A chooser takes the features of one class, (n, D) float32, the number to choose (at most n) and a CPU
`torch.Generator`; it returns that many distinct positions, int64 on the features' device, in the order chosen.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.core.errors import InputError
from condense.core.extras import needed
from condense.core.registry import lookup
from condense.core.types import Forward
from condense.data.real import RealData


def herding(features: Float[Tensor, "n d"], number: int, rng: torch.Generator | None = None) -> Int[Tensor, " m"]:
    """Choose one by one, so that the mean of the chosen follows the class mean; draws nothing.

    At step k it takes the image x, not chosen before, that minimises ||mean - (sum of the chosen + x) / k||.
    Welling, ICML 2009, in the form of Rebuffi et al. (iCaRL), CVPR 2017, algorithm 4, without repetition.
    """
    offsets = features - features.mean(0)                  # from the mean: what is summed below stays small
    missing = torch.zeros_like(offsets[0])                 # (number chosen) mean - sum of the chosen
    taken, chosen = features.new_zeros(len(features)), []
    for _ in range(number):
        best = (_distances(offsets, missing) + taken).argmin()
        taken[best] = torch.inf
        missing -= offsets[best]
        chosen.append(best)
    return torch.stack(chosen)


def k_center(features: Float[Tensor, "n d"], number: int, rng: torch.Generator | None = None) -> Int[Tensor, " m"]:
    """Choose the image nearest the class mean, then always the one farthest from all chosen; draws nothing.

    The greedy algorithm that covers a class within twice the best radius: Gonzalez, 1985; for images Sener &
    Savarese, ICLR 2018.
    """
    gap, chosen = torch.full_like(features[:, 0], torch.inf), []
    for _ in range(number):
        best = gap.argmax() if chosen else _distances(features, features.mean(0)).argmin()
        gap = torch.minimum(gap, _distances(features, features[best]))
        gap[best] = -1                                     # below the 0 of its copies, which may still follow
        chosen.append(best)
    return torch.stack(chosen)


def k_means(features: Float[Tensor, "n d"], number: int, rng: torch.Generator) -> Int[Tensor, " m"]:
    """Choose the images nearest the centroids of `number` clusters (k-means++, one start, seeded by `rng`).

    Where two centroids would share an image, the distinct images of least total distance are taken.
    """
    from scipy.optimize import linear_sum_assignment  # here: these take as long to import as torch

    points = features.cpu()
    distances = torch.cdist(centroids(points, number, rng, tol=1e-4), points)            # (number, n)
    return torch.from_numpy(linear_sum_assignment(distances)[1]).to(features.device)


def centroids(features: Float[Tensor, "n d"], number: int, rng: torch.Generator,
              tol: float = 0.0) -> Float[Tensor, "m d"]:
    """Return the centroids of `number` clusters, (number, D) (k-means++, one start, seeded by `rng`).

    Lloyd's steps end where no image changes its cluster any more, or where the centroids move less than `tol` asks for
    (as scikit-learn has it: relative to the variance). Raises ValueError where scikit-learn is missing.
    """
    KMeans = needed("sklearn.cluster", "scikit-learn", "k-means").KMeans
    threadpool_limits = needed("threadpoolctl", "threadpoolctl", "k-means").threadpool_limits
    seed = int(torch.randint(2**31, (), generator=rng))
    with threadpool_limits(1):                             # several threads add up in an order of their own
        clusters = KMeans(number, random_state=seed, n_init=1, tol=tol).fit(features.cpu().numpy())
    return torch.from_numpy(clusters.cluster_centers_).to(features.device)


def _distances(points, target):
    """Euclidean distances of `points` (n, D) from `target` (D,), by differences: equal points are at exactly 0."""
    return torch.cdist(points, target[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]


CHOOSERS: dict[str, Callable[..., Tensor]] = {"herding": herding, "k-center": k_center, "k-means": k_means}
CORESET_METHODS = ("random", *CHOOSERS)


def choose_coreset(real: RealData, method: str, ipc: int, embed: Forward | None, chunk: int | None,
                   rng: torch.Generator | None) -> Int[Tensor, " m"]:
    """Return the rows of `real` that `method` chooses, `ipc` of each class: (classes * ipc,) int64, class-major.

    `embed` maps normalised images (N, C, H, W) to what distances are taken in, (N, D), `chunk` images at a
    time; one class is held at once. 'random' needs neither, and takes the images from which condensation
    with --init real starts at the same seed. Raises ValueError as `require_images` does.
    """
    require_images(real, ipc)
    if method == "random":
        return real.sample(real.classes, ipc, rng).index
    chooser = lookup(CHOOSERS, method, "selection method")
    return torch.cat([real.class_starts[label] +
                      chooser(class_features(real, label, embed, chunk), ipc, rng)          # type: ignore[arg-type]
                      for label in real.classes])


def require_images(real: RealData, ipc: int) -> None:
    """Raise ValueError, naming the mend, where some class of `real` has fewer than `ipc` images."""
    smallest = min(real.class_counts)
    if ipc > smallest:
        name = real.class_names[real.class_counts.index(smallest)]
        raise InputError(f"--ipc {ipc} chooses {ipc} images of every class, but class {name!r} has {smallest}; "
                         f"use --ipc {smallest} or less")


@torch.no_grad()
def class_features(real: Any, label: int, embed: Forward, chunk: int) -> Float[Tensor, "n d"]:
    """Return the features of all images of class `label`, (n, D), in the order of their rows."""
    return torch.cat([embed(real.batch_of(rows).images()) for rows in real.indices_of(label).split(chunk)])
