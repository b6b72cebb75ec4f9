"""Some classes of a data set instead of all: how they are named, and their `RealData`."""

import logging
import re
from collections.abc import Sequence

import torch

from condense.core.errors import InputError
from condense.core.registry import nearest
from condense.data.real import RealData

log = logging.getLogger("condense")

SHOWN = 20                                               # names that a message lists


def parse_classes(text: str, class_names: Sequence[str]) -> list[int]:
    """Return the class ids that `text` names, in its order: ids ("3,7,9"), ranges of them ("0-4") or class names.

    `class_names` are all names, in the order of the ids. A number is an id, also where names are numbers. Raises
    ValueError in one line for a class that is not there or is named twice, for an empty word, and for fewer than two.
    """
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        what = "holds an empty word" if any(words) else "names no class"
        raise InputError(f"--classes {text!r} {what}; name classes by number, range or name with one comma between "
                         "them: 3,7,9 or 0-4")
    ids = [label for word in words for label in _ids_of(word, class_names)]
    twice = next((label for label in ids if ids.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"--classes {text} names class {_worded(twice, class_names)} twice; name it once")
    if len(ids) < 2:
        raise InputError(f"--classes {text} names only one class; name at least 2")
    return ids


def _ids_of(word, class_names):
    """Return the ids that one word of --classes stands for."""
    last = len(class_names) - 1
    span = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
    if span and (span[2] is None or word not in class_names):
        first, end = int(span[1]), int(span[2] or span[1])
        if end > last:
            raise InputError(f"--classes: there is no class {end}; the classes are 0 to {last}")
        if first > end:
            raise InputError(f"--classes {word} is in reverse order; write {end}-{first}, or list the classes one by "
                             "one")
        return range(first, end + 1)
    if word not in class_names:
        guess = nearest(word, class_names)
        hint = f"did you mean {guess}? " if guess else ""
        known = f", or by name: {', '.join(class_names)}" if last < SHOWN else ", or a class name"
        raise InputError(f"--classes: unknown class {word!r}; {hint}choose by number, 0 to {last}{known}")
    return [class_names.index(word)]


def select_classes(real: RealData, ids: Sequence[int]) -> RealData:
    """Return a `RealData` of the classes `ids` of `real` alone, in that order, with labels 0, 1, ... and their names.

    Mean and std stay those of all classes, so that sets of different classes share one normalised space. `order` still
    leads to the images as they came in, and `class_ids` holds `ids`. `real` must hold pixels: what is whitened goes by
    statistics of other classes. Raises ValueError for whitened data, and where no test image is left.
    """
    if real.zca is not None:
        raise InputError(f"{real.name} is already whitened with all its classes; choose classes before whitening")
    number = torch.full((real.num_classes,), -1, device=real.device)
    number[list(ids)] = torch.arange(len(ids), device=real.device)
    batch = real.sample(ids)
    test_rows = (number[real.test_labels] >= 0).nonzero().flatten()
    if not len(test_rows):
        raise InputError(f"--classes: no test image of {real.name} belongs to them; name a class that has test images")
    chosen = RealData(real.name, real.images[batch.index], number[batch.labels], real.test_images[test_rows],
                      number[real.test_labels[test_rows]], [real.class_names[label] for label in ids], real.mean,
                      real.std, real.device)
    chosen.order = real.order[batch.index.cpu()]
    chosen.class_ids = list(ids)
    return chosen


def choose_classes(real: RealData, text: str) -> RealData:
    """Return `select_classes` of what --classes `text` names, after saying which classes that are."""
    ids = parse_classes(text, real.class_names)
    names = ", ".join(_worded(label, real.class_names) for label in ids[:SHOWN])
    log.info("%d of %d classes: %s%s", len(ids), real.num_classes, names, ", ..." * (len(ids) > SHOWN))
    return select_classes(real, ids)


def _worded(label, class_names):
    """Word class `label`: its number, and its name where that says more."""
    name = class_names[label]
    return str(label) if name == str(label) else f"{label} ({name})"
