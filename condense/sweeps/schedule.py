"""The cells of a sweep as processes: a few at a time, counted when they end, ended when the sweep is stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from condense.sweeps.cell import WAS_DONE
from condense.sweeps.plan import ROOT, Cell, SweepRequest, cell_environment

PAUSE = 0.1                                # seconds between two looks at the cells


class Schedule:
    """Cells of `request` at work. `stopped` is the signal that asked to stop, `failures` has a line for each failed."""

    def __init__(self, request: SweepRequest, total: int) -> None:
        self.request, self.total = request, total
        self.environment = cell_environment(request, os.environ)
        self.running: dict[subprocess.Popen, tuple[Cell, float]] = {}     # process: (cell, time of its start)
        self.ended = 0
        self.failures: list[str] = []
        self.stopped: int | None = None

    def run(self, cells: list[Cell]) -> None:
        """Run `cells`, at most as many at a time as the request says; returns when all have ended."""
        for cell in cells:
            while len(self.running) >= self.request.jobs:
                self._wait()
            if self.stopped:
                break
            self._start(cell)
        while self.running:
            self._wait()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within: SIGINT, SIGTERM and SIGHUP start no more cells, and those at work write their checkpoints.

        A second signal stops them at once. What is ignored from the start (nohup) stays so.
        """
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                   if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, cell: Cell) -> None:
        command = cell_command(self.request, cell)
        # a session of its own: Ctrl-C and a closed terminal reach the sweep alone, which tells its cells
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=self.environment, start_new_session=True)
        self.running[process] = cell, time.monotonic()
        if self.stopped:                                 # asked to stop while it was being started
            process.terminate()

    def _wait(self) -> None:
        time.sleep(PAUSE)
        for process in [process for process in self.running if process.poll() is not None]:
            self._take_note(process.returncode, *self.running.pop(process))

    def _take_note(self, code: int, cell: Cell, since: float) -> None:
        """Count a cell that ended, and say how."""
        self.ended += 1
        if self.stopped:
            return
        if code == 0:
            how = f"done in {time.monotonic() - since:.0f} s: {cell.folder}"
        elif code == WAS_DONE:
            how = f"was done: {cell.folder}"
        else:
            code = code if code > 0 else 128 - code
            line = f"{cell.folder}: {last_line(Path(self.request.out, cell.folder, 'cell.log'))} (exit code {code})"
            self.failures.append(line)
            how = f"FAILED: {line}"
        print(f"[{self.ended}/{self.total}] {how}", flush=True)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = number
        print(f"stopping: {len(self.running)} cells put down what they have", file=sys.stderr, flush=True)
        for process in list(self.running):
            process.terminate()


def cell_command(request: SweepRequest, cell: Cell) -> list[str]:
    """Return the command of the process that takes care of one cell."""
    return [request.python, str(ROOT / "scripts" / "sweep_cell.py"), str(os.getpid()), f"{request.out}/{cell.folder}",
            request.python, str(ROOT / cell.method.script), *cell.flags]


def last_line(path: Path) -> str:
    """Return the last line of a log."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no output"
    return lines[-1] if lines else ""
