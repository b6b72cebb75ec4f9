"""Memories that were condensed elsewhere: published files, checked against the protocol before they are evaluated."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from condense.continual.memory import Part
from condense.continual.order import ClassOrder
from condense.continual.sources import Source
from condense.core.errors import InputError, MissingFile
from condense.core.files import file_sha256
from condense.data.real import RealData
from condense.sharing.layouts import read_set
from condense.sharing.likeness import ASK
from condense.sharing.loading import place
from condense.sharing.spaces import Spaces, space_of

log = logging.getLogger("condense")

# method -> how its files' names begin
PUBLISHED = {"herding": ("cl_herding_",), "DSA": ("cl_res_DSA_",), "DM": ("cl_DM_",), "LoDM": ("cl_LoDM_", "cl_DM_")}
SPACES = ("normalised", "raw")
BYTES_FROM = 8.0                           # mean magnitude of pixels 0..255; on other scales it is about 1


class PublishedFiles(Source):
    """Sets that were condensed elsewhere, a file for every class order, with a list over its steps.

    The layout and names of the DM paper's and of the low-rank paper's programs: {method}_{dataset}_{model}_{images per
    class}ipc_{steps}steps_seed{seed}.pt in `folder`. `bytes_per_class` are what the method's sets store, dense as the
    files may be: so each has to hold as many images of every class as its name says. Pixels that are not normalised
    but raw, on the scale [0, 1] or 0..255, are normalised.
    """

    def __init__(self, name: str, method: str, cfg: Any, real: RealData, images_per_class: int,
                 bytes_per_class: int) -> None:
        super().__init__(name, images_per_class)
        self.method, self.cfg, self.real, self.bytes_per_class = method, cfg, real, bytes_per_class
        self.space, self.factor, self.sha256 = None, 1, {}
        self._placed = lru_cache(maxsize=1)(self._read_and_place)

    def check(self, orders: Sequence[ClassOrder]) -> None:
        """Read all files; raises FileNotFoundError or ValueError where one does not follow the protocol."""
        files = [self._checked(order) for order in orders]
        self.space, self.factor, evidence = self._space(files)
        log.info("%s: %d published files, %s", self.name, len(files), evidence)

    def facts(self) -> dict[str, Any]:
        return {"files": self.sha256, "space": self.space}

    def path_of(self, name: str) -> Path:
        """Return where the file `name` lies."""
        return Path(self.cfg.cl_data_path) / name

    def part(self, order: ClassOrder, step: int) -> Part:
        """Return the part of `step`, normalised as the data at hand are; `check` has to come first."""
        images, labels = self._placed(order)[step]
        return Part(images, labels, self.bytes_per_class * len(order.steps[step]))

    def path(self, order: ClassOrder) -> Path:
        """Return the file of a class order; raises FileNotFoundError naming what it may be called."""
        cfg = self.cfg
        tail = f"{cfg.dataset}_{cfg.model}_{self.images_per_class}ipc_{cfg.steps}steps_seed{order.seed}.pt"
        paths = [self.path_of(f"{head}{tail}") for head in PUBLISHED[self.method]]
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            raise MissingFile(f"no {' or '.join(path.name for path in paths)} in {cfg.cl_data_path}; put the "
                              "published files there, or leave --cl_data_path out to condense")
        return path

    def _checked(self, order):
        """Return the `SetFile` of a class order, every step of it checked against the protocol."""
        path, steps = self.path(order), len(order.steps)
        file = read_set(path)
        if len(file.sets) != steps:
            raise InputError(f"{path} holds {len(file.sets)} steps, not {steps}; give the file with that many")
        for step, (one, classes) in enumerate(zip(file.sets, order.steps)):
            if one.images.shape[1:] != self.real.images.shape[1:]:
                raise InputError(f"{path} holds images {tuple(one.images.shape[1:])}, {self.real.name} has "
                                 f"{tuple(self.real.images.shape[1:])}; name the data set that they are of")
            self._check_labels(f"{path}: step {step}", one.labels, classes, order.seed)
        self.sha256[str(order.seed)] = {"name": path.name, "sha256": file_sha256(path)}
        return file

    def _check_labels(self, where, labels, classes, seed):
        hard = labels if labels.dim() == 1 else labels.argmax(1)
        width = labels.shape[1] if labels.dim() == 2 else self.real.num_classes
        if width != self.real.num_classes or sorted(set(hard.tolist())) != sorted(classes):
            raise InputError(f"{where} holds other classes than seed {seed} has at this step; give the files of this "
                             "data set, number of steps and seed")
        counts = hard.bincount()[list(classes)].tolist()
        wrong = next((number for number in counts if number != self.images_per_class), None)
        if wrong is not None:
            raise InputError(f"{where} holds {wrong} images of a class, not the {self.images_per_class} that its name "
                             "says; give a complete file, or its --ipc and form")

    def _space(self, files):
        """Return (space of all files, factor from their scale to that of the space, evidence in words)."""
        path, _, _ = str(files[0].path).rpartition("_seed")
        pooled = replace(files[0], path=Path(f"{path}_seed*.pt"), best=(),
                         sets=tuple(one for file in files for one in file.sets))
        if len({file.space for file in files}) > 1:
            raise InputError(f"{pooled.path} disagree about the space of their pixels; take files from one source")
        if _mean_magnitude(pooled.sets) > BYTES_FROM:
            if self.cfg.cl_space == "normalised":
                raise InputError(f"{pooled.path}: pixels are 0..255, not normalised; give --cl_space raw")
            return "raw", 1 / 255, "raw: pixels 0..255"
        try:
            space, evidence = space_of(pooled, Spaces(lambda zca: self.real), self.cfg.cl_space)
        except ValueError as error:
            raise InputError(str(error).replace(ASK, f"give --cl_space {' or '.join(SPACES)}")) from error
        if space not in SPACES:
            raise InputError(f"{pooled.path}: pixels seem to be whitened ({evidence}), but memories here are not; give "
                             f"other files, or give --cl_space {' or '.join(SPACES)} if that is wrong")
        return space, 1, evidence.replace("--space", "--cl_space")

    def _read_and_place(self, order):
        """Return [(images as the data at hand are normalised, labels) of each step] of a class order."""
        file = read_set(self.path(order))
        if self.factor != 1:
            file = replace(file, sets=tuple(replace(one, images=self.factor * one.images) for one in file.sets))
        placed = place(file, Spaces(lambda zca: self.real), self.space)
        return [(one.tensor.cpu(), one.labels.cpu()) for one in placed.sets]


def _mean_magnitude(sets):
    return float(torch.stack([one.images.abs().mean() for one in sets]).mean())
