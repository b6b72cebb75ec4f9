"""Tiny ImageNet: the raw `tiny-imagenet-200/` tree, or the reference's `tinyimagenet.pt`."""

import os
from pathlib import Path

import torch

from condense.core.errors import MissingFile
from condense.data.image_files import read_images
from condense.data.real import RealData
from condense.data.request import Request
from condense.data.tensor_file import read_tensor_file

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)         # ImageNet's, as the published sets use them
TREE, FILE = "tiny-imagenet-200", "tinyimagenet.pt"


def load_tiny_imagenet(request: Request) -> RealData:
    """Load Tiny ImageNet (64x64, or `request.im_size`; RGB); its validation part is the test set.

    `request.data_path` is `tinyimagenet.pt`, the tree, or a folder that holds either (the file first:
    it is faster). A tree with a part of the classes loads as that many. Raises FileNotFoundError.
    """
    path = Path(request.data_path)
    for file in (path, path / FILE):
        if file.is_file():
            images, labels, test_images, test_labels, class_names = read_tensor_file(file)
            return RealData(request.name, request.sized(images), labels, request.sized(test_images), test_labels,
                            class_names, MEAN, STD, request.device)
    for tree in (path, path / TREE):
        if (tree / "wnids.txt").is_file():
            return _load_tree(tree, request)
    raise MissingFile(f"no TinyImageNet in {path}; unpack tiny-imagenet-200.zip there, which makes"
                      f" {TREE}/, or put {FILE} there, or name its folder with --data_path")


def _load_tree(tree, request):
    wnids = [wnid for wnid in (tree / "wnids.txt").read_text().split() if (tree / "train" / wnid).is_dir()]
    if len(wnids) < 2:
        raise MissingFile(f"{tree}/train has {len(wnids)} of the classes in wnids.txt; unpack tiny-imagenet-200.zip "
                          "again")
    train, test = _train_files(tree, wnids), _val_files(tree, wnids)
    if not train or not test:
        raise MissingFile(f"no images in {tree}/{'val' if train else 'train'}; unpack tiny-imagenet-200.zip again")
    names = [name for name, _ in train + test]
    labels = torch.tensor([label for _, label in train + test])
    images = torch.from_numpy(read_images(tree, names, request, channels=3))      # some files are grey
    images, test_images = images.split([len(train), len(test)])
    labels, test_labels = labels.split([len(train), len(test)])
    return RealData(request.name, images, labels, test_images, test_labels, _class_names(tree, wnids),
                    MEAN, STD, request.device)


def _train_files(tree, wnids):
    """(name relative to the tree, label) of every training image, class after class."""
    return [(f"train/{wnid}/{name}", label) for label, wnid in enumerate(wnids)
            for name in _jpegs(tree / "train" / wnid)]


def _val_files(tree, wnids):
    """The same for validation: listed in val_annotations.txt, or sorted into val/<wnid>/ as many do."""
    flat, label_of = tree / "val" / "images", {wnid: label for label, wnid in enumerate(wnids)}
    if not flat.is_dir() or not any(flat.iterdir()):
        return [(f"val/{wnid}/{name}", label) for wnid, label in label_of.items()
                for name in _jpegs(tree / "val" / wnid)]
    lines = (tree / "val" / "val_annotations.txt").read_text().splitlines()
    pairs = [line.split("\t")[:2] for line in lines if line]
    return [(f"val/images/{name}", label_of[wnid]) for name, wnid in pairs if wnid in label_of]


def _jpegs(folder):
    """Sorted names of the JPEG files in `folder` and its `images/`, relative to `folder`."""
    return sorted(inside + name for inside in ("", "images/") if (folder / inside).is_dir()
                  for name in os.listdir(folder / inside) if name.endswith(".JPEG"))


def _class_names(tree, wnids):
    """The words of each wnid, all synonyms, since one word may name two classes; else the wnids."""
    if not (tree / "words.txt").is_file():
        return wnids
    lines = (tree / "words.txt").read_text().splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return [words.get(wnid, wnid) for wnid in wnids]
