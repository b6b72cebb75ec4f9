"""The formats that a set is exported in, where each one is written, and which options go together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from condense.core.errors import InputError
from condense.sharing.card import picture_of, write_card
from condense.sharing.export import (
    Choice,
    metadata_path,
    require_safetensors,
    write_folder,
    write_reference,
    write_safetensors,
    write_tensors,
)
from condense.sharing.tree import CLASSES, require_replaceable

ALL = ("normalised", "raw", "zca")


@dataclass(frozen=True)
class Format:
    """One way to write a set: what it is in words, what its name ends in, and what writes it.

    `write(path, source, choice)` returns lines to say. `spaces` are those it can be asked for, `one_set` whether it
    holds a single experiment, `with_it(path)` the second file that it writes.
    """

    about: str
    ending: str
    write: Callable[..., list[str]]
    spaces: tuple = ()
    one_set: bool = True
    with_it: Callable[[Path], Path] | None = None

    def paths(self, path: Path) -> list[Path]:
        """Return every path that is written for `path`."""
        return [path, *([self.with_it(path)] if self.with_it else [])]


# A further format is a function in `export`, and a line here.
FORMATS = {
    "folder": Format("PNG files, <class>/<number>.png, 8 bit", "_png", write_folder),
    "safetensors": Format("safetensors, metadata in its header and in a JSON file", ".safetensors",
                          write_safetensors, ALL, with_it=metadata_path),
    "tensors": Format("a dict of plain tensors, for torch.load", ".tensors.pt", write_tensors, ALL),
    "reference": Format("the reference repositories' layout, all experiments", ".reference.pt", write_reference,
                        ("normalised", "zca"), one_set=False),
    "card": Format("one page about the set: what, how to load it, scores, recipe", ".card.md", write_card,
                   one_set=False, with_it=picture_of),
}


def check_formats(names: Sequence[str], choice: Choice) -> None:
    """Raise ValueError for formats that cannot be written here, and for choices that none of `names` would heed."""
    formats = [FORMATS[name] for name in names]
    if not names:
        raise InputError("--format says what to write: "
                         + "; ".join(f"{name} ({each.about})" for name, each in FORMATS.items()))
    if "safetensors" in names:
        require_safetensors()
    if choice.experiment and not any(each.one_set for each in formats):
        raise InputError(f"--format {' '.join(names)} covers all experiments; leave --experiment out")
    if choice.which == "best" and set(names) == {"card"}:
        raise InputError("a card describes the last and the chosen iteration; leave --which out")
    _check_space(names, choice.space)


def _check_space(names, space):
    asked = {name: FORMATS[name].spaces for name in names if FORMATS[name].spaces}
    if space is not None and not asked:
        raise InputError(f"--format {' '.join(names)} has a fixed space; leave --space out")
    for name, spaces in asked.items():
        if space is not None and space not in spaces:
            raise InputError(f"--format {name} does not hold {space} images; give --space {' or '.join(spaces)}, or "
                             "--format tensors")


def plan(names: Sequence[str], source_path: Path, folder: str | Path, to: str | Path | None,
         choice: Choice) -> dict[str, Path]:
    """Return {format: path} that `names` are written at, none of them there already unless `choice.replace`.

    Without `to` they lie in `folder`, named after the set; one format goes to the path `to` itself, several (or one,
    where `to` is a folder) into the folder `to`. Raises ValueError for a name that ends wrongly and FileExistsError for
    what may not be replaced.
    """
    planned = {name: _target(name, names, source_path, folder, to, choice) for name in names}
    for name, path in planned.items():
        for each in FORMATS[name].paths(path):
            _require_free(each, source_path, choice.replace, name == "folder")
    return planned


def _target(name, names, source_path, folder, to, choice):
    usual = usual_name(name, source_path, choice)
    if to is None:
        return Path(folder) / usual
    to = Path(to)
    tree = name == "folder" and (to / CLASSES).is_file()       # an earlier one of ours
    if len(names) > 1 or (to.is_dir() and not tree):
        return to / usual
    suffix = Path(usual).suffix
    if name != "folder" and to.suffix != suffix:
        raise InputError(f"--to {to}: the name of --format {name} ends in {suffix}; write {to}{suffix}, or name an "
                         "existing folder")
    return to


def usual_name(name: str, source_path: Path, choice: Choice) -> str:
    """Return the file name of format `name`: the set's, what was chosen of it, and the format's ending."""
    stem = source_path.name if source_path.is_dir() else source_path.stem
    if FORMATS[name].one_set and choice.experiment:
        stem += f"_exp{choice.experiment}"
    if name != "card" and choice.which == "best":
        stem += "_best"
    return stem + FORMATS[name].ending


def _require_free(path, source_path, replace, is_tree):
    if not path.exists() and not path.is_symlink():
        return
    if path.resolve() == source_path.resolve():
        raise FileExistsError(f"{path} is the set itself; name another place with --to")
    if not replace:
        raise FileExistsError(f"{path} exists already; --overwrite replaces it, --to names another place")
    if is_tree:
        require_replaceable(path)
    elif path.is_dir():
        raise FileExistsError(f"{path} is a folder and is not replaced; name another place with --to")
