"""One way to look a name up in a registry, and to word the error when it is not there."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from condense.core.errors import InputError

Value = TypeVar("Value")


def nearest(name: object, known: Iterable) -> str | None:
    """Return the member of `known` spelled most like `name`, or None if none comes close."""
    by_lower = {str(key).lower(): str(key) for key in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def unknown(kind: str, name: object, known: Iterable) -> str:
    """Word the error for an unknown `name`: suggests the nearest known one and lists them all."""
    guess = nearest(name, known)
    hint = f"did you mean {guess}? " if guess else ""
    return f"unknown {kind} {name!r}; {hint}choose one of: {', '.join(map(str, known))}"


def lookup(table: Mapping[str, Value], name: str, kind: str) -> Value:
    """Return `table[name]`; raises ValueError naming the nearest known `kind` otherwise."""
    if name not in table:
        raise InputError(unknown(kind, name, table))
    return table[name]
