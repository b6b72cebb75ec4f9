"""One option: its default, its help and the checks of its values, declared as a field of a frozen dataclass."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

# the headings of --help
DATA, SET, METHOD, EVALUATION, RUN = TITLES = ("what to condense", "synthetic set", "method", "evaluation", "run")
FORM = "parameterization"                  # the option that others may belong to


def option(default: Any, help: str, *, group: str = METHOD, choices: Sequence[str] | None = None,
           ge: float | None = None, gt: float | None = None, neutral: bool = False, dead: str | None = None,
           refused: str | Callable[[Any], str] | None = None, forms: Sequence[str] = (), aliases: Sequence[str] = (),
           positional: str | None = None) -> Any:
    """Declare one option of a config dataclass.

    `choices` lists the words allowed, `ge` the smallest number, `gt` a bound that numbers must exceed.
    `neutral` options (paths, how often to save) do not belong to what a result is. A `dead` option is one
    that does nothing in the original: accepted, hidden, and answered by the line in `dead`. A `refused` one is of the
    original and not offered here: hidden, and any value but the default is an error with that line, where {value}
    stands for it, or which a function of the config returns. `forms` names the parameterizations that alone have this
    option, `aliases` further names of it, as flags (-x of one letter) and as YAML keys.
    A field of type `tuple[str, ...]` (or float, int) takes several values, parted by spaces or commas; checks apply
    to each. `positional` is the word in --help for values that are given without a flag, one or more.
    """
    metadata = dict(help=help, group=group, choices=choices, ge=ge, gt=gt, neutral=neutral, dead=dead,
                    refused=refused, forms=forms, aliases=aliases, positional=positional)
    return dataclasses.field(default=default, metadata=metadata)


def is_hidden(field: dataclasses.Field) -> bool:
    """Say whether an option is one of the originals' that does nothing here, or is not offered."""
    return field.metadata["dead"] is not None or field.metadata["refused"] is not None


def has(config: Any, field: dataclasses.Field) -> bool:
    """Say whether `config` has the option at all: some belong to one parameterization."""
    return not field.metadata["forms"] or getattr(config, FORM) in field.metadata["forms"]


def dead_flags(config: Any) -> list[str]:
    """Return the lines that answer flags which do nothing in the original and were given."""
    return [f.metadata["dead"] for f in dataclasses.fields(config)
            if f.metadata["dead"] and getattr(config, f.name) != f.default]
