"""How a script starts: its options with those of the forms of the synthetic set, its errors as the command line's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from condense.cli import with_forms
from condense.cli.main import command_line
from condense.synthetic import PARAMETERIZATIONS


def run_script(main: Callable, config_class: type, description: str | None, argv: Sequence[str] | None = None,
               defaults: Mapping[str, Any] | None = None) -> None:
    """Parse the command line into `config_class`, with the options of every form, call `main(cfg)` and exit.

    `defaults` {name: value} take the place of the class's own. Exit codes are those of `command_line`.
    """
    command_line(main, with_forms(config_class, PARAMETERIZATIONS), description, argv, defaults)
