"""Parameterizations of the synthetic set and their registry."""

from condense.registry import lookup
from condense.synthetic.base import SyntheticSet
from condense.synthetic.pixels import Pixels

PARAMETERIZATIONS = {"pixels": Pixels}

__all__ = ["PARAMETERIZATIONS", "SyntheticSet", "build_synthetic"]


def build_synthetic(parameterization, real, ipc, init, rng):
    """Return a synthetic set of `ipc` images per class on `real`'s device, initialised as `init` says.

    Raises ValueError for an unknown parameterization, ipc below 1, and a class with fewer than `ipc` real
    images where `init` is 'real'.
    """
    kind = lookup(PARAMETERIZATIONS, parameterization, "parameterization")
    if ipc < 1:
        raise ValueError(f"--ipc must be 1 or larger, not {ipc}")
    smallest = min(real.class_counts)
    if init == "real" and ipc > smallest:
        name = real.class_names[real.class_counts.index(smallest)]
        raise ValueError(f"--ipc {ipc} with --init real needs {ipc} images of every class, but class {name!r} has "
                         f"{smallest}; use --ipc {smallest} or less, or --init noise")
    channel, num_classes, im_size = real.spec
    return kind(num_classes, ipc, channel, im_size).to(real.device).init_from(real, init, rng)
