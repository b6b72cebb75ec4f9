"""Any folder of images: train/<class>/* with test/ or val/, or one <class>/* tree."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from condense.core.errors import InputError, MissingFile
from condense.data.image_files import read_images
from condense.data.real import RealData
from condense.data.request import Request, hold_out, split_rows

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
LAYOUT = "put the images there as train/<class>/*.png and test/<class>/*.png, or as <class>/*.png"


def load_folder(request: Request) -> RealData:
    """Load an image folder (`--dataset folder --data_path DIR`).

    `train/<class>/...` comes with `test/` or, where that is absent, `val/`; without either, or with class
    folders alone, a stratified fifth is held out by `request.seed`. Classes are the sorted folder names,
    images lie in them at any depth. Raises ValueError or FileNotFoundError in one line saying the mend.
    """
    root = Path(request.data_path)
    if not root.is_dir():
        raise MissingFile(f"no folder {root}; {LAYOUT}, or name another folder with --data_path")
    if not _has_classes(root / "train"):
        return _load_one_tree(root, "", request)
    for part in ("test", "val"):
        if (root / part).is_dir():
            return _load_two_trees(root, part, request)
    return _load_one_tree(root, "train", request)


def _load_one_tree(root, part, request):
    files = _files_by_class(root, part)
    class_names, names, labels = _flattened(files)
    parts = hold_out(labels, class_names, request.seed, root / part)
    images = torch.from_numpy(read_images(root, names, request))
    return RealData(request.name, *split_rows(images, labels, parts), class_names, device=request.device)


def _load_two_trees(root, test_part, request):
    train, test = _files_by_class(root, "train"), _files_by_class(root, test_part)
    for here, there, has, lacks in ((train, test, "train", test_part), (test, train, test_part, "train")):
        alone = sorted(set(here) - set(there))
        if alone:
            raise InputError(f"class {', '.join(alone)} has images in {root / has} but none in"
                             f" {root / lacks}; add them, or remove the class")
    class_names, train_names, train_labels = _flattened(train)
    _, test_names, test_labels = _flattened(test)
    images = torch.from_numpy(read_images(root, train_names + test_names, request))
    images, test_images = images.split([len(train_names), len(test_names)])
    return RealData(request.name, images, train_labels, test_images, test_labels, class_names,
                    device=request.device)


def _has_classes(folder):
    """Whether `folder` is a part of a data set: it has folders and no images of its own, as a class has."""
    entries = list(os.scandir(folder)) if folder.is_dir() else []
    return any(map(is_folder, entries)) and not any(map(is_image, entries))


def _files_by_class(root, part):
    """Return {class: sorted image names relative to `root`} of the class folders in `root/part`, sorted.

    Classes without images are left out. Raises FileNotFoundError or ValueError if fewer than two remain.
    """
    folders = {entry.name: entry.path for entry in os.scandir(root / part) if is_folder(entry)}
    found = {name: sorted(image_names(folders[name], os.path.join(part, name))) for name in sorted(folders)}
    found = {name: names for name, names in found.items() if names}
    if not found:
        raise MissingFile(f"no images in folders under {root / part}; {LAYOUT}"
                          f" ({' '.join(EXTENSIONS)})")
    if len(found) < 2:
        raise InputError(f"{root / part} has images of one class only ({', '.join(found)});"
                         " put at least two folders of images there, one per class")
    return found


def image_names(folder: str | Path, name: str) -> Iterator[str]:
    """Yield the images at any depth of `folder`, which is itself called `name`."""
    for entry in os.scandir(folder):
        if is_image(entry):
            yield f"{name}/{entry.name}"
        elif is_folder(entry):
            yield from image_names(entry.path, f"{name}/{entry.name}")


def is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".") and entry.is_file()


def is_folder(entry: os.DirEntry) -> bool:
    return not entry.name.startswith(".") and entry.is_dir()


def _flattened(files):
    """{class: names} -> (class names, all names class after class, int64 labels)."""
    names = [name for group in files.values() for name in group]
    counts = torch.tensor([len(group) for group in files.values()])
    return list(files), names, torch.arange(len(files)).repeat_interleave(counts)
