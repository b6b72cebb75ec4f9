"""Where the parts of a memory come from: real images drawn at random, or a method's script."""

import contextlib
import logging
import re
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from condense.continual.memory import Part, part_of_result, part_of_rows
from condense.continual.methods import StepMethod
from condense.continual.order import ClassOrder, random_rows
from condense.core.errors import Finished
from condense.data import select_classes
from condense.data.coresets import require_images
from condense.data.real import RealData
from condense.run.checkpoints import Checkpoint, refuse_other_images, refuse_other_result, refuse_result_of_others
from condense.run.results import load_result

log = logging.getLogger("condense")


class Source:
    """A memory by `name` with `images_per_class`; `made` says whether the last call of `part` computed something."""

    made = False

    def __init__(self, name: str, images_per_class: int) -> None:
        self.name, self.images_per_class = name, images_per_class

    def check(self, orders: Sequence[ClassOrder]) -> None:
        """Raise ValueError or FileNotFoundError, before any work, for what would be refused later."""

    def facts(self) -> dict[str, Any]:
        """Return plain values that say where its images come from, {} where its name says it all."""
        return {}

    def part(self, order: ClassOrder, step: int) -> Part:
        """Return the `Part` that `step` of a `ClassOrder` adds."""
        raise TypeError(f"{type(self).__name__} does not say where its images come from")

    def clear(self, order: ClassOrder, step: int) -> None:
        """Remove what only the making of the part needed."""


class RandomImages(Source):
    """The random memory of the published programs, `number` images of every class."""

    def __init__(self, name: str, real: RealData, number: int) -> None:
        super().__init__(name, number)
        self.real = real
        self._rows = lru_cache(maxsize=1)(lambda order: random_rows(real, order, number))

    def check(self, orders: Sequence[ClassOrder]) -> None:
        for order in orders:
            self._rows(order)

    def part(self, order: ClassOrder, step: int) -> Part:
        """Return the part of `step`; raises ValueError where a class has fewer images."""
        return part_of_rows(self.real, self._rows(order)[step])


class Scripted(Source):
    """Sets that a method's script makes of a step's classes alone, each kept in a folder of its own.

    `method` is its `StepMethod`, `given` the options for it, `folder` that of all steps. A step that is finished is
    read, one that was stopped goes on from its checkpoint.
    """

    def __init__(self, name: str, method: StepMethod, cfg: Any, given: dict[str, Any], real: RealData,
                 folder: str | Path, images_per_class: int) -> None:
        super().__init__(name, images_per_class)
        self.method, self.cfg, self.given, self.real, self.folder = method, cfg, given, real, Path(folder)

    def check(self, orders: Sequence[ClassOrder]) -> None:
        """Raise OptionError or ValueError for what the script refuses, and for any step of other options or images."""
        if not self.method.has_form:
            require_images(self.real, self.images_per_class)
        self.method.check(self.cfg, orders[0].steps[0], self._folder(orders[0], 0) / self.name, self.given)
        if not self.cfg.overwrite:
            for order in orders:
                for step in range(len(order.steps)):
                    self._refuse_others(order.steps[step], self._cell(order, step))

    def facts(self) -> dict[str, Any]:
        return {"seed": self.cfg.seed}

    def part(self, order: ClassOrder, step: int) -> Part:
        """Return the part of `step`, made by the script where it is not there yet; call `check` first."""
        classes, cell = order.steps[step], self._cell(order, step)
        self.made = _result_in(cell.save_path) is None
        if self.made:
            self._make(cell, classes)
        return part_of_result(load_result(_result_in(cell.save_path)), classes, self.real.num_classes)

    def clear(self, order: ClassOrder, step: int) -> None:
        """Remove expert trajectories."""
        shutil.rmtree(self._folder(order, step) / "experts", ignore_errors=True)

    def _folder(self, order, step):
        return self.folder / f"seed{order.seed}" / f"step{step}"

    def _cell(self, order, step):
        folder = self._folder(order, step) / file_name(self.name)
        return self.method.cell(self.cfg, order.steps[step], folder, self.given)

    def _refuse_others(self, classes, cell):
        """Raise OptionError where a step's result or checkpoint is not one of `cell`, made from these images."""
        path = _result_in(cell.save_path)
        checkpoint = next(Path(cell.save_path).glob("*.ckpt"), None)
        if path is not None:
            refuse_other_result(path, cell.identity(), False)
            refuse_result_of_others(path, select_classes(self.real, classes).fingerprint, {})
        elif checkpoint is not None:
            state = Checkpoint(checkpoint, cell.identity()).load(resume=True, overwrite=False)
            refuse_other_images(checkpoint, state, select_classes(self.real, classes).fingerprint)

    def _make(self, cell, classes):
        with _only_warnings():
            if self.method.experts:
                with contextlib.suppress(Finished):
                    self.method.experts.main(self.method.experts_cell(self.cfg, classes, cell, self.given))
            with contextlib.suppress(Finished):
                self.method.script.main(cell)


def file_name(name: str) -> str:
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
