"""A synthetic set in one call, for somebody's own training loop: `load_synthetic_set`."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils.data import TensorDataset

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data import Whitening, load_data
from condense.sharing.conversion import PUBLISHED, SPACES, Constants, from_pixels, to_pixels
from condense.sharing.fetch import local_copy
from condense.sharing.layouts import read_set
from condense.sharing.real_data import DEFAULTS, data_of
from condense.sharing.spaces import Spaces, place, stated_constants
from condense.synthetic.multi_formation import decode as decode_tiles
from condense.training.steps import Steps

log = logging.getLogger("condense")

WHICH = ("last", "best")


@dataclass(frozen=True, eq=False)
class LoadedSet:
    """A set ready to train on.

    `images` (n, C, H, W) float32, normalised with `mean` and `std`, or whitened with `zca`: test images must be made
    alike. `labels` (n,) int64, or (n, K) probabilities. `class_names` is None where nobody says them, `lr` the step
    size learned with the set, or None. `path` is the file, `evidence` says how its space is known. `steps` are those of
    a set of unrolled training: which images each of them sees, how far it goes, and fixed starts; else None.
    Every `views` images in a row show one stored base, of which an epoch of training sees one, drawn anew each time; 1:
    every image is its own.
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple | None
    mean: tuple | None
    std: tuple | None
    zca: Whitening | None
    lr: float | None
    path: Path
    evidence: str
    steps: Steps | None = None
    views: int = 1

    @cached_property
    def dataset(self):
        """The set as a `torch.utils.data.TensorDataset` of (image, label), for a DataLoader."""
        return TensorDataset(self.images, self.labels)

    def pixels(self):
        """Return the images to look at: float32 on the scale [0, 1], clamped."""
        space = "normalised" if self.zca is None else "zca"
        return to_pixels(self.images, space, self).clamp(0, 1).float()


def load_synthetic_set(address, experiment=0, which="last", space=None, decode=None, labels=None, sha256=None,
                       data_path="data", dataset=None):
    """Return the `LoadedSet` at `address`, a file or folder of any known layout (`read_set`) or the URL of a file.

    `experiment` is the position in the file, `which` the "last" iteration's set or the "best". `space` ("normalised",
    "zca" or "raw") and `decode`, the factor of multi-formation, say what the file does not. `labels` is the path or
    URL of the labels of a file without. `sha256` is held against the file. Only where statistics must tell the space,
    or constants are missing, real data are loaded: `dataset` under `data_path`, or the one that the file names.
    Raises FileNotFoundError, OSError or ValueError in one line.
    """
    labels = None if labels is None else local_copy(labels)
    file = read_set(local_copy(address, sha256), labels)
    one = chosen_set(file, experiment, which)
    alone = _without_data(file, one, space, decode, dataset)
    if alone is not None:
        return alone
    placed = place(file, Spaces(_loader(file, dataset, data_path)), space, decode)
    found, real = (placed.sets if which == "last" else placed.best)[experiment], placed.real
    return LoadedSet(found.tensor, found.labels, tuple(real.class_names), *_of(real), one.lr, file.path,
                     placed.evidence, one.steps_decoded(file.path, placed.decode), file.views)


def chosen_set(file, experiment=0, which="last"):
    """Return the `StoredSet` of `file` at position `experiment`; raises ValueError where it has none."""
    lookup(dict.fromkeys(WHICH), which, "choice of --which")
    sets = file.sets if which == "last" else file.best
    if not sets:
        other = WHICH[which == "last"]
        raise InputError(f"{file.path} has no set of the {which} iteration; take --which {other}")
    if not 0 <= experiment < len(sets):
        raise InputError(f"{file.path} has {len(sets)} experiment{'s' * (len(sets) > 1)}, numbered from 0; there is no "
                         f"--experiment {experiment}")
    return sets[experiment]


def _without_data(file, one, space, decode, dataset):
    """Return the `LoadedSet` of what the file holds, or None where that takes real data."""
    said, factor = space or file.space, file.factor(decode)
    if said is None:                                     # `place` asks statistics, or raises
        return None
    lookup(dict.fromkeys(SPACES), said, "space")
    before, after = _constants(file, said, dataset)
    if after is None:
        return None
    images = one.images
    if said == "raw" or factor != 1 or before is not after:
        pixels = decode_tiles(to_pixels(images, said, before), factor)
        images = from_pixels(pixels, "zca" if said == "zca" else "normalised", after)
    labels = one.labels.repeat(factor**2, *[1] * (one.labels.dim() - 1))       # tiles are slow, images fast
    evidence = f"{said}: {file.said_by}" if space is None else f"{said}, as space says"
    return LoadedSet(images, labels, file.class_names, *_of(after), one.lr, file.path, evidence,
                     one.steps_decoded(file.path, factor), file.views)


def _constants(file, space, dataset):
    """Return the `Constants` that the pixels were made with and those they shall have, (None, None) where unknown."""
    if space == "zca":
        constants = Constants(zca=Whitening.from_state(file.zca)) if file.zca is not None else None
        return constants, constants
    stated, _ = stated_constants(file, dataset)
    own = stated if file.mean is not None else PUBLISHED.get(dataset or file.dataset)
    return (stated, own) if stated is not None else (None, None)


def _of(constants):
    """Return (mean, std, zca) of a `RealData` or `Constants`, mean and std None where a whitening is in their place."""
    if constants.zca is not None:
        return None, None, constants.zca
    return tuple(constants.mean), tuple(constants.std), None


def _loader(file, dataset, data_path):
    arguments = data_of(file, SimpleNamespace(**{**DEFAULTS, "dataset": dataset, "data_path": data_path}))
    log.info("loading %s, which tells what %s does not", arguments["name"], file.path)
    return lambda zca: load_data(**arguments, zca=zca)
