"""The options of the forms of the synthetic set, which only scripts know, joined to a script's own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from condense.cli.option import FORM, SET, option


def with_forms(config_class: type[Any], forms: Mapping[str, Any]) -> type[Any]:
    """Return `config_class` with the options of parameterizations `forms` {name: synthetic set class}.

    `--parameterization` and `--init` allow what they offer, unless the script has choices of its own; each of their
    options is a field, of its `type` where it declares one, else of its default's; and `--save` belongs to those that
    store something else than images.
    """
    own = {}
    for form, kind in forms.items():
        for name, declared in kind.OPTIONS.items():
            own.setdefault(name, {**declared, "forms": ()})["forms"] += (form,)
    known = {f.name: f for f in dataclasses.fields(config_class)}
    if FORM not in known:                                 # a script whose sets have one form
        return config_class
    starts = dict.fromkeys(how for kind in forms.values() for how in kind.INITS)
    changes = {FORM: {"choices": known[FORM].metadata["choices"] or tuple(forms)},
               "init": {"choices": known["init"].metadata["choices"] or tuple(starts)},
               "save": {"forms": tuple(form for form, kind in forms.items() if kind.HAS_FACTORS)}}
    fields = [(name, str, dataclasses.field(default=known[name].default, metadata={**known[name].metadata, **change}))
              for name, change in changes.items()]
    fields += [(name, declared.pop("type", type(declared["default"])), option(**declared, group=SET))
               for name, declared in own.items()]
    return dataclasses.make_dataclass(config_class.__name__, fields, bases=(config_class,), frozen=True)
