"""YAML files of options."""

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from condense.cli.values import checked
from condense.core.errors import OptionError
from condense.core.registry import unknown


def load_yaml(config_class: type[Any], path: str | Path) -> dict[str, Any]:
    """Return the options in YAML file `path`; raises OptionError naming file, key and the nearest known key."""
    try:
        with open(path, "rb") as file:                   # bytes: YAML says itself how it is encoded
            content = yaml.safe_load(file) or {}
    except OSError as error:
        raise OptionError(f"--config {path}: {error.strerror}; name an existing YAML file") from None
    except yaml.YAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise OptionError(f"{path}:{line} is not YAML; write one 'key: value' per line") from None
    if not isinstance(content, dict):
        raise OptionError(f"{path}: holds no options; write one 'key: value' per line")
    fields = {key: f for f in dataclasses.fields(config_class) for key in (f.name, *f.metadata["aliases"])}
    hints, values = get_type_hints(config_class), {}
    for key, value in content.items():
        if key not in fields or key == "config":
            raise OptionError(f"{path}: {unknown('key', key, [name for name in fields if name != 'config'])}")
        name = fields[key].name
        if fields[key].metadata["positional"]:
            raise OptionError(f"{path}: {key} belongs on the command line; remove it from the file")
        if name in values:
            raise OptionError(f"{path}: {key} is another name of an option that the file already has; keep one of them")
        values[name] = checked(fields[key], hints[name], value, f"{path}: {key}")
    return values
