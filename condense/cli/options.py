"""Options: one frozen dataclass per script gives defaults, flags, YAML keys and --help.

YAML overrides defaults, flags override YAML. Whatever cannot work is an error that names its mend.
"""

import argparse
import dataclasses
import sys
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

import yaml

from condense.core.errors import OptionError
from condense.core.registry import nearest, unknown

DATA, SET, METHOD, EVALUATION, RUN = GROUPS = ("what to condense", "synthetic set", "method", "evaluation", "run")
FORM = "parameterization"                  # the option that others may belong to


def option(default, help, *, group=METHOD, choices=None, least=None, above=None, neutral=False, dead=None, forms=(),
           aliases=(), positional=None):
    """Declare one option of a config dataclass.

    `choices` lists the words allowed, `least` the smallest number, `above` a bound numbers must exceed.
    `neutral` options (paths, how often to save) do not belong to what a result is. A `dead` option is one
    that does nothing in the original: accepted, hidden, and answered by the line in `dead`. `forms` names the
    parameterizations that alone have this option, `aliases` further names of it, as flags (-x of one letter) and as
    YAML keys.
    A field of type `tuple[str, ...]` (or float, int) takes several values, parted by spaces or commas; checks apply
    to each. `positional` is the word in --help for values that are given without a flag, one or more.
    """
    metadata = dict(help=help, group=group, choices=choices, least=least, above=above, neutral=neutral, dead=dead,
                    forms=forms, aliases=aliases, positional=positional)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every method script shares: data, synthetic set, evaluation and the run itself."""

    dataset: str = option("CIFAR10", "data set by name; 'folder' or 'file' for your own", group=DATA)
    data_path: str = option("data", "folder (or file) of the data; known sets download there", group=DATA,
                            neutral=True)
    im_size: int | None = option(None, "side in pixels to bring images to; ImageNet without it: 128", group=DATA,
                                 least=4, aliases=("res",))
    resize: str = option("auto", "how: crop (short side, then the centre), squash (both sides), or auto: squash for "
                         "ImageNet, else crop", group=DATA, choices=("auto", "crop", "squash"))
    subset: str | None = option(None, "classes of ImageNet: imagenette, imagewoof, imagemeow, imagesquawk, "
                                "imagefruit or imageyellow (ten each), imagenet10 or imagenet100 (IDC's)", group=DATA)
    classes: str | None = option(None, "condense these classes only: their numbers (3,7,9 or 0-4) or names, parted by "
                                 "commas; they are renumbered in this order", group=DATA)
    zca: bool = option(False, "whiten images by ZCA (fitted on the training images) instead of normalising them",
                       group=DATA)
    model: str = option("ConvNet", "network to condense with", group=DATA)
    ipc: int = option(1, "images per class: what the synthetic set may store", group=DATA, least=1)

    parameterization: str = option("pixels", "form of the synthetic set", group=SET)
    init: str = option("noise", "start from noise or from real images", group=SET)
    optimizer: str = option("sgd", "how the set is updated: sgd, or adam, whose first beta is sgd's momentum",
                            group=SET, choices=("sgd", "adam"))
    clip_grad: float | None = option(None, "largest norm of all gradients of the set together; steps are shortened to "
                                           "it", group=SET, above=0)
    save: str = option("both", "what the result holds of a set that is no plain pixels: what it stores (factors), the "
                       "decoded images, or both", group=SET, choices=("both", "factors", "images"), neutral=True)

    eval_mode: str = option("S", "networks to score on: S (condensing network without batch norm), SS (as it is),"
                            " M, B, W, D, A, P, N, I (pools)", group=EVALUATION)
    num_exp: int = option(5, "experiments: whole condensations", group=EVALUATION, least=1)
    num_eval: int = option(20, "fresh networks per evaluation", group=EVALUATION, least=1)
    epoch_eval_train: int = option(1000, "epochs an evaluation network trains", group=EVALUATION, least=0)
    lr_net: float = option(0.01, "learning rate of networks", group=EVALUATION, above=0)
    batch_train: int = option(256, "minibatch of network training", group=EVALUATION, least=1)
    eval_every: int = option(1000, "iterations between evaluations; the first and last are always evaluated",
                             group=EVALUATION, least=1)

    config: str | None = option(None, "YAML file of options; flags override it", group=RUN, neutral=True)
    seed: int = option(0, "seed of every random number", group=RUN, least=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", group=RUN)
    precision: str = option("fp32", "arithmetic of networks", group=RUN, choices=("fp32", "tf32", "bf16"))
    compile: bool = option(False, "compile networks: minutes at the start, then faster", group=RUN)
    deterministic: bool = option(False, "identical tensors on a GPU too, at some cost", group=RUN)
    chunk: int | None = option(None, "images through a network at a time; chosen by device", group=RUN,
                               least=1)
    save_path: str = option("result", "folder of results", group=RUN, neutral=True)
    checkpoint_every: int = option(500, "iterations between checkpoints; after ten minutes there is one in any case",
                                   group=RUN, least=1, neutral=True)
    resume: bool = option(False, "go on from the checkpoint in save_path", group=RUN, neutral=True)
    overwrite: bool = option(False, "replace a result or checkpoint of other options", group=RUN, neutral=True)
    tensorboard: bool = option(False, "write TensorBoard events too", group=RUN, neutral=True)
    progress: bool = option(True, "progress bars on a terminal", group=RUN, neutral=True)
    debug: bool = option(False, "show tracebacks", group=RUN, neutral=True)

    def identity(self):
        """Return the options that make a result what it is, as a dict of plain values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                if not f.metadata["neutral"] and not f.metadata["dead"] and _has(self, f)}

    def form_options(self):
        """Return the options that the parameterization alone has and that make it what it is, as a dict."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                if f.metadata["forms"] and _has(self, f) and not f.metadata["neutral"]}


def _has(config, field):
    """Whether `config` has the option at all: some belong to one parameterization."""
    return not field.metadata["forms"] or getattr(config, FORM) in field.metadata["forms"]


def redefault(name, default, of=RunConfig, **changes):
    """Declare an option of `of` again with another default, and other metadata where given."""
    metadata = {**of.__dataclass_fields__[name].metadata, **changes}
    return dataclasses.field(default=default, metadata=metadata)


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


def parse(config_class, argv=None, description=None):
    """Return a `config_class` from command line `argv`; raises OptionError, or exits 0 after --help."""
    values = vars(_parser(config_class, description).parse_intermixed_args(sys.argv[1:] if argv is None else argv))
    base = load_yaml(config_class, values["config"]) if values.get("config") else {}
    return build(config_class, {**base, **values})


def build(config_class, values):
    """Return `config_class(**values)` after checking every value; raises OptionError naming the flag."""
    hints = get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if field.name in values:
            values[field.name] = _checked(field, hints[field.name], values[field.name], f"--{field.name}")
    config = config_class(**values)
    for field in dataclasses.fields(config_class):
        if field.name in values and not _has(config, field):
            raise OptionError(f"--{field.name} belongs to --{FORM} {' or '.join(field.metadata['forms'])}, not "
                              f"{getattr(config, FORM)}; leave it out")
    return config


def with_forms(config_class, forms):
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


def dead_flags(config):
    """Return the lines that answer flags which do nothing in the original and were given."""
    return [f.metadata["dead"] for f in dataclasses.fields(config)
            if f.metadata["dead"] and getattr(config, f.name) != f.default]


def load_yaml(config_class, path):
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
            raise OptionError(f"{path}: {key} belongs on the command line; leave it out")
        if name in values:
            raise OptionError(f"{path}: {key} is another name of an option that is there already; keep one of them")
        values[name] = _checked(fields[key], hints[name], value, f"{path}: {key}")
    return values


def _checked(field, hint, value, name):
    """Return `value` as the field's type; raises OptionError where type, choice or range do not fit."""
    if get_origin(hint) is tuple:
        return tuple(_checked(field, get_args(hint)[0], part, name) for part in _parts(value, field))
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if isinstance(value, bool) and str(value) in (field.metadata["choices"] or ()):
        value = str(value)                                 # YAML reads the words True and False as values
    value = _convert(kinds, value, name)
    choices, least, above = (field.metadata[key] for key in ("choices", "least", "above"))
    if choices and isinstance(value, str) and value not in choices:
        raise OptionError(f"{name}: {unknown('value', value, choices)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if least is not None and not value >= least:
            raise OptionError(f"{name} must be {least} or larger, not {value}")
        if above is not None and not value > above:
            raise OptionError(f"{name} must be larger than {above}, not {value}")
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


def _parser(config_class, description):
    parser = _Parser(description=description, argument_default=argparse.SUPPRESS,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    hints = get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        meta, names = field.metadata, (field.name, *field.metadata["aliases"])
        flags = [f"--{name}" if len(name) > 1 else f"-{name}" for name in names]
        text = argparse.SUPPRESS if meta["dead"] else _help(field).replace("%", "%%")
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
