"""Codes and decoders that begin near real images: which image each pair is to show, and the regression on them.

Our proposal: the paper that codes and decoders are from (see `condense.synthetic.latent_decoder`) published none.
"""

import logging
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from condense.core.types import ClassMajor, Forward
from condense.core.words import duration

log = logging.getLogger("condense")

BLOCKS = 8                                 # images are compared by the means of 8 x 8 blocks
ROUNDS = 20                                # of k-means
LR, MINIBATCH = 1e-3, 512                  # of Adam; codes at a time
READ = 4096                                # images that are read at a time
TIMED = 3                                  # steps, after the first, from which it is told how long all of them take
LONG_S = 10                                # of less nothing is told
TINY = 1e-12                               # chance of a point that is where another was drawn, over one at distance 1


def regression_targets(batch: ClassMajor, codes: int, number: int, rng: torch.Generator) -> Int[Tensor, "k d"]:
    """Return the positions in `batch` (class-major, `counts` of each class) that codes are to show: (K M, D) int64.

    Each class has M = `codes` rows of D = `number` images, all different, so it needs D M of them. The images of a
    row resemble one another: k-means of the class, on the means of 8 x 8 blocks of an image, finds M clusters, each of
    which gives the D members nearest to its centre; what it lacks are the nearest to it that no cluster took. A row
    goes from dark to bright, so that a decoder is given dark images, or bright ones, by every code.
    """
    points, brightness = _looks(batch)
    rows, first = [], 0
    for count in batch.counts:
        part = slice(first, first + count)
        members = similar_rows(points[part], codes, number, rng)                 # (M, D)
        order = brightness[part][members].argsort(dim=1, stable=True)
        rows.append(first + members.gather(1, order))
        first += count
    return torch.cat(rows)


def similar_rows(points: Float[Tensor, "n f"], groups: int, size: int, rng: torch.Generator) -> Int[Tensor, "m d"]:
    """Return `groups` x `size` different rows of `points` (n, d), each group's near one another; see above."""
    distances = torch.cdist(points, _centres(points, groups, rng))               # (n, M)
    own = F.one_hot(distances.argmin(1), groups).bool()
    nearest = distances.masked_fill(~own, torch.inf).topk(size, 0, largest=False)
    rows, there = nearest.indices.T.clone(), nearest.values.T.isfinite()         # (M, D)
    taken = torch.zeros(len(points), dtype=torch.bool)
    taken[rows[there]] = True
    for group in (~there.all(1)).nonzero().flatten().tolist():
        missing = ~there[group]
        others = distances[:, group].masked_fill(taken, torch.inf).topk(int(missing.sum()), largest=False).indices
        rows[group, missing], taken[others] = others, True
    return rows


def _looks(batch):
    """Return the block means (n, d) and the mean brightness (n,) of all images of `batch`, on the CPU."""
    points, brightness = [], []
    for first in range(0, sum(batch.counts), READ):
        images = batch.images(slice(first, first + READ))
        blocks = F.adaptive_avg_pool2d(images, [min(BLOCKS, side) for side in images.shape[2:]])
        points.append(blocks.flatten(1).cpu())
        brightness.append(images.mean((1, 2, 3)).cpu())
    return torch.cat(points), torch.cat(brightness)


def _centres(points, number, rng):
    """Return the centres (M, d) of k-means; one whose cluster empties stays where it is."""
    centres = points[_spread(points, number, rng)]
    for _ in range(ROUNDS):
        members = F.one_hot(torch.cdist(points, centres).argmin(1), number).to(points.dtype)       # (n, M)
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ points / sizes.clamp(min=1), centres)
    return centres


def _spread(points, number, rng):
    """Return `number` rows of `points`, drawn one by one in proportion to the squared distance from those before.

    Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007.
    """
    rows = [torch.randint(len(points), (1,), generator=rng)]
    distance = torch.full((len(points),), torch.inf)
    while len(rows) < number:
        distance = distance.minimum((points - points[rows[-1]]).square().sum(1))
        rows.append(torch.multinomial(distance + TINY, 1, generator=rng))
    return torch.cat(rows)


@torch.enable_grad()
def fit(decode: Forward, parameters: Sequence[Tensor], batch: ClassMajor, targets: Int[Tensor, "n d"], steps: int,
        rng: torch.Generator) -> None:
    """Let `decode` show the images of `batch` at `targets` (n, D): `steps` of Adam on the mean squared error.

    `decode` maps a tensor of rows of `targets` to images (m, D, C, H, W), differentiable in `parameters`. Minibatches
    of 512 rows go through all rows in random order, time and again; fewer rows than that are taken whole. What takes
    long is said before it goes on: the estimate of a run comes after this, and holds nothing of it.
    """
    targets = targets.to(batch.images(slice(0, 1)).device)
    optimizer, errors = torch.optim.Adam(parameters, lr=LR), []
    log.info("fitting codes and decoders to %d real images in %d steps (--warmup_steps)", targets.numel(), steps)
    minibatches = _announced(_minibatches(targets, steps, rng), steps, targets.device)
    for rows in tqdm(minibatches, "fitting", steps, unit="step", dynamic_ncols=True, disable=None):
        images = batch.images(targets[rows].flatten())
        error = F.mse_loss(decode(rows).flatten(0, 1), images.to(parameters[0].dtype))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors = [*errors[:1], error.detach()]
    optimizer.zero_grad()
    if errors:
        log.info("mean squared error %.3g, %.3g at first", errors[-1], errors[0])


def _announced(minibatches, steps, device):
    """Yield `minibatches`, and after a few of the `steps` on them say how long all take; the first one warms up."""
    for done, rows in enumerate(minibatches):
        if done == 1:
            start = _now(device)
        elif done == 1 + TIMED:
            per_step = (_now(device) - start) / TIMED
            if steps * per_step >= LONG_S:
                log.info("this start takes about %s: %d steps (%.3g s each), repeated in each experiment; shorter with "
                         "--warmup_steps", duration(steps * per_step), steps, per_step)
        yield rows


def _now(device):
    """Return the time in seconds at which `device` has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _minibatches(targets, steps, rng):
    """Yield `steps` tensors of rows of `targets`, on its device."""
    left = ()
    for _ in range(steps):
        if not len(left):
            whole = len(targets) <= MINIBATCH
            order = torch.arange(len(targets)) if whole else torch.randperm(len(targets), generator=rng)
            left = list(order.to(targets.device).split(MINIBATCH))
        yield left.pop(0)
