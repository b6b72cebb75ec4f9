"""Which script makes a method's part of the memory, with which of its options."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, reduce
from operator import or_
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin, get_type_hints

from condense.cli import build, option, with_forms
from condense.cli.groups import SHARED as GROUPED
from condense.cli.groups import Options
from condense.cli.option import METHOD, is_hidden
from condense.core.errors import OptionError
from condense.core.registry import unknown
from condense.data.real import RealData
from condense.methods import EXPERTS_SCRIPT, Method
from condense.synthetic import PARAMETERIZATIONS

SHARED = ("dataset", "data_path", "im_size", "resize", "subset", "model", "ipc", "seed", "device", "precision",
          "compile", "deterministic", "chunk", "checkpoint_every", "progress", "debug")
SCORING = ("lr_net", "batch_train", "dsa_strategy")        # which some methods condense with, too
OWN_VALUES = {"resume": True, "overwrite": False}          # what is finished is kept; --overwrite removes it beforehand
# An evaluation that costs next to nothing: what a step's set is worth is measured here, with the other steps' sets.
ONE_SET = {"num_exp": 1, "num_eval": 1, "epoch_eval_train": 0, "eval_every": 0, "select_on": "none"}
NOT_PASSED_ON = {"method", "protocol", "parameterization", "num_exp", "eval_mode", "eval_every", "select_on"}
OF_EXPERTS = ("num_experts",)              # neutral there, but wanted here


@dataclasses.dataclass(frozen=True)
class StepMethod:
    """A method that makes a step's part of the memory: a `row` of `condense.methods`, started by its script.

    `form` is the parameterization where it is not the script's own. A script may have a `check` of its options.
    """

    row: Method
    form: str | None = None

    @property
    def script(self) -> ModuleType:
        """The module of the method's script, with Config and main."""
        return self.row.load()

    @property
    def experts(self) -> Any:
        """The module of the script that has to run before, with `settled` options and the `recipe_of` these; None."""
        return EXPERTS_SCRIPT.load() if self.row.experts else None

    @property
    def config_class(self) -> type[Options]:
        return _with_forms(self.script.Config)

    @property
    def has_form(self) -> bool:
        """Whether it learns a synthetic set; others choose real images."""
        return "parameterization" in _fields(self.config_class)

    def options(self) -> set[str]:
        """Return the names of the options that it takes."""
        names = {f.name for script in (self.script, self.experts) if script
                 for f in _fields(_with_forms(script.Config)).values() if _is_passed_on(f)}
        return {name for name in names if self._is_of_its_form(name)}

    def _is_of_its_form(self, name):
        field = _fields(self.config_class).get(name)
        forms = field.metadata["forms"] if field else ()
        return not forms or self.parameterization in forms

    @property
    def parameterization(self) -> str | None:
        return self.form or getattr(self.script.Config, "parameterization", None)

    def images_per_class(self, real: RealData, ipc: int, given: dict[str, Any], num_classes: int) -> int:
        """Return how many images of a class it decodes to, where `ipc` are stored; `given` options count.

        So do the `num_classes` of a step where a form shares something among them.
        """
        if not self.has_form:
            return ipc
        kind: Any = PARAMETERIZATIONS[self.parameterization]                # type: ignore[index]
        channel, _, im_size = real.spec
        own = {name: given[name] for name in kind.OPTIONS if name in given}
        return kind(num_classes, ipc, channel, im_size, **own).counts[0]

    def cell(self, cfg: Any, classes: Sequence[int], folder: Path, given: dict[str, Any]) -> Options:
        """Return the script's options for one step: `classes` alone, into `folder`; raises OptionError as it would."""
        own = {name: value for name, value in given.items() if name in self.options()}
        form = {"parameterization": self.form} if self.form else {}
        return _built(self.config_class, {**self._shared(cfg, classes), **ONE_SET, **self.row.options, **form, **own,
                                          "save_path": str(folder), "buffer_path": str(folder.parent / "experts")})

    def check(self, cfg: Any, classes: Sequence[int], folder: Path, given: dict[str, Any]) -> None:
        """Raise ValueError for options that its scripts would refuse before they start."""
        cell = self.cell(cfg, classes, folder, given)
        if hasattr(self.script, "check"):
            self.script.check(cell)
        if self.experts:
            self.experts.recipe_of(self.experts.settled(self.experts_cell(cfg, classes, cell, given)))

    def experts_cell(self, cfg: Any, classes: Sequence[int], cell: Any, given: dict[str, Any]) -> Any:
        """Return the options of `experts` for the segments that `cell` matches."""
        own = {name: value for name, value in given.items() if name in self.options()}
        last = cell.max_start_epoch - 1 + cell.expert_epochs
        return _built(self.experts.Config, {"keep_epochs": last, **self._shared(cfg, classes), **own,
                                            "checkpoint_every": 60, "buffer_path": cell.buffer_path})

    def _shared(self, cfg, classes):
        return {**{name: getattr(cfg, name) for name in (*SHARED, *self.row.shares)}, **OWN_VALUES,
                "classes": ",".join(map(str, classes))}


@cache
def _with_forms(config_class):
    return with_forms(config_class, PARAMETERIZATIONS)


def _built(config_class, values):
    """Return `config_class` of those `values` that it has."""
    known = _fields(config_class)
    return build(config_class, {name: value for name, value in values.items() if name in known})


def _fields(config_class):
    """Return {name: field} of the options of a config class, without what it switches off."""
    return {field.name: field for field in dataclasses.fields(config_class)}


def _is_passed_on(field):
    """Say whether a script's option is one that a user may set for the condensation of all steps."""
    meta = field.metadata
    shared = field.name in GROUPED and field.name != "init"
    hidden = is_hidden(field) or (meta["neutral"] and field.name not in OF_EXPERTS)
    return not (shared or hidden or field.name in (*NOT_PASSED_ON, *SHARED, *SCORING))


def with_method_options(config_class: type[Options], methods: Mapping[str, StepMethod]) -> type[Options]:
    """Return `config_class` with the options of all `methods` {name: StepMethod}, each None (or off) if not given.

    None leaves a method its own default. Choices are those of all that have it; each script checks its own, and bounds.
    """
    found = {}
    scripts = [script for method in methods.values() for script in (method.script, method.experts) if script]
    for script in dict.fromkeys(scripts):
        full = _with_forms(script.Config)
        hints = get_type_hints(full)
        for field in filter(_is_passed_on, dataclasses.fields(full)):
            if field.name not in _fields(config_class) and get_origin(hints[field.name]) is not tuple:
                found.setdefault(field.name, []).append((hints[field.name], field, script))
    added = [_optional(name, *zip(*places)) for name, places in found.items()]
    return dataclasses.make_dataclass(config_class.__name__, added, bases=(config_class,), frozen=True,
                                      namespace={"METHOD_OPTIONS": tuple(found)})


def _optional(name, hints, fields, scripts):
    """Return (name, type, field) of an option that the `scripts` have as `fields`, not given by default."""
    own = [script for script in scripts
           if not any(issubclass(script.Config, other.Config) for other in scripts if other is not script)]
    text = f"{fields[0].metadata['help']} ({', '.join(f'{script.__name__}.py' for script in own)})"
    if hints[0] is bool:
        return name, bool, option(False, text, group=METHOD)
    return name, reduce(or_, hints) | None, option(None, text, group=METHOD, aliases=fields[0].metadata["aliases"],
                                                   choices=_choices(fields))


def _choices(fields):
    """Return the words that any of the `fields` allows, None where one allows all."""
    listed = [field.metadata["choices"] for field in fields]
    return tuple(dict.fromkeys(word for words in listed for word in words)) if all(listed) else None


def given_options(cfg: Any) -> dict[str, Any]:
    """Return the method options that were given, {name: value}."""
    values = {name: getattr(cfg, name) for name in cfg.METHOD_OPTIONS}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def find_method(name: str, methods: Mapping[str, StepMethod]) -> StepMethod:
    """Return the `StepMethod` that `name` stands for: one of `methods`, or METHOD+FORM with another parameterization.

    Raises OptionError for what is unknown, and for a form of a method that learns none.
    """
    base, _, form = name.partition("+")
    if base not in methods:
        raise OptionError(f"--methods: {unknown('method', base, ('random', *methods))}")
    if not form:
        return methods[base]
    if form not in PARAMETERIZATIONS:
        raise OptionError(f"--methods {name}: {unknown('parameterization', form, PARAMETERIZATIONS)}")
    field = _fields(methods[base].config_class).get("parameterization")
    if field is None or form not in field.metadata["choices"]:
        raise OptionError(f"--methods {name}: {base} has no other form; leave +{form} out")
    return dataclasses.replace(methods[base], form=form)


def refuse_unused(given: Mapping[str, Any], methods: Iterable[StepMethod], registry: Mapping[str, StepMethod]) -> None:
    """Raise OptionError for a given option that none of `methods` has; those of `registry` {name: StepMethod} may."""
    for name in given:
        if not any(name in method.options() for method in methods):
            raise OptionError(f"--{name} is an option of none of the --methods; leave it out, or add one that has it: "
                              f"{', '.join(label for label, method in registry.items() if name in method.options())}")
