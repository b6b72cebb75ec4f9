"""Parameterizations of the synthetic set and their registry."""

import math
from collections.abc import Callable
from typing import Any

import torch

from condense.core.errors import InputError
from condense.core.registry import lookup, unknown
from condense.data.real import RealBatch, RealData
from condense.synthetic.base import SyntheticSet
from condense.synthetic.hallucinator import HallucinatedBases
from condense.synthetic.latent_decoder import LatentDecoder
from condense.synthetic.low_rank import LowRank
from condense.synthetic.memory import AddressableMemory
from condense.synthetic.multi_formation import MultiFormation
from condense.synthetic.optimisers import build_optimizer
from condense.synthetic.pixels import Pixels

# A new form of the synthetic set is a file in this folder and a line here.
PARAMETERIZATIONS: dict[str, Any] = {"pixels": Pixels, "low_rank": LowRank, "memory": AddressableMemory,
                                     "multi_formation": MultiFormation, "hallucinator": HallucinatedBases,
                                     "latent_decoder": LatentDecoder}

__all__ = ["PARAMETERIZATIONS", "AddressableMemory", "HallucinatedBases", "LatentDecoder", "LowRank", "MultiFormation",
           "Pixels", "SyntheticSet", "build_optimizer", "build_synthetic", "outline_synthetic", "restore_synthetic",
           "stored_factors", "stores_images"]


def build_synthetic(parameterization: str, real: RealData, ipc: int, init: str | Callable[[int], RealBatch],
                    rng: torch.Generator, **options: Any) -> SyntheticSet:
    """Return a synthetic set that stores `ipc` images per class at most, on `real`'s device, started as `init` says.

    `init` is one of the form's `INITS`, or a function: of a number, it returns the batch of so many real images of
    each class to start from. `options` are the parameterization's own. Raises ValueError for an unknown
    parameterization or start, ipc below 1, a budget that holds no image, and where `init` is 'real' for a class with
    too few real images.
    """
    kind = _form(parameterization, ipc)
    if not callable(init) and init not in kind.INITS:
        raise InputError(f"--init with --parameterization {parameterization}: {unknown('start', init, kind.INITS)}")
    channel, num_classes, im_size = real.spec
    synthetic = kind(num_classes, ipc, channel, im_size, **options)
    if init == "real":
        _require_images(parameterization, real, ipc, synthetic.images_per_epoch, options)
    synthetic.to(real.device)
    if not callable(init):
        return synthetic.init_from(real, init, rng)
    synthetic.init_from(real, "noise", rng)                # what real images do not start: networks of the set
    return synthetic.start_from(init(synthetic.images_per_epoch))


def outline_synthetic(parameterization: str, real: Any, ipc: int, **options: Any) -> SyntheticSet:
    """Return the set that `build_synthetic` would start, on the meta device: its shape and checks, not its memory.

    Raises ValueError for an unknown parameterization, ipc below 1, and a budget that holds no image.
    """
    kind = _form(parameterization, ipc)
    channel, num_classes, im_size = real.spec
    with torch.device("meta"):
        return kind(num_classes, ipc, channel, im_size, **options)


def stores_images(parameterization: str, **options: Any) -> bool:
    """Say whether a form with these options stores the images that networks see, as they are: before any data is read.

    Raises ValueError for an unknown parameterization.
    """
    return lookup(PARAMETERIZATIONS, parameterization, "parameterization").stores_images(**options)


def _form(parameterization, ipc):
    kind = lookup(PARAMETERIZATIONS, parameterization, "parameterization")
    if ipc < 1:
        raise InputError(f"--ipc must be 1 or larger, not {ipc}")
    return kind


def _needed(parameterization, real, ipc, options):
    """Return how many real images of each class a set of `ipc` starts from; infinity where there is none."""
    try:
        return outline_synthetic(parameterization, real, ipc, **options).images_per_epoch
    except ValueError:
        return math.inf


def _require_images(parameterization, real, ipc, number, options):
    """Raise ValueError where a class has less than `number` images, naming the largest ipc below that has a start.

    Each one is tried: the number is no multiple of ipc, and a smaller ipc may need more images, or hold none.
    """
    smallest = min(real.class_counts)
    if number <= smallest:
        return
    fit = [fewer for fewer in range(ipc - 1, 0, -1) if _needed(parameterization, real, fewer, options) <= smallest]
    below = " or less" if fit and len(fit) == fit[0] > 1 else ""
    mend = f"--ipc {fit[0]}{below}, or --init noise" if fit else "--init noise"
    name = real.class_names[real.class_counts.index(smallest)]
    raise InputError(f"--ipc {ipc} with --init real needs {number} images of every class, but class {name!r} has "
                     f"{smallest}; use {mend}")


def stored_factors(synthetic: SyntheticSet) -> dict[str, Any] | None:
    """Return what a result file holds of a set that stores something else than images, soft labels included."""
    factors = synthetic.factors()
    logits = synthetic.own_labels.logits
    if factors is None or logits is None:
        return factors
    return {**factors, "label_logits": logits.detach().cpu().clone()}


def restore_synthetic(factors: Any) -> SyntheticSet:
    """Return the synthetic set whose `stored_factors` these are; raises ValueError where they are not whole."""
    name: Any = factors.get("parameterization") if isinstance(factors, dict) else None
    synthetic = lookup(PARAMETERIZATIONS, name, "parameterization").from_factors(factors)
    if "label_logits" in factors:
        shape = len(synthetic.hard_labels) // synthetic.views, len(synthetic.counts)
        synthetic.own_labels.use_soft(_checked_logits(factors["label_logits"], shape))
    return synthetic


def _checked_logits(logits, shape):
    """Return soft labels of a file; raises ValueError where they are no finite numbers of `shape` (images, classes)."""
    fit = torch.is_tensor(logits) and logits.is_floating_point() and logits.shape == shape
    if not fit or not bool(logits.isfinite().all()):
        raise InputError(f"label_logits are not {shape[1]} finite numbers for each of {shape[0]} images; save the set "
                         "again")
    return logits
