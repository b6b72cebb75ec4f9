"""Sets as image files, <class>/*.png or of any other format: raw pixels, the classes named by their folders."""

import json
import os
from pathlib import Path

import torch

from condense.core.errors import InputError, MissingFile
from condense.data.decoder import ImageProblem, decode_all, peek
from condense.data.folder import EXTENSIONS, image_names, is_folder
from condense.run.stored_steps import read_steps
from condense.sharing.archives import read_archive
from condense.sharing.stored import SetFile, StoredSet, checked_scored
from condense.sharing.tree import CLASSES, STEPS


def read_tree(path: Path) -> SetFile:
    """Return the `SetFile` of the folder `path` with a folder of images for each class.

    The order of classes is what classes.json in it says, as our export writes it; without one that of their numbers
    where all names are numbers, else that of their names. steps.pt next to it holds the steps of a set of unrolled
    training. Raises FileNotFoundError or ValueError in one line.
    """
    folders = sorted(entry.name for entry in os.scandir(path) if is_folder(entry))
    said = _said(path, folders)
    class_names, folders, known_by, decoded = said or _ordered(folders)
    files = [(name, label) for label, folder in enumerate(folders)
             for name in sorted(image_names(path / folder, folder))]
    if not files:
        raise MissingFile(f"{path} holds no set: neither images_*.pt nor data.pt, nor folders of images, one "
                          f"for each class ({' '.join(EXTENSIONS)})")
    if said:
        files = _in_stored_order(files)
    steps, scored = _steps(path, len(files))
    images = _decoded([path / name for name, _ in files])
    one = StoredSet(images, torch.tensor([label for _, label in files]), steps and steps.mean_size(), steps=steps)
    return SetFile(path, "folder", f"folders of images; {known_by}", (one,), class_names=class_names, space="raw",
                   said_by="image files hold pixels", scored=scored, decoded=decoded)


def _steps(path, number):
    """Return (`Steps`, how the set was scored) of a tree of `number` images with steps.pt; two times None without."""
    file = path / STEPS
    if not file.is_file():
        return None, None
    content = read_archive(file)
    content = content if isinstance(content, dict) else {"steps": content}
    said = json.loads((path / CLASSES).read_text(encoding="utf-8")) if (path / CLASSES).is_file() else {}
    if said.get("num_images") != number:
        raise InputError(f"{file} is for {said.get('num_images', 'the numbered')} images, as {CLASSES} has them, and "
                         f"{number} are there; export the set again, or remove {STEPS}")
    return (read_steps(file, content.get("steps"), content.get("start"), number),
            checked_scored(path / CLASSES, said.get("scored")))


def _said(path, folders):
    """Return (class names, folders, how known, `SetFile.decoded`) by classes.json; None where there is none."""
    file = path / CLASSES
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names, said = (list(map(str, content[key])) for key in ("class_names", "folders"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} does not list class_names and folders; remove it to use the order of the folders' "
                         "names") from error
    outside = [name for name in said if name in ("", ".", "..") or Path(name).name != name]
    if outside:
        raise InputError(f"{file} names {outside[0]!r}, which is no folder next to it; export the set again, or remove "
                         f"{CLASSES}")
    beyond = sorted(set(folders) - set(said))
    if len(names) != len(said) or beyond or len(set(said)) < len(said):
        odd = f"does not name the folder {beyond[0]}" if beyond else "has not one folder for each class"
        raise InputError(f"{file} {odd}; export the set again, or remove {CLASSES}")
    decoded = content.get("decoded")
    return tuple(names), said, f"order of classes from {CLASSES}", decoded if type(decoded) is int else None


def _ordered(folders):
    if all(name.isdecimal() for name in folders):
        return tuple(sorted(folders, key=int)), sorted(folders, key=int), "classes in the order of their numbers", None
    return tuple(folders), folders, "classes in the order of their names", None


def _in_stored_order(files):
    """Order (name, label) by the number that our export gives each image: its place in the set."""
    stems = [os.path.splitext(os.path.basename(name))[0] for name, _ in files]
    if not all(stem.isdecimal() for stem in stems):
        return files
    return [file for _, file in sorted(zip(map(int, stems), files))]


def _decoded(paths):
    """Return float32 pixels (n, C, H, W) on the scale [0, 1]; C is 1 where all files are grey, else 3."""
    try:
        sizes, grey = zip(*map(peek, paths))
        pixels = decode_all(paths, 1 if all(grey) else 3, sizes[0])
    except ImageProblem as problem:
        if problem.kind == "size":
            raise InputError(f"{problem.path} is {problem.text}, images before it are {'x'.join(map(str, sizes[0]))}; "
                             "bring all images of a set to one size") from problem
        raise InputError(f"cannot decode {problem.path} ({problem.text}); replace the file or remove it") from problem
    return torch.from_numpy(pixels).float() / 255
