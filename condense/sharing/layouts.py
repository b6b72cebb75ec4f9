"""Read a synthetic set of any origin: `read_set` recognises the layouts of LAYOUTS and returns a `SetFile`."""

from os import PathLike
from pathlib import Path

import torch

from condense.core.errors import InputError, MissingFile
from condense.sharing.archives import read_archive
from condense.sharing.image_tree import read_tree
from condense.sharing.mtt_files import choose_images, is_images_file, read_mtt
from condense.sharing.plain_files import (
    MOSAICS,
    is_mosaic,
    is_pair,
    read_dict,
    read_mosaic,
    read_pair,
    read_safetensors,
)
from condense.sharing.result_files import is_result, read_result
from condense.sharing.stored import SetFile, StoredSet, described

__all__ = ["LAYOUTS", "SetFile", "StoredSet", "read_set"]

LAYOUTS = {
    "result": "our result file: dict with data, accs_all_exps and meta",
    "reference": "DC's, DSA's and DM's result file: dict with data and accs_all_exps",
    "steps": "continual learning: dict whose data has one [images, labels] per step (cl_*_5steps_seed0.pt)",
    "mtt": "trajectory matching: images_best.pt and labels_best.pt, or images_500.pt and labels_500.pt",
    "idc": "multi-formation: data.pt or data_best.pt, a list of raw mosaics and labels",
    "tensors": "a pair of images and labels, or a dict with both",
    "safetensors": "a safetensors file with images and labels",
    "folder": "a folder of images for each class",
}


def read_set(path: str | PathLike, labels: str | PathLike | None = None) -> SetFile:
    """Return the `SetFile` at `path`, a file or folder of one of LAYOUTS; nothing in it is ever run.

    Of a folder with images_*.pt, trajectory matching's best set is taken, or that of its last iteration; of one with
    data_best.pt or data.pt, that file. `labels` is the file of labels of a file that holds images alone, where it is
    not in its folder. Raises FileNotFoundError or ValueError in one line with the mend.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFile(f"no synthetic set {path}; name a .pt or .safetensors file, or a folder")
    if path.is_dir():
        chosen = choose_images(path) or next((path / name for name in MOSAICS if (path / name).is_file()), None)
        if chosen is None:
            return _without(labels, read_tree(path))
        path = chosen
    if path.suffix == ".safetensors":
        return _without(labels, read_safetensors(path))
    content = read_archive(path)
    if torch.is_tensor(content) and (is_images_file(path) or labels is not None):
        return read_mtt(path, content, labels)
    return _without(labels, _read_content(path, content))


def _read_content(path, content):
    if is_result(content):
        return read_result(path, content)
    if is_mosaic(path, content):
        return read_mosaic(path, content)
    if is_pair(content):
        return read_pair(path, content)
    if isinstance(content, dict) and "images" in content:
        return read_dict(path, content)
    mend = "; name the file of its labels with --labels" if torch.is_tensor(content) else ""
    raise InputError(f"{path} holds {described(content)} of no known layout{mend}; known are: "
                     f"{'; '.join(LAYOUTS.values())}")


def _without(labels, file):
    """Return `file`; raises ValueError where `labels` were named for a set that has its own."""
    if labels is not None:
        raise InputError(f"{file.path} has labels of its own; leave --labels {labels} out")
    return file
