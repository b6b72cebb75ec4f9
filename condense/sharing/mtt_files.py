"""Trajectory matching's layout: images_{it}.pt and labels_{it}.pt, one tensor in each file, sometimes the step size.

Also that of its descendants, which store label logits and lr_{it}.pt.
"""

import re
from os import PathLike
from pathlib import Path

from torch import Tensor

from condense.core.errors import InputError, MissingFile
from condense.data import DATASETS
from condense.sharing.archives import read_archive
from condense.sharing.stored import CHOSEN, SetFile, described, stored_set

IMAGES = re.compile(r"^images_(?P<zca>zca_)?(?P<tag>best|\d+)\.pt$")
NAMES = {"Tiny": "TinyImageNet"}           # what its folders call data sets that have another name here


def is_images_file(path: Path) -> bool:
    return bool(IMAGES.match(path.name))


def choose_images(folder: Path) -> Path | None:
    """Return the images file of a run's folder: the best, else that of the last iteration; None where there is none.

    images_zca_* are copies for viewing, and taken only where named themselves.
    """
    files = {match["tag"]: path for path in folder.iterdir() if (match := IMAGES.match(path.name)) and not match["zca"]}
    return files.get("best") or max(files.items(), key=lambda item: int(item[0]), default=(None, None))[1]


def read_mtt(path: Path, content: Tensor, labels: str | PathLike | None = None) -> SetFile:
    """Return the `SetFile` of the tensor `content` of the images file `path`.

    `labels` is the file of its labels where that is in another folder. Raises FileNotFoundError or ValueError.
    """
    match = IMAGES.match(path.name)
    tag = match["tag"] if match else None
    source = _labels_path(path, tag, labels)
    lr_path = _lr_path(path.parent, tag)
    lr = None if lr_path is None else _number(lr_path)
    one, remark = stored_set(path, content, read_archive(source), lr)
    raw = bool(match and match["zca"])
    known_by = "; ".join(filter(None, [f"a tensor of images with {source.name}", remark,
                                       lr_path and f"step size from {lr_path.name}"]))
    return SetFile(path, "mtt", known_by, (one,), (one,) if tag == "best" else (), dataset=_dataset(path),
                   caveat=CHOSEN if tag == "best" else None,
                   space="raw" if raw else None,
                   said_by="its name begins with images_zca_, which means whitened images taken back to pixels"
                   if raw else None)


def _labels_path(path, tag, labels):
    source = Path(labels) if labels is not None else path.with_name(f"labels_{tag}.pt")
    if not source.is_file():
        named = "" if tag is None and labels is None else f"; {source} is not there"
        raise MissingFile(f"{path} holds images without labels{named}; name the file that has them with --labels")
    return source


def _lr_path(folder, tag):
    """Return the file of the step size learned with the images `tag`, or None."""
    names = [f"{stem}_{tag}.pt" for stem in ("lr", "syn_lr")] if tag is not None else []
    files = [folder / name for name in [*names, "syn_lr.pt"]]
    return next((file for file in files if file.is_file()), None)


def _number(path):
    value = read_archive(path)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} holds {described(value)}, not one step size; remove it or save the number") from error


def _dataset(path):
    """Return the data set that a folder above names, as in logged_files/CIFAR10/<run>/images_best.pt, or None."""
    for folder in path.absolute().parents[:2]:
        name = NAMES.get(folder.name, folder.name)
        if name in DATASETS and name not in ("folder", "file"):
            return name
    return None
