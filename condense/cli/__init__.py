"""The command line: options in groups, YAML files, --help, and the one place that exits."""

from condense.cli.forms import with_forms
from condense.cli.groups import (
    CellOptions,
    CommandOptions,
    ComputeOptions,
    DataOptions,
    EvaluationOptions,
    ResultOptions,
    RunOptions,
    ScoringOptions,
    SetOptions,
    SourceOptions,
    redefault,
)
from condense.cli.option import dead_flags, option
from condense.cli.parsing import build, is_given, parse
from condense.core.errors import OptionError

__all__ = ["CellOptions", "CommandOptions", "ComputeOptions", "DataOptions", "EvaluationOptions", "OptionError",
           "ResultOptions", "RunOptions", "ScoringOptions", "SetOptions", "SourceOptions", "build", "dead_flags",
           "is_given", "option", "parse", "redefault", "with_forms"]
