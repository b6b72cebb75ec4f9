"""A set as a tree of PNG files, <class>/<number>.png: every program reads it, but it keeps only 8 bits.

`classes.json` in the tree says what the folders' names do not: the order of the classes and their names in full.
`steps.pt` in its folder holds the steps of a set of unrolled training, as a result file does.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.core.errors import InputError
from condense.run.results import save_atomically

CLASSES, STEPS = "classes.json", "steps.pt"
LONGEST = 100                              # characters of a folder's name
FORBIDDEN = '<>:"/\\|?*'                   # in a name on some file system
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))}


def write_tree(path: str | Path, pixels: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"],
               class_names: Sequence[str], about: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
               replace: bool = False, steps: Mapping[str, Any] | None = None) -> int:
    """Write `pixels` (n, C, H, W) on the scale [0, 1], C 1 or 3, with (n,) int64 `labels` as 8-bit PNG files.

    Files are numbered by their place in the set. `about` are further plain values for `classes.json`, `steps` the
    tensors of `steps.pt`, if any. The tree is there whole or not at all; with `replace` it takes the place of an
    earlier one. Returns how many values lay outside [0, 1] and were clamped. Raises ValueError for images that PNG has
    no form for, FileExistsError for a folder that is not to be replaced.
    """
    if pixels.shape[1] not in (1, 3):
        raise InputError(f"PNG files hold 1 or 3 channels, these images {pixels.shape[1]}; export them as tensors")
    folders = folder_names(class_names)
    digits = max(5, len(str(len(pixels) - 1)))
    stored = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()       # (n, H, W, C)
    with atomic_folder(path, replace) as tree:
        for folder in folders:
            (tree / folder).mkdir()
        for number, (image, label) in enumerate(zip(stored, labels.tolist(), strict=True)):
            _write_png(tree / folders[label] / f"{number:0{digits}}.png", image)
        content = {"class_names": list(class_names), "folders": folders, **dict(about)}
        (tree / CLASSES).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if steps:
            save_atomically(steps, tree / STEPS)
    return int(((pixels < 0) | (pixels > 1)).sum())


def _write_png(path, image):
    from PIL import Image  # here: what exports tensors needs none

    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path)


def folder_names(class_names: Iterable[str]) -> list[str]:
    """Return a folder's name for each class, one that every common file system takes; no two are alike.

    Names that differ in nothing but case, or in what had to be replaced, are told apart by a number.
    """
    taken, names = set(), []
    for class_name in class_names:
        plain, number = _plain(class_name), 1
        name = plain
        while name.lower() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _plain(class_name):
    """Return `class_name` without what some file system refuses; a dot in front would hide the folder."""
    name = "".join("_" if sign in FORBIDDEN or not sign.isprintable() else sign for sign in str(class_name))
    while len(name.encode()) > LONGEST:
        name = name[:-1]
    name = name.strip(" ").rstrip(". ")
    if name.startswith("."):
        name = "_" + name[1:]
    if name.split(".")[0].lower() in DEVICES:
        name = f"{name}_"
    return name or "class"


def require_replaceable(path: Path) -> None:
    """Raise FileExistsError where the folder `path` holds anything else than a tree that `write_tree` made."""
    if not path.is_dir() or not (path / CLASSES).is_file():
        raise FileExistsError(f"{path} is not an exported tree and is not replaced; name another place with --to")


@contextlib.contextmanager
def atomic_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder next to `path`. It gets that name when all went well; else nothing stays of it.

    With `replace` an earlier tree goes once the new one is whole. Raises FileExistsError where it may not.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        if not replace:
            raise FileExistsError(f"{path} exists already; --overwrite replaces it, --to names another place")
        require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".part",
                                     ignore_cleanup_errors=True) as work:
        fresh, old = Path(work) / "new", Path(work) / "old"
        fresh.mkdir()                                    # with a folder's usual rights; its parent is private
        yield fresh
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(fresh, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
