"""Write docs/flags.md, the page of all options, from the scripts' own config classes.

    python docs/make_flags.py

An option that several scripts have in the same form is printed once. Each script's own table has what is left. A script
that runs another one with other defaults (main_LoDM.py) prints what differs.
"""

import dataclasses
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from condense.cli import with_forms  # noqa: E402
from condense.cli.groups import in_order  # noqa: E402
from condense.cli.option import is_hidden  # noqa: E402
from condense.methods import METHODS  # noqa: E402
from condense.synthetic import PARAMETERIZATIONS  # noqa: E402

PAGE = ROOT / "docs" / "flags.md"
OTHERS = ("buffer.py", "evaluate.py", "export.py", "continual.py", "select_coreset.py")
SEVERAL = 3                                # scripts with the same option, from which on it is printed once
HEAD = "| flag | default | meaning |\n|---|---|---|"


def scripts():
    """Return the names of all scripts with options, those of methods first."""
    return list(dict.fromkeys([*(method.script for method in METHODS.values()), *OTHERS]))


def config_of(script):
    """Return the config class of `script` as its command line has it, options of forms included."""
    return with_forms(importlib.import_module(script.removesuffix(".py")).Config, PARAMETERIZATIONS)


def hosts():
    """Return {script: the script whose config class it inherits}, for scripts that are another one's preset."""
    own = {script: importlib.import_module(script.removesuffix(".py")).Config for script in scripts()}
    return {script: host for script, kind in own.items() for host, other in own.items()
            if other in kind.__mro__[1:]}


def rows_of(config):
    """Return {name: (flags, default, meaning)} of the options that do something, in their order."""
    return {field.name: (_flags(field), _default(field), _meaning(field)) for field in in_order(config)
            if not is_hidden(field)}


def is_of_forms(field):
    """Whether the option belongs to some parameterizations alone."""
    return bool(field.metadata["forms"])


def _flags(field):
    if field.metadata["positional"]:
        return f"`{field.metadata['positional']} ...`"
    names = [f"`--{name}`" if len(name) > 1 else f"`-{name}`" for name in (field.name, *field.metadata["aliases"])]
    return " ".join(names)


def _default(field):
    value = field.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def _meaning(field):
    text, choices = field.metadata["help"], field.metadata["choices"] or ()
    unsaid = [choice for choice in choices if choice not in text]
    if unsaid and len(choices) > 1:                       # a single word stands next to numbers
        text += f" (one of: {', '.join(choices)})"
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def table(rows):
    """Return a Markdown table of (flags, default, meaning)."""
    return "\n".join([HEAD, *(f"| {' | '.join(row)} |" for row in rows)])


def shared_rows(configs):
    """Return {name: row} of the options that SEVERAL of `configs` have in the same form."""
    found = [(name, row) for config in configs for name, row in _common(config).items()]
    return {name: row for name, row in dict.fromkeys(found) if found.count((name, row)) >= SEVERAL}


def _common(config):
    of_forms = {field.name for field in dataclasses.fields(config) if is_of_forms(field)}
    return {name: row for name, row in rows_of(config).items() if name not in of_forms}


def rows_of_forms(configs):
    """Return the rows of the options that some parameterizations alone have, each with those that have it."""
    found = {}
    for field in (field for config in configs for field in dataclasses.fields(config) if is_of_forms(field)):
        forms = ", ".join(f"`{form}`" for form in field.metadata["forms"])
        found.setdefault(field.name, (_flags(field), _default(field), f"{forms}: {_meaning(field)}"))
    return list(found.values())


def section(script, config, shared, host=None):
    """Return the section of one script: what differs from `host` (name, its rows), or from the shared options."""
    rows, against = _common(config), host[1] if host else shared
    own = [row for name, row in rows.items() if against.get(name) != row]
    lacking = [f"`--{name}`" for name in against if name not in rows]
    parts = [f"## {script}", first_line(script)]
    if host:
        parts.append(f"All options of [{host[0]}](#{anchor(host[0])}), with these defaults of its own:")
    if own:
        parts.append(table(own))
    if lacking:
        parts.append(f"Shared options that it does not have: {', '.join(lacking)}.")
    dead = [] if host else [field for field in dataclasses.fields(config) if field.metadata["dead"]]
    if dead:
        parts.append("Flags of the original program that are accepted and answered with one line: "
                     + ", ".join(_flags(field) for field in dead) + ".")
    return "\n\n".join(parts)


def first_line(script):
    """Return what the script says of itself in its first line."""
    return importlib.import_module(script.removesuffix(".py")).__doc__.strip().splitlines()[0]


def anchor(title):
    """Return the anchor that GitHub gives to a heading."""
    return title.lower().replace(".", "").replace(" ", "-")


def page():
    """Return the whole text of docs/flags.md."""
    configs, presets = {script: config_of(script) for script in scripts()}, hosts()
    whole = [config for script, config in configs.items() if script not in presets]
    shared = shared_rows(whole)
    parts = ["# All options", "Written by `python docs/make_flags.py` from the scripts; do not edit it by hand.\n"
             "`python SCRIPT.py --help` prints the same for one script. Every flag is also a key of a `--config` "
             "file, without the dashes.\nA flag that is on or off has a second form: `--zca` and `--no-zca`. "
             "`–` means: not given.",
             "## Shared options", "Several scripts have these in the same form. A script that has another default, or "
             "lacks one, says so in its section.", table(shared.values()),
             "## Options of forms", "These belong to one or a few values of `--parameterization`. With any other "
             "they are refused. A script has them if it has `--parameterization`.", table(rows_of_forms(whole))]
    for script, config in configs.items():
        host = presets.get(script)
        parts.append(section(script, config, shared, (host, _common(configs[host])) if host else None))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
