"""One way from a file to images: read, decoded, and brought into the space that is asked for.

`load_set` does it for one set, `place` for all sets of a file, with real data; both use a `SetReader`.
"""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import SimpleNamespace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import TensorDataset

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data import RealData, Whitening, load_data
from condense.data.constants import PUBLISHED
from condense.data.space import Space, converted
from condense.sharing.classes import class_numbers, require_shape
from condense.sharing.fetch import local_copy
from condense.sharing.layouts import SetFile, read_set
from condense.sharing.real_data import DEFAULTS, data_of
from condense.sharing.spaces import Spaces, source_space, space_of, stated_space
from condense.sharing.stored import StoredSet
from condense.synthetic.multi_formation import decode as decode_tiles
from condense.training import TensorSet
from condense.training.steps import Steps

log = logging.getLogger("condense")

WHICH = ("last", "best")


@dataclass(frozen=True, eq=False)
class LoadedSet:
    """A set ready to train on.

    `images` (n, C, H, W) float32 in `space`: normalised with its `mean` and `std`, or whitened with its `zca`, and test
    images must be made alike; or raw, where that was asked for. `labels` (n,) int64, or (n, K) probabilities.
    `class_names` is None if they are not known, `lr` the step size learned with the set, or None. `path` is the file,
    `evidence` says how its space is known. `steps` are those of a set of unrolled training: which images each of them
    sees, how far it goes, and fixed starts; else None. Every `views` images in a row show one stored base, of which an
    epoch of training sees one, drawn anew each time; 1: every image is its own.
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple | None
    space: Space
    lr: float | None
    path: Path
    evidence: str
    steps: Steps | None = None
    views: int = 1

    @property
    def mean(self) -> tuple | None:
        """Mean per channel on the scale [0, 1]; None for whitened images."""
        return None if self.space.name == "zca" else self.space.mean

    @property
    def std(self) -> tuple | None:
        """Standard deviation per channel on the scale [0, 1]; None for whitened images."""
        return None if self.space.name == "zca" else self.space.std

    @property
    def zca(self) -> Whitening | None:
        """The `Whitening` of whitened images; None for others."""
        return self.space.zca if self.space.name == "zca" else None

    @cached_property
    def dataset(self) -> TensorDataset:
        """The set as a `torch.utils.data.TensorDataset` of (image, label), for a DataLoader."""
        return TensorDataset(self.images, self.labels)

    def pixels(self) -> Float[Tensor, "n c h w"]:
        """Return the images to look at: float32 on the scale [0, 1], clamped."""
        return self.space.decode(self.images, torch.float64).clamp(0, 1).float()


@dataclass(frozen=True)
class Placed:
    """The sets of a file and the real data of the same space.

    `real` is normalised or whitened; `sets` and `best` are `TensorSet`s on its device and in its space, decoded.
    `space` names the one the file has, `evidence` says in words how that is known; `decode` is the factor applied.
    """

    real: RealData
    sets: list
    best: list
    space: str
    evidence: str
    decode: int


@dataclass(frozen=True, eq=False)
class SetReader:
    """The sets of a `file` in any space, and what is known or asked about its pixels.

    `real` are the `Spaces` of the data it was made for, loaded only where the file leaves something open. `space` and
    `decode` say what the file does not, `dataset` the name of those data. `flag` is what errors call `space`.
    """

    file: SetFile
    real: Spaces
    space: str | None = None
    decode: int | None = None
    dataset: str | None = None
    flag: str = "--space"

    @property
    def name(self) -> str | None:
        """The data set's name, None if it is not known."""
        return self.dataset or self.file.dataset

    @cached_property
    def found(self) -> tuple[str, str]:
        """(name of the space of the file's pixels, how it is known in words)."""
        try:
            name, evidence = space_of(self.file, self.real, self.space)
        except ValueError as error:
            raise InputError(str(error).replace("--space", self.flag)) from error
        return name, evidence.replace("--space", self.flag)

    @cached_property
    def factor(self) -> int:
        """The decode factor; raises ValueError as `SetFile.factor` does."""
        return self.file.factor(self.decode)

    def placed(self) -> Placed:
        """Return all sets as a `Placed`; see `place`."""
        file, factor = self.file, self.factor
        require_shape(file, self.real.normalised)
        name, evidence = self.found
        real = self.real.whitened(file.zca) if name == "zca" else self.real.normalised
        before, how = source_space(file, name, real)
        renumber, words = class_numbers(file, real)

        def placed(one):
            images, labels = _decoded(one, before, Space.of(real), factor)
            return TensorSet(images.to(real.device), renumber(labels).to(real.device))

        done = _joined(", ", how, "normalised with the data set's constants" if name == "raw" else None,
                       f"decoded by factor {factor}" if factor > 1 else None)
        return Placed(real, list(map(placed, file.sets)), list(map(placed, file.best)), name,
                      _joined("; ", evidence, done, words), factor)

    def beside_data(self, experiment: int = 0, which: str = "last") -> LoadedSet:
        """Return one set as a `LoadedSet` in the space that its real data have."""
        one, placed = chosen_set(self.file, experiment, which), self.placed()
        found, real = (placed.sets if which == "last" else placed.best)[experiment], placed.real
        return LoadedSet(found.tensor, found.labels, tuple(real.class_names), Space.of(real), one.lr, self.file.path,
                         placed.evidence, one.steps_decoded(self.file.path, placed.decode), self.file.views)

    def alone(self, experiment: int = 0, which: str = "last") -> LoadedSet | None:
        """Return one set as a `LoadedSet` by what the file says, normalised or whitened; None if it takes real data."""
        file, name, factor = self.file, self.space or self.file.space, self.factor
        one = chosen_set(file, experiment, which)
        before, after = (None, None) if name is None else self._said(name)
        if after is None:
            return None
        images, labels = _decoded(one, before, after, factor)
        evidence = f"{name}: {file.said_by}" if self.space is None else f"{name}, as space says"
        return LoadedSet(images, labels, file.class_names, after, one.lr, file.path, evidence,
                         one.steps_decoded(file.path, factor), file.views)

    def _said(self, name):
        """Return the `Space` that the pixels are in and the one they shall be in, (None, None) where unknown."""
        if name == "zca":
            space = Space("zca", zca=Whitening.from_state(self.file.zca)) if self.file.zca is not None else None
            return space, space
        stated, _ = stated_space(self.file, self.dataset)
        if stated is None:
            return None, None
        after = stated if self.file.mean is not None else PUBLISHED.get(self.name)
        return replace(stated, name=name), after

    def in_space(self, experiment: int = 0, which: str = "last", name: str | None = None,
                 standard: bool = False) -> LoadedSet:
        """Return one set as a `LoadedSet` in the space `name`, by default the file's own.

        `standard` normalises with the data set's constants where the file has others. Images that need no conversion
        are those of the file to the bit. Raises ValueError for a whitening that the file does not have.
        """
        file, (own, evidence) = self.file, self.found
        one, name = chosen_set(file, experiment, which), name or own
        if name == "zca" != own:
            raise InputError(f"{file.path} is {own} and has no ZCA whitening; give --space normalised or raw")
        before = self.space_named(own)
        after = before if name == own else self.space_named(name)
        if standard and name == "normalised":
            after = PUBLISHED.get(self.name, after)  # type: ignore[arg-type]
        images, labels = _decoded(one, before, after, self.factor)
        return LoadedSet(images, labels, file.class_names, after, one.lr, file.path, evidence,
                         one.steps_decoded(file.path, self.factor), file.views)

    def space_named(self, name: str) -> Space:
        """Return the `Space` of the set's pixels in the space `name`; of raw ones with its data set's, where known."""
        if name == "zca":
            state = self.file.zca
            return Space("zca", zca=Whitening.from_state(state) if state else self.real.whitened().zca)
        stated = stated_space(self.file, self.name)[0] if name == self.found[0] == "normalised" else None
        return replace(stated or self._of_data_set(name), name=name)

    def _of_data_set(self, name):
        if self.file.mean is not None:
            return Space(name, self.file.mean, self.file.std)
        if self.name in PUBLISHED:
            return PUBLISHED[self.name]
        if name == "raw":
            return Space("raw")                            # nothing is to be converted: not worth loading the data
        return Space.of(self.real.normalised)


def load_set(address: str | PathLike, experiment: int = 0, which: str = "last", space: str | None = None,
             decode: int | None = None, labels: str | PathLike | None = None, sha256: str | None = None,
             data_path: str | Path = "data", dataset: str | None = None, to: str | None = None) -> LoadedSet:
    """Return the `LoadedSet` at `address`, a file or folder of any known layout (`read_set`) or the URL of a file.

    `experiment` is the position in the file, `which` the "last" iteration's set or the "best". `space` ("normalised",
    "zca" or "raw") and `decode`, the factor of multi-formation, say what the file does not. `labels` is the path or
    URL of the labels of a file without. `sha256` is that of the file. Only where statistics must tell the space,
    or constants are missing, real data are loaded: `dataset` under `data_path`, or the one that the file names. `to`
    names the space wanted; by default it is that which networks train in: normalised, or whitened where the set is.
    Raises FileNotFoundError, OSError or ValueError in one line.
    """
    labels = None if labels is None else local_copy(labels)
    file = read_set(local_copy(address, sha256), labels)
    chosen_set(file, experiment, which)
    reader = SetReader(file, Spaces(lambda zca: _load(file, dataset, data_path, zca)), space, decode, dataset)
    if to is not None:
        return reader.in_space(experiment, which, to)
    return reader.alone(experiment, which) or reader.beside_data(experiment, which)


load_synthetic_set = load_set                              # as it is called in README and in scripts of users


def place(file: SetFile, spaces: Spaces, space: str | None = None, decode: int | None = None) -> Placed:
    """Return the sets of `file` (a `SetFile`) as a `Placed`, ready to train on and to test with its `real`.

    Whitened sets stay whitened, with the transform they bring; normalised ones and raw ones become normalised with
    the data's own constants. `space` and `decode` override what the file says. Raises ValueError in one line where
    the space or the decode factor is unknown, and where images or classes are not the data's.
    """
    return SetReader(file, spaces, space, decode).placed()


def chosen_set(file: SetFile, experiment: int = 0, which: str = "last") -> StoredSet:
    """Return the `StoredSet` of `file` at position `experiment`; raises ValueError where it has none."""
    lookup(dict.fromkeys(WHICH), which, "choice of --which")
    sets = file.sets if which == "last" else file.best
    if not sets:
        other = WHICH[which == "last"]
        raise InputError(f"{file.path} has no set of the {which} iteration; give --which {other}")
    if not 0 <= experiment < len(sets):
        raise InputError(f"{file.path} has {len(sets)} experiment{'s' * (len(sets) > 1)}, numbered from 0; there is no "
                         f"--experiment {experiment}")
    return sets[experiment]


def _decoded(one, before, after, factor):
    """Return (images, labels) of a `StoredSet` in the `Space` `before`, decoded by `factor` and brought to `after`.

    Where nothing is to be done they are those of the file to the bit.
    """
    if before == after and factor == 1:
        return one.images, one.labels
    images = converted(one.images, before, after, lambda pixels: decode_tiles(pixels, factor))
    return images, one.labels.repeat(factor**2, *[1] * (one.labels.dim() - 1))       # tiles are slow, images fast


def _joined(sign, *parts):
    return sign.join(filter(None, parts))


def _load(file, dataset, data_path, zca):
    arguments = data_of(file, SimpleNamespace(**{**DEFAULTS, "dataset": dataset, "data_path": data_path}))
    log.info("loading %s, which says what %s leaves open", arguments["name"], file.path)
    return load_data(**arguments, zca=zca)
