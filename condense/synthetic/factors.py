"""Stored tensors of a set that is not plain pixels, checked before they are used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from condense.core.errors import InputError

AGAIN = "save the set again"


def require_factors(factors: dict[str, Any], what: str, numbers: Sequence[str], tensors: Mapping[str, torch.dtype],
                    also: Sequence[str] = ()) -> None:
    """Raise ValueError in one line, which calls the set `what`, where a dict of factors lacks something.

    `numbers` name whole numbers from 1 on, `tensors` {name: dtype}, and `also` what else has to be there.
    """
    missing = [name for name in (*numbers, *also, *tensors) if name not in factors]
    if missing:
        raise InputError(f"{what} without {' and '.join(missing)}; {AGAIN}")
    for name in numbers:
        if type(factors[name]) is not int or factors[name] < 1:
            raise InputError(f"{name} of {what} is {factors[name]!r}, not a whole number from 1 on; {AGAIN}")
    for name, dtype in tensors.items():
        kind = getattr(factors[name], "dtype", type(factors[name]).__name__)
        if not torch.is_tensor(factors[name]) or kind != dtype:
            raise InputError(f"{name} of {what} is {kind}, not a tensor of {dtype}; {AGAIN}")
