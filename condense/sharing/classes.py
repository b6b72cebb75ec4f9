"""The classes of a set and those of its data, matched by name if both have names, else by number."""

from collections.abc import Callable

import torch
from torch import Tensor

from condense.core.errors import InputError
from condense.data import RealData
from condense.sharing.stored import SetFile


def require_shape(file: SetFile, real: RealData) -> None:
    """Raise ValueError where the images of `file` are not of `real`'s channels and size."""
    for one in (*file.sets, *file.best):
        if tuple(one.images.shape[1:]) != (real.channel, *real.im_size):
            raise InputError(f"images of {file.path} are {_size(one.images.shape[1:])}, those of {real.name} "
                             f"{_size((real.channel, *real.im_size))}; name the data set it was made for: --dataset "
                             "(and --im_size)")


def _size(shape):
    return "x".join(map(str, shape))


def class_numbers(file: SetFile, real: RealData) -> tuple[Callable[[Tensor], Tensor], str | None]:
    """Return (function from the labels of `file` to `real`'s, how in words or None).

    Classes are matched by name where the file names them and `real` has all of these names; names that are numbers of
    `real`'s classes are these; others stand for its classes in their order. Raises ValueError where the set was
    plainly made for another number of classes.
    """
    places, words = _places(file.class_names, real.class_names)
    if places is None:
        return _by_number(file, real)
    for one in (*file.sets, *file.best):
        _require_within(file, one.labels, len(places), "it names")
    if places == list(range(real.num_classes)):
        return (lambda labels: labels), None
    return (lambda labels: _moved(labels, torch.tensor(places), real.num_classes)), words


def _places(names, known):
    """Return (the class that each of `names` stands for, how that is known), (None, None) where they do not say."""
    if not names or len(set(names)) < len(names) or len(set(known)) < len(known):
        return None, None
    if set(names) <= set(known):
        return [list(known).index(name) for name in names], "classes matched by name"
    if all(name.isdecimal() and int(name) < len(known) for name in names):
        return [int(name) for name in names], "classes matched by number, as they are named"
    return None, None


def _moved(labels, places, num_classes):
    if labels.dim() == 1:
        return places[labels]
    moved = labels.new_zeros(len(labels), num_classes)
    moved[:, places] = labels
    return moved


def _by_number(file, real):
    seen = set()
    for one in (*file.sets, *file.best):
        _require_within(file, one.labels, real.num_classes, f"{real.name} has")
        seen |= set((one.labels if one.labels.dim() == 1 else one.labels.argmax(1)).tolist())
    hard = file.sets and file.sets[0].labels.dim() == 1
    if hard and file.layout != "steps" and seen == set(range(len(seen))) and len(seen) < real.num_classes:
        raise InputError(f"{file.path} has {len(seen)} classes, {real.name} {real.num_classes}; name the data set it "
                         "was made for: --dataset, or its classes")
    words = "class names are not the data set's: matched by their order" if file.class_names else None
    return (lambda labels: labels), words


def _require_within(file, labels, num_classes, whose):
    if labels.dim() == 2 and labels.shape[1] != num_classes:
        raise InputError(f"soft labels of {file.path} are for {labels.shape[1]} classes, {whose} {num_classes}; name "
                         "the data set it was made for: --dataset")
    if labels.dim() == 1 and int(labels.max()) >= num_classes:
        raise InputError(f"labels of {file.path} run to {int(labels.max())}, {whose} {num_classes} classes; name the "
                         "data set it was made for: --dataset")
