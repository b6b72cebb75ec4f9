"""Values of options: converted from words to numbers, and checked against choices and ranges."""

import dataclasses
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from condense.core.errors import OptionError
from condense.core.registry import unknown


def checked(field: dataclasses.Field, hint: Any, value: Any, name: str) -> Any:
    """Return `value` as the field's type; raises OptionError where type, choice or range do not fit."""
    if get_origin(hint) is tuple:
        return tuple(checked(field, get_args(hint)[0], part, name) for part in _parts(value, field))
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if isinstance(value, bool) and str(value) in (field.metadata["choices"] or ()):
        value = str(value)                                 # YAML reads the words True and False as values
    value = _convert(kinds, value, name)
    choices, ge, gt = (field.metadata[key] for key in ("choices", "ge", "gt"))
    if choices and isinstance(value, str) and value not in choices:
        raise OptionError(f"{name}: {unknown('value', value, choices)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if ge is not None and not value >= ge:
            raise OptionError(f"{name} must be {ge} or larger, not {value}")
        if gt is not None and not value > gt:
            raise OptionError(f"{name} must be larger than {gt}, not {value}")
    return value


def _parts(value, field):
    """Return the values of a list as they were given: parted by YAML, by spaces or, in flags, by commas."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if field.metadata["positional"]:                       # paths may hold commas
        return list(given)
    return [part for word in given for part in (word.split(",") if isinstance(word, str) else [word])]


def _convert(kinds, value, name):
    if NoneType in kinds and value in (None, "none"):
        return None
    if bool in kinds and isinstance(value, bool):
        return value
    for kind in (int, float):
        if kind in kinds and not isinstance(value, bool):
            try:
                number = kind(value)
                finite = number - number == 0              # false for inf and nan, exact for large whole numbers
                if finite and (isinstance(value, str) or number == value):
                    return number
            except (TypeError, ValueError, OverflowError):
                pass
    if str in kinds and (isinstance(value, str) or value is None):
        return "none" if value is None else value          # YAML writes none as null
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words = " or ".join(wanted[kind] for kind in kinds if kind in wanted)
    raise OptionError(f"{name} must be {words}, not {value!r}")
