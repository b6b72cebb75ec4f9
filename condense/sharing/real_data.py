"""Which real data a synthetic set belongs to: what to load, and whether what was loaded is what it was made from."""

import logging
from typing import Any

from condense.core.errors import InputError
from condense.data import DATASETS, RealData
from condense.sharing.stored import SetFile

log = logging.getLogger("condense")

FROM_META = ("im_size", "resize", "subset", "classes")     # what a result says of its data, with name and seed
DEFAULTS = {"im_size": None, "resize": "auto", "subset": None, "classes": None}


def data_of(file: SetFile, given: Any) -> dict[str, Any]:
    """Return the arguments of `load_data` (name, data_path, ...) for the `SetFile` `file`.

    `given` has attributes dataset, data_path, im_size, resize, subset and classes; one that is not its default wins
    over what the file says. Raises ValueError where neither says which data set it is.
    """
    told = made_from(file) or {}
    name = given.dataset or told.get("dataset") or file.dataset
    if name is None:
        raise InputError(f"{file.path} does not say which data set it was made from; name it: --dataset CIFAR10")
    if name not in DATASETS and not given.dataset:
        raise InputError(f"{file.path} is of the data set {name}, as its name says, but that is not known here; name "
                         f"the most similar of {', '.join(DATASETS)} with --dataset")
    asked = {key: getattr(given, key) for key in FROM_META}
    told_seed = told.get("seed")
    told = {key: told.get(key, DEFAULTS[key]) for key in FROM_META} if not given.dataset else DEFAULTS
    chosen = {key: asked[key] if asked[key] != DEFAULTS[key] else told[key] for key in FROM_META}
    return {"name": name, "data_path": given.data_path, "seed": told_seed or 0, **chosen}


def made_from(file: SetFile) -> dict[str, Any] | None:
    """Return what a file says of the data that it was made from: dataset, seed, im_size, ..., fingerprint; or None.

    `seed` decides what is held out of images without a test part: with another one a set would be tested on images
    that it was made from.
    """
    if not file.meta:
        return file.data
    options = file.meta.get("options") or {}
    known = {key: options[key] for key in ("dataset", *FROM_META) if key in options}
    return {**known, **{key: file.meta[key] for key in ("seed", "fingerprint") if key in file.meta}}


def require_data_of(file: SetFile, real: RealData, given: Any, stored: bool = False) -> None:
    """Raise ValueError where `real` is not what the set was made from, unless `given.dataset` asks for other data.

    `stored` accuracies are of the images that it was made from, and no others will do.
    """
    made = (made_from(file) or {}).get("fingerprint")
    if made in (None, real.fingerprint):
        return
    if given.dataset and not stored:
        log.warning("%s was made from other images than --dataset %s --data_path %s, but is evaluated on these",
                    file.path, given.dataset, given.data_path)
        return
    raise InputError(f"{given.data_path} holds other data than {file.path} was made from; name the right folder with "
                     f"--data_path, or evaluate it on other data with --dataset {real.name}")
