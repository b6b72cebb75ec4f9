"""What a run that makes experts reports at its start: how much disk space and time it will take."""

import math
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from condense.core.errors import OptionError
from condense.core.words import duration

TIMED_S = 1.0                              # training that is timed before a run says how long it will take
TEST_SHARE = 1 / 3                         # time of a test image over a training image's: forward alone


def require_space(folder: str | Path, missing: int, transient: int, each: int) -> None:
    """Raise OptionError where the disk of `folder` has no room for `missing` experts of `each` bytes.

    `transient` more are there twice for a moment: a replay file is whole before its parts go.
    """
    needed, free = (missing + transient) * each, shutil.disk_usage(_existing(folder)).free
    if missing and needed > free:
        raise OptionError(f"the experts need {gigabytes(needed)} while they are made, {folder} has {gigabytes(free)} "
                          "free; use fewer --num_experts, --keep_epochs, --half, or another --buffer_path")


def gigabytes(size: float) -> str:
    """Word a number of bytes: 1.2 TB, 6.53 GB, 512 MB, 12 kB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def counted(experts: int) -> str:
    """Word a number of experts."""
    return f"{experts} expert{'s' * (experts != 1)}"


def _existing(folder):
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


class Clock:
    """Times minibatches until there is enough to tell; the first one warms up, and compiles."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.timed, self.spent_s, self.warm, self.told = device, 0, 0.0, False, False

    def watch(self, minibatches: Iterable) -> Iterator:
        """Yield `minibatches`, timing how long each takes with what is done to it."""
        start = time.perf_counter()
        for minibatch in minibatches:
            yield minibatch
            if self.told:
                continue
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            now = time.perf_counter()
            if self.warm:
                self.timed, self.spent_s = self.timed + 1, self.spent_s + now - start
            self.warm, start = True, now

    def ready(self, epoch_over: bool) -> bool:
        """Report once, as soon as enough is known: after a second of training, or with `epoch_over` in any case."""
        enough = self.timed > 0 and (epoch_over or self.spent_s >= TIMED_S)
        first, self.told = enough and not self.told, self.told or enough
        return first

    def forecast(self, epochs: int, tests: int, num_images: int, num_test: int, batch_size: int) -> tuple[float, float]:
        """Return (seconds in all, seconds of an epoch) of `epochs` epochs and `tests` tests still to do."""
        per_minibatch_s = self.spent_s / self.timed
        epoch_s = per_minibatch_s * math.ceil(num_images / batch_size)
        return epochs * epoch_s + tests * TEST_SHARE * per_minibatch_s * num_test / batch_size, epoch_s


def word_forecast(total_s: float, epoch_s: float, experts: int, epochs: int, at_once: int) -> str:
    """Word a forecast in one line that names the flags which shorten it."""
    together = f", {at_once} experts at once" if at_once > 1 else ""
    return (f"about {duration(total_s)} in all: {counted(experts)} of {epochs} epochs "
            f"({epoch_s:.3g} s each{together}); shorter with --num_experts, --train_epochs, --keep_epochs")
