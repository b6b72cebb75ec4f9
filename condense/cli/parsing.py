"""From a command line to a config: YAML overrides defaults, flags override YAML, and --help.

Whatever cannot work is an error that names its mend.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from condense.cli.groups import in_order
from condense.cli.option import FORM, TITLES, has, is_hidden
from condense.cli.values import checked
from condense.cli.yaml_file import load_yaml
from condense.core.errors import OptionError
from condense.core.registry import nearest


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        if message.startswith("the following arguments are required"):
            message = f"{message}; a flag that takes several values takes all that follow, so put them in front"
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            flag = message[len(prefix):].split()[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            guess = nearest(flag.split("=")[0], known)
            message = f"unknown flag {flag}; " + (f"did you mean {guess}? " if guess else "") + "see --help"
        raise OptionError(message)


def parse(config_class: type[Any], argv: Sequence[str] | None = None, description: str | None = None,
          defaults: Mapping[str, Any] | None = None) -> Any:
    """Return a `config_class` from command line `argv`; raises OptionError, or exits 0 after --help.

    `defaults` {name: value} take the place of the class's own.
    """
    values = vars(_parser(config_class, description).parse_intermixed_args(sys.argv[1:] if argv is None else argv))
    base = load_yaml(config_class, values["config"]) if values.get("config") else {}
    return build(config_class, {**(defaults or {}), **base, **values})


def is_given(config_class: type[Any], name: str, argv: Sequence[str] | None = None) -> bool:
    """Say whether the command line `argv`, or the YAML file that it names, gives option `name` of `config_class`.

    False where it cannot be read, which `parse` refuses.
    """
    argv = sys.argv[1:] if argv is None else argv
    field = config_class.__dataclass_fields__[name]
    if {f"--{each}" for each in (name, *field.metadata["aliases"])} & {word.partition("=")[0] for word in argv}:
        return True
    reader = _Parser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config")
    try:
        path = reader.parse_known_args(argv)[0].config
        return path is not None and name in load_yaml(config_class, path)
    except OptionError:                                   # whoever parses the whole line says what is wrong
        return False


def build(config_class: type[Any], values: dict[str, Any]) -> Any:
    """Return `config_class(**values)` after checking every value; raises OptionError naming the flag."""
    hints = get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if field.name in values:
            values[field.name] = checked(field, hints[field.name], values[field.name], f"--{field.name}")
    config = config_class(**values)
    for field in dataclasses.fields(config_class):
        if field.metadata["refused"] and getattr(config, field.name) != field.default:
            raise OptionError(_refusal(config, field))
        if field.name in values and not has(config, field):
            raise OptionError(f"--{field.name} belongs to --{FORM} {' or '.join(field.metadata['forms'])}, not "
                              f"{getattr(config, FORM)}; leave it out")
    return config


def _refusal(config, field):
    """Return the line that refuses a flag of the original: a text with {value}, or a function of the config."""
    line = field.metadata["refused"]
    return line(config) if callable(line) else line.format(value=getattr(config, field.name))


def _parser(config_class, description):
    parser = _Parser(description=description, argument_default=argparse.SUPPRESS,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = {title: parser.add_argument_group(title) for title in TITLES}
    hints = get_type_hints(config_class)
    for field in in_order(config_class):
        meta, names = field.metadata, (field.name, *field.metadata["aliases"])
        flags = [f"--{name}" if len(name) > 1 else f"-{name}" for name in names]
        text = argparse.SUPPRESS if is_hidden(field) else _help(field).replace("%", "%%")
        if hints[field.name] is bool:
            groups[meta["group"]].add_argument(*flags, action=argparse.BooleanOptionalAction, help=text)
        elif get_origin(hints[field.name]) is tuple:
            word = _metavar(field, get_args(hints[field.name])[0])
            named, shown = ([field.name], meta["positional"]) if meta["positional"] else (flags, (word, "VALUE"))
            groups[meta["group"]].add_argument(*named, nargs="+", metavar=shown, help=text)
        else:
            groups[meta["group"]].add_argument(*flags, metavar=_metavar(field, hints[field.name]), help=text)
    return parser


def _help(field):
    shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    default = "" if field.default in (None, False, ()) else f" [{shown}]"
    return field.metadata["help"] + default


def _metavar(field, hint):
    if field.metadata["choices"] and not {int, float} & set(get_args(hint)):
        return "{" + ",".join(field.metadata["choices"]) + "}"
    kinds = get_args(hint) or (hint,)
    return next((word for kind, word in ((float, "X"), (int, "N"), (str, "NAME")) if kind in kinds), "VALUE")
