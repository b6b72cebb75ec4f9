"""Where the parts of a memory come from: real images drawn at random, a method's script, or published files."""

import contextlib
import logging
import re
import shutil
from functools import lru_cache
from pathlib import Path

from condense.checkpoints import refuse_other_result, refuse_result_of_others
from condense.continual.memory import Part, part_of_result, part_of_rows
from condense.continual.order import random_rows
from condense.data import select_classes
from condense.results import load_result
from condense.stopping import Finished

log = logging.getLogger("condense")


class Source:
    """A memory by `name` with `images_per_class`; `made` says whether the last call of `part` computed something."""

    made = False

    def __init__(self, name, images_per_class):
        self.name, self.images_per_class = name, images_per_class

    def check(self, orders):
        """Raise ValueError or FileNotFoundError, before any work, for what would be refused later."""

    def part(self, order, step):
        """Return the `Part` that `step` of a `ClassOrder` adds."""
        raise TypeError(f"{type(self).__name__} does not say where its images come from")

    def clear(self, order, step):
        """Remove what only the making of the part needed."""


class RandomImages(Source):
    """The random memory of the published programs, `number` images of every class."""

    def __init__(self, name, real, number):
        super().__init__(name, number)
        self.real = real
        self._rows = lru_cache(maxsize=1)(lambda order: random_rows(real, order, number))

    def check(self, orders):
        for order in orders:
            self._rows(order)

    def part(self, order, step):
        """Return the part of `step`; raises ValueError where a class has fewer images."""
        return part_of_rows(self.real, self._rows(order)[step])


class Scripted(Source):
    """Sets that a method's script makes of a step's classes alone, each kept in a folder of its own.

    `method` is its `Method`, `given` the options for it, `folder` that of all steps. A step that is finished is read,
    one that was stopped goes on from its checkpoint. Raises OptionError where a folder holds sets of other options or
    images.
    """

    def __init__(self, name, method, cfg, given, real, folder, images_per_class):
        super().__init__(name, images_per_class)
        self.method, self.cfg, self.given, self.real, self.folder = method, cfg, given, real, Path(folder)

    def check(self, orders):
        self.method.check(self.cfg, orders[0].steps[0], self._folder(orders[0], 0) / self.name, self.given)

    def part(self, order, step):
        """Return the part of `step`, made by the script where it is not there yet."""
        classes = order.steps[step]
        folder = self._folder(order, step) / file_name(self.name)
        cell = self.method.cell(self.cfg, classes, folder, self.given)
        self.made = not self._is_finished(folder, cell, classes)
        if self.made:
            self._make(cell, classes)
        return part_of_result(load_result(_result_in(folder)), classes, self.real)

    def clear(self, order, step):
        """Remove expert trajectories."""
        shutil.rmtree(self._folder(order, step) / "experts", ignore_errors=True)

    def _folder(self, order, step):
        return self.folder / f"seed{order.seed}" / f"step{step}"

    def _is_finished(self, folder, cell, classes):
        """Say whether the script need not be asked; for whitened images it is, which takes no more than loading."""
        path = _result_in(folder)
        if path is None or cell.overwrite or self.real.zca is not None:
            return False
        refuse_other_result(path, cell.identity(), False)
        refuse_result_of_others(path, select_classes(self.real, classes).fingerprint, {})
        return True

    def _make(self, cell, classes):
        with _only_warnings():
            if self.method.experts and (cell.overwrite or _result_in(cell.save_path) is None):
                with contextlib.suppress(Finished):
                    self.method.experts.main(self.method.experts_cell(self.cfg, classes, cell, self.given))
            with contextlib.suppress(Finished):
                self.method.script.main(cell)


def file_name(name):
    """Return a source's name as a file system takes it."""
    return re.sub(r"[^\w+-]+", "-", name).strip("-")


def _result_in(folder):
    """Return the path of the only result in a step's folder, or None."""
    return next(Path(folder).glob("res_*ipc.pt"), None)


@contextlib.contextmanager
def _only_warnings():
    """Within: what a script says of its single set stays in its journal; warnings are shown."""
    def is_warning(record):
        return record.levelno >= logging.WARNING

    log.addFilter(is_warning)
    try:
        yield
    finally:
        log.removeFilter(is_warning)


PUBLISHED = {"herding": ("cl_herding_",), "DSA": ("cl_res_DSA_",), "DM": ("cl_DM_",), "LoDM": ("cl_LoDM_", "cl_DM_")}


class PublishedFiles(Source):
    """Sets that were condensed elsewhere, a file for every class order, with a list over its steps.

    The layout and names of the DM paper's and of the low-rank paper's programs: {method}_{dataset}_{model}_{images per
    class}ipc_{steps}steps_seed{seed}.pt in `folder`. `bytes_per_class` are what the method's sets store, dense as the
    files may be.
    """

    def __init__(self, name, method, cfg, real, images_per_class, bytes_per_class):
        super().__init__(name, images_per_class)
        self.method, self.cfg, self.real, self.bytes_per_class = method, cfg, real, bytes_per_class
        self._read = lru_cache(maxsize=1)(self._checked)

    def check(self, orders):
        for order in orders:
            self.path(order)

    def part(self, order, step):
        """Return the part of `step`; raises FileNotFoundError or ValueError where files do not fit the protocol."""
        classes, (images, labels) = order.steps[step], self._read(order)[step]
        hard = labels if labels.dim() == 1 else labels.argmax(1)
        if sorted(set(hard.tolist())) != sorted(classes):
            raise ValueError(f"{self.path(order)}: step {step} holds other classes than seed {order.seed} brings then; "
                             "take the files of this data set, number of steps and seed")
        if images.shape[1:] != self.real.images.shape[1:]:
            raise ValueError(f"{self.path(order)} holds images {tuple(images.shape[1:])}, {self.real.name} has "
                             f"{tuple(self.real.images.shape[1:])}; name the data set that they are of")
        return Part(images, labels, self.bytes_per_class * len(classes))

    def path(self, order):
        """Return the file of a class order; raises FileNotFoundError naming what it may be called."""
        cfg = self.cfg
        tail = f"{cfg.dataset}_{cfg.model}_{self.images_per_class}ipc_{cfg.steps}steps_seed{order.seed}.pt"
        paths = [Path(cfg.cl_data_path) / f"{head}{tail}" for head in PUBLISHED[self.method]]
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            raise FileNotFoundError(f"no {' or '.join(path.name for path in paths)} in {cfg.cl_data_path}; put the "
                                    "published files there, or leave --cl_data_path out to condense")
        return path

    def _checked(self, order):
        from condense.sharing.layouts import read_set

        file, steps = read_set(self.path(order)), len(order.steps)
        if len(file.sets) != steps:
            raise ValueError(f"{file.path} holds {len(file.sets)} steps, not {steps}; take the file of that many")
        if file.space not in (None, "normalised"):
            raise ValueError(f"{file.path} holds {file.space} pixels; published sets are normalised: convert it first")
        return [(of.images, of.labels) for of in file.sets]
