"""Where expert trajectories lie, and the file in their folder that says what they are.

The layout is that of the published code (Cazenavette et al., CVPR 2022): `replay_buffer_<n>.pt`, each a list of
trajectories, a trajectory a list of snapshots, a snapshot the list of a network's parameters. `buffer.json` is ours.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condense.core.errors import InputError
from condense.core.files import atomic_path
from condense.data import SIDES

FORMAT_VERSION = 1
SIDECAR, WHITENING = "buffer.json", "zca.pt"
REQUIRED = ("dataset", "fingerprint", "zca", "model", "parameters", "options", "first_epoch", "experts")
CIFAR = ("CIFAR10", "CIFAR100")            # of which the published code marks the folder without whitening


def expert_folder(buffer_path: str | Path, dataset: str, model: str, *, zca: bool = False, subset: str | None = None,
                  side: int | None = None) -> Path:
    """Return the folder of a data set's and network's experts below `buffer_path`.

    As published: CIFAR10 with ZCA and CIFAR10_NO_ZCA without, ImageNet/<subset>/<side>; other sets are <name>, and
    <name>_ZCA with ZCA. `subset` concerns ImageNet; `side` (pixels) is part of the folder there, and of sets that have
    a size of their own where it is another one (MNIST/8).
    """
    name = dataset + ("" if zca else "_NO_ZCA") if dataset in CIFAR else dataset + "_ZCA" * bool(zca)
    parts = (subset or "all", str(side)) if dataset == "ImageNet" else (str(side),) * is_resized(dataset, side)
    return Path(buffer_path, name, *parts, model)


def is_resized(dataset: str, side: int | None) -> bool:
    """Say whether images of `side` pixels are of another size than those of `dataset` are by themselves."""
    return None not in (side, SIDES.get(dataset)) and side != SIDES[dataset]


def published_folder(buffer_path: str | Path, dataset: str, model: str) -> Path | None:
    """Return where the published code of MTT, DATM and TESLA has experts that lie elsewhere here, or None."""
    name = {"TinyImageNet": "Tiny", "ImageNet": "ImageNet"}.get(dataset)
    return Path(buffer_path, name, model) if name else None


def buffer_command(buffer_path: str | Path, dataset: str, model: str, *, zca: bool = False, subset: str | None = None,
                   im_size: int | None = None, data_path: str | Path | None = None, seed: int = 0, resize: str = "auto",
                   classes: Sequence[int] | None = None) -> str:
    """Return the command line that makes such experts, for messages.

    `seed` and `resize` are said where they are not the default: they decide what is held out of images without a
    test part, and what image files look like. `classes` are the numbers of the only classes, where not all are seen.
    """
    given = {"dataset": dataset, "subset": subset, "model": model, "im_size": im_size, "data_path": data_path,
             "buffer_path": buffer_path, "seed": seed or None, "resize": None if resize == "auto" else resize,
             "classes": ",".join(map(str, classes)) if classes else None}
    flags = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
    return " ".join(["python buffer.py", *flags, *["--zca"] * bool(zca)])


def replay_path(folder: str | Path, number: int) -> Path:
    """Return the path of replay file `number`."""
    return Path(folder) / f"replay_buffer_{number}.pt"


def replay_files(folder: str | Path) -> dict[int, Path]:
    """Return {number: path} of the replay files in `folder` in the order of their numbers; 10 comes after 9."""
    found = {}
    for path in Path(folder).glob("replay_buffer_*.pt"):
        number = re.fullmatch(r"replay_buffer_(\d+)", path.stem)
        if number:
            found[int(number[1])] = path
    return dict(sorted(found.items()))


def read_sidecar(folder: str | Path) -> dict[str, Any] | None:
    """Return what `buffer.json` in `folder` says, a dict, or None where there is none.

    Raises ValueError in one line where it cannot be read.
    """
    path = Path(folder) / SIDECAR
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_text())
        if about["format_version"] > FORMAT_VERSION:
            raise InputError(f"{path} was written by a newer version of this toolkit; update the toolkit")
        return {**about, **{key: about[key] for key in REQUIRED}}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no description of experts ({type(error).__name__}); remove it; data set and "
                         "normalisation are then not checked") from None


def write_sidecar(folder: str | Path, about: Mapping[str, Any]) -> None:
    """Write `about`, plain values, as `buffer.json`: whole or not at all."""
    with atomic_path(Path(folder) / SIDECAR) as temporary:
        temporary.write_text("{\n" + ",\n".join(f'"{key}": {_worded(value)}' for key, value in about.items()) + "\n}\n")


def _worded(value):
    """Return `value` as JSON on one line, or a list of dicts with one of them a line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(map(json.dumps, value)) + "\n]"
    return json.dumps(value)
