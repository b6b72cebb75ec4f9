"""The few small images whose enlarged combinations approximate many real ones best."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from condense.data.real import RealBatch

READ = 4096                                # images that are read at a time
NEGLIGIBLE = 1e-7                          # of the largest singular value: float32's rounding


def principal_images(batch: RealBatch, number: int,
                     scale: int) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "n b"]]:
    """Return `number` images (B, C, H/s, W/s) and coefficients (n, B) that approximate the n images of `batch`.

    Both float64, on the CPU. Coefficients times images, enlarged bilinearly by `scale`, which divides both sides, is
    the nearest to the batch in least squares that there is: what enlarged images can show of it is a projection, and
    of that the truncated SVD is best (Eckart & Young, 1936). Its singular values S are shared out, half to each side:
    coefficients have A^T A = S, and so have the enlarged images. Their signs are up to the decomposition. Where fewer
    images than `number` make up the batch, the others are images of the batch, with coefficients 0, so that
    nothing is stored that gradients would not reach.
    """
    across = [_axis(side // scale, scale) for side in batch.images(slice(0, 1)).shape[2:]]
    shown = torch.cat([_projected(batch.images(slice(first, first + READ)), across)
                       for first in range(0, len(batch), READ)])                 # (n, C, h, w)
    rows = shown.flatten(1)
    directions = _principal_directions(rows, number)       # (C h w, at most B), orthonormal
    coefficients = rows @ directions
    singular = coefficients.norm(dim=0)
    used = int((singular > NEGLIGIBLE * singular.max()).sum())
    root = singular[:used].sqrt()
    spare = shown[torch.linspace(0, len(shown) - 1, number - used).long()]
    images = torch.cat(((root[:, None] * directions[:, :used].T).unflatten(1, shown.shape[1:]), spare))
    return _shrunk(images, across), F.pad(coefficients[:, :used] / root, (0, number - used))


def _axis(small, scale):
    """Return Q (small scale, small) and R (small, small): enlarging a line of `small` pixels is x -> Q R x."""
    units = torch.eye(small, dtype=torch.float64)[None]
    enlarged = F.interpolate(units, scale_factor=scale, mode="linear", align_corners=False)[0].T
    return torch.linalg.qr(enlarged)


def _projected(images, across):
    """(n, C, H, W) -> (n, C, h, w): coordinates of what enlarged images can show, in an orthonormal basis."""
    (down, _), (right, _) = across
    return down.T @ images.detach().cpu().double() @ right


def _shrunk(coordinates, across):
    """Return the small images that `_projected` gives these coordinates of, once they are enlarged."""
    (_, down), (_, right) = across
    upright = torch.linalg.solve_triangular(down, coordinates, upper=True)
    return torch.linalg.solve_triangular(right, upright.mT, upper=True).mT


def _principal_directions(rows, number):
    """Return the first principal directions of `rows` (n, d), uncentred, as columns: `number` or all there are.

    From the smaller of the two products of `rows` with themselves: there are many more images than pixels, or fewer.
    """
    n, d = rows.shape
    if d <= n:
        return torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :number]
    weights = torch.linalg.eigh(rows @ rows.T).eigenvectors.flip(1)[:, :number]
    return torch.linalg.qr(rows.T @ weights).Q
