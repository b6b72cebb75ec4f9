"""Parameterizations of the synthetic set and their registry."""

from condense.registry import lookup, unknown
from condense.synthetic.base import SyntheticSet
from condense.synthetic.low_rank import LowRank
from condense.synthetic.pixels import Pixels

# A new form of the synthetic set is a file beside these, and a line here.
PARAMETERIZATIONS = {"pixels": Pixels, "low_rank": LowRank}

__all__ = ["PARAMETERIZATIONS", "LowRank", "Pixels", "SyntheticSet", "build_synthetic", "restore_synthetic"]


def build_synthetic(parameterization, real, ipc, init, rng, **options):
    """Return a synthetic set that stores `ipc` images per class at most, on `real`'s device, started as `init` says.

    `options` are the parameterization's own. Raises ValueError for an unknown parameterization or start, ipc below
    1, a budget that holds no image, and where `init` is 'real' for a class with too few real images.
    """
    kind = lookup(PARAMETERIZATIONS, parameterization, "parameterization")
    if ipc < 1:
        raise ValueError(f"--ipc must be 1 or larger, not {ipc}")
    if init not in kind.INITS:
        raise ValueError(f"--init with --parameterization {parameterization}: {unknown('start', init, kind.INITS)}")
    channel, num_classes, im_size = real.spec
    synthetic = kind(num_classes, ipc, channel, im_size, **options)
    if init == "real":
        _require_images(real, max(synthetic.counts), ipc)
    return synthetic.to(real.device).init_from(real, init, rng)


def _require_images(real, number, ipc):
    smallest = min(real.class_counts)
    if number > smallest:
        name = real.class_names[real.class_counts.index(smallest)]
        fits = ipc * smallest // number
        mend = f"use --ipc {fits} or less, or --init noise" if fits else "use --init noise"
        raise ValueError(f"--ipc {ipc} with --init real needs {number} images of every class, but class {name!r} has "
                         f"{smallest}; {mend}")


def restore_synthetic(factors):
    """Return the synthetic set whose `factors()` these are; raises ValueError where they are not whole."""
    name = factors.get("parameterization") if isinstance(factors, dict) else None
    return lookup(PARAMETERIZATIONS, name, "parameterization").from_factors(factors)
