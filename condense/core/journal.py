"""What a run reports while it runs: lines on the terminal, JSON lines in a file, optionally TensorBoard."""

import contextlib
import json
import logging
import os
import platform
import sys
import time
import weakref
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from condense.core.errors import OptionError

log = logging.getLogger("condense")


class _ThroughBars(logging.Handler):
    """Print log lines without tearing progress bars apart."""

    def emit(self, record):
        tqdm.write(self.format(record), file=sys.stderr if record.levelno >= logging.ERROR else None)


class _OfDefects(logging.Handler):
    """Put what ended the process by a defect of ours into the journal that is open then."""

    def __init__(self, journal):
        super().__init__(logging.CRITICAL)
        self.journal = weakref.ref(journal)

    def emit(self, record):
        journal = self.journal()
        if journal is not None and not journal.file.closed:
            journal.write("defect", traceback=record.getMessage())


def log_to_terminal() -> None:
    """Send the toolkit's log lines to standard output, once."""
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _ThroughBars) for handler in log.handlers):
        log.addHandler(_ThroughBars())


class Journal:
    """Metrics of a run as JSON lines at `path`; with `tensorboard`, also as TensorBoard events.

    `continue_at` bytes of an earlier file are kept (what a resumed checkpoint had seen); None starts a new file.
    """

    def __init__(self, path: Path, tensorboard: bool = False, continue_at: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.board = _tensorboard(path.with_suffix("")) if tensorboard else None       # before anything is written
        self.file = open(path, "r+b" if continue_at is not None and path.is_file() else "wb")
        if continue_at is not None:
            size = self.file.seek(0, os.SEEK_END)
            self.file.truncate(self.file.seek(min(continue_at, size)))
        self.start = time.perf_counter()
        handler = _OfDefects(self)
        log.addHandler(handler)
        weakref.finalize(self, log.removeHandler, handler)

    def write(self, event: str, **figures: Any) -> None:
        """Append one line; every line says its event and the seconds since this command started."""
        line = {"event": event, "time_s": round(time.perf_counter() - self.start, 3), **figures}
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()
        if self.board and "iteration" in figures:
            for name, value in figures.items():
                if isinstance(value, float):
                    tag = "/".join(str(part) for part in (figures.get("model", event), name))
                    self.board.add_scalar(f"exp{figures['exp']}/{tag}", value, figures["iteration"])

    def write_start(self, options: dict[str, Any], device: torch.device) -> None:
        """Record what the result file leaves out, so that equal runs give equal files."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        self.write("start", options=options, versions=versions(), device=str(device), device_name=name,
                   date=time.strftime("%Y-%m-%dT%H:%M:%S"))

    def position(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()
        if self.board:
            self.board.close()


def versions() -> dict[str, str]:
    """Return {name: version} of the libraries and drivers that decide numbers."""
    return {**{name: version(name) for name in ("torch", "torchvision", "numpy")}, "python": platform.python_version()}


def _tensorboard(folder):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise OptionError("--tensorboard needs a package that is not here: pip install tensorboard") from None
    return SummaryWriter(folder)
