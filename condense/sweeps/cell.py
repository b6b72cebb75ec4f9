"""Run one cell of a sweep: the method's script with --resume, then the baselines of its result.

    python scripts/sweep_cell.py SWEEP FOLDER PYTHON SCRIPT FLAG...

SWEEP is the process that asks: with its end, however it comes, what it asked for stops. FOLDER is the cell's own, where
only one process works at a time: this one holds its lock until the script has ended. Results are found there whatever
the method calls them (IDC of pixels is IDC-I), and a script that leaves none (buffer.py) has no baselines. Exit code
3: the very same command had done the cell before. PyTorch is not loaded here: a cell that is done costs no seconds.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from condense.core.files import atomic_path, locked

ROOT = Path(__file__).resolve().parents[2]
WAS_DONE = 3
PARENT_DEATH_SIGNAL = 1                                  # PR_SET_PDEATHSIG of <linux/prctl.h>
SYSTEM = ctypes.CDLL(None) if sys.platform == "linux" else None

# files of ours that decide what a command means, by their defaults, and which baselines belong to its result
DECIDING = ("main_*.py", "condense/synthetic/*.py", "condense/cli/*.py", "condense/comparison/baselines.py")


def main(sweep: str, place: str, python: str, *words: str) -> int:
    """Run the cell in the folder `place` with the flags `words[1:]` of the script `words[0]`; returns the exit code."""
    folder, flags = Path(place), parse(words)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "cell.lock", lambda: print(f"waiting for another run in {folder}", flush=True)):
        if is_done(folder, flags, words):
            return WAS_DONE
        (folder / "cell.done").unlink(missing_ok=True)
        print(f"start {folder}", flush=True)
        with open(folder / "cell.log", "a") as log:
            code = in_turn(commands(folder, python, words, flags), lambda: os.getppid() == int(sweep), log)
            names = [path.name for path in results(folder)]
            if code == 0 and len(names) > 1:
                code = 2
                print(f"error: {folder} also holds results of other options: {' and '.join(names)}; move all but one "
                      "away, or name another OUT", file=log)
        if code == 0:
            with atomic_path(folder / "cell.done") as path:
                path.write_text(json.dumps(finished(folder, words, flags), indent=1))
        return code


def commands(folder: Path, python: str, words: Sequence[str], flags: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the method's command, then one for each result that it left; only the method knows its name."""
    yield [python, *words] if flags.overwrite else [python, *words, "--resume"]
    for result in results(folder):
        yield [python, str(ROOT / "evaluate.py"), str(result), "--stored", "--beside", "--baselines", "none",
               "--output", str(folder / "scores.json"), "--data_path", flags.data_path, "--device", flags.device]


def results(folder: Path) -> list[Path]:
    return sorted(folder.glob("res_*ipc.pt"))


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset")
    parser.add_argument("--data_path")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--buffer_path", default="buffers")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_known_args(words)[0]


def is_done(folder: Path, flags: argparse.Namespace, words: Sequence[str]) -> bool:
    """Say whether the cell needs no look by the method's script, which takes seconds.

    The images of a folder may have changed without a sign, so there the script looks.
    """
    try:
        before = json.loads((folder / "cell.done").read_text())
    except (OSError, ValueError):
        return False
    return flags.dataset != "folder" and before == finished(folder, words, flags)


def finished(folder: Path, words: Sequence[str], flags: argparse.Namespace) -> dict:
    """Return what tells a finished cell from any other: its command, and every file that decides or holds its result.

    A file counts as the same if size and time are: otherwise the method's script looks.
    """
    named = [Path(word.split("=", 1)[-1]) for word in words]         # the script, --config, --data_path of a file
    ours = [path for pattern in DECIDING for path in sorted(ROOT.glob(pattern))]
    experts = sorted(Path(flags.buffer_path).rglob("buffer.json"))
    files = [*ours, *named, *experts, *sorted(folder.glob("res_*"))]
    stats = {str(path): path.stat() for path in files if path.is_file()}
    return {"command": [word for word in words if word != "--overwrite"],
            "files": {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}}


def in_turn(commands: Iterable[list[str]], wanted: Callable[[], bool], log: IO[str]) -> int:
    """Run `commands` until one fails; returns its exit code, or 0. They stop on SIGTERM, or once not `wanted()`."""
    running: list[subprocess.Popen] = []
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None = None) -> None:
        stopped.append(number)
        for process in running:
            process.terminate()

    def look() -> None:
        if not (stopped or wanted()):
            stop(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for command in commands:
        if stopped or not wanted():
            return 128 + signal.SIGTERM
        process = start(command, log)
        running[:] = [process]
        if stopped:                                       # before there was anything to tell
            process.terminate()
        code = wait(process, look)
        if code:
            return code if code > 0 else 128 - code
    return 0


def start(command: list[str], log: IO[str]) -> subprocess.Popen:
    """Start `command` in a session of its own, where no signal reaches it but ours."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                            start_new_session=True, preexec_fn=end_with_parent,
                            env={**os.environ, "PYTHONUNBUFFERED": "1"})


def end_with_parent() -> None:
    """Called in the child: if this process is killed, and the lock with it, the child must not work on without.

    Only Linux offers that; elsewhere a script whose cell was killed works on.
    """
    if SYSTEM:
        SYSTEM.prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


def wait(process: subprocess.Popen, look: Callable[[], object]) -> int:
    """Return the exit code of `process`; calls `look()` every second meanwhile."""
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            look()
