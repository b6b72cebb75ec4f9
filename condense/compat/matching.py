"""Gradient distances and loop lengths as the reference calls them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError
from condense.matching.gradients import gradient_distance, row_distance

# ipc -> inner loop; the outer loop is ipc itself
INNER_LOOPS = {10: 50, 20: 25, 30: 20, 40: 15, 50: 10}


def distance_wb(gwr: Float[Tensor, "*shape"], gws: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the row-wise cosine distance of one tensor's gradients, real and synthetic; 0 for 1-D ones."""
    return row_distance(gwr, gws)


def match_loss(gw_syn: Sequence[Tensor], gw_real: Sequence[Tensor], args: Any) -> Float[Tensor, ""]:
    """Return the distance of two lists of gradients, in parameter order: a scalar, differentiable in both.

    `args.dis_metric` is ours, mse or cos; raises ValueError for another.
    """
    return gradient_distance(gw_real, gw_syn, args.dis_metric)


def get_loops(ipc: int) -> tuple[int, int]:
    """Return (outer_loop, inner_loop) of gradient matching for `ipc` images per class.

    1, 10, 20, 30, 40 and 50 give the published values, to which the reference is limited. In between the
    outer loop is ipc and the inner one interpolated (50 below 10); beyond 50 both stay as at 50, which the
    authors report to have tried for larger sets. Raises ValueError below 1.
    """
    if ipc < 1:
        raise InputError(f"ipc must be 1 or larger, not {ipc}")
    if ipc == 1:
        return 1, 1                                        # after the only outer step no network is trained
    inner = np.interp(ipc, list(INNER_LOOPS), list(INNER_LOOPS.values()))
    return int(min(ipc, max(INNER_LOOPS))), round(float(inner))
