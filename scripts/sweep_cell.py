"""Run one cell of a sweep: the method's script with --resume, then the baselines of its result.

    python scripts/sweep_cell.py SWEEP FOLDER PYTHON SCRIPT FLAG...

SWEEP is the process that asks: with its end, however it comes, what it asked for stops. FOLDER is the cell's own, where
only one process works at a time; results are found there whatever the method calls them (IDC of pixels is IDC-I), and
a script that leaves none (buffer.py) has no baselines. Exit code 3: the very same command had done the cell before.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from condense.core.files import atomic_path, locked  # noqa: E402

WAS_DONE = 3


def main(sweep, folder, python, *words):
    folder, flags = Path(folder), parse(words)
    folder.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGHUP):        # Ctrl-C and a closed terminal reach the sweep, too:
        signal.signal(number, signal.SIG_IGN)            # it tells us by one SIGTERM
    with locked(folder / "cell.lock", lambda: print(f"waiting for another run in {folder}", flush=True)) as lock:
        if is_done(folder, flags, words):
            return WAS_DONE
        (folder / "cell.done").unlink(missing_ok=True)
        print(f"start {folder}", flush=True)
        with open(folder / "cell.log", "a") as log:
            code = in_turn(commands(folder, python, words, flags), lambda: os.getppid() == int(sweep), log, lock)
            names = [path.name for path in results(folder)]
            if code == 0 and len(names) > 1:
                code = 2
                print(f"error: {folder} holds results of other options, too: {' and '.join(names)}; move all but one "
                      "away, or name another OUT", file=log)
        if code == 0:
            with atomic_path(folder / "cell.done") as path:
                path.write_text(json.dumps(finished(folder, words, flags), indent=1))
        return code


def commands(folder, python, words, flags):
    """Yield the method's command, then one for each result that it left; only the method knows its name."""
    yield [python, *words] if flags.overwrite else [python, *words, "--resume"]
    for result in results(folder):
        yield [python, str(ROOT / "evaluate.py"), str(result), "--stored", "--beside", "--baselines", "none",
               "--output", str(folder / "scores.json"), "--data_path", flags.data_path, "--device", flags.device]


def results(folder):
    return sorted(folder.glob("res_*ipc.pt"))


def parse(words):
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset")
    parser.add_argument("--data_path")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--buffer_path", default="buffers")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_known_args(words)[0]


def is_done(folder, flags, words):
    """Say whether the cell needs no look by the method's script, which takes seconds.

    The images of a folder may have changed without a sign, so there the script looks.
    """
    try:
        before = json.loads((folder / "cell.done").read_text())
    except (OSError, ValueError):
        return False
    return flags.dataset != "folder" and before == finished(folder, words, flags)


def finished(folder, words, flags):
    """Return what tells a finished cell from any other: its command, and every file that decides or holds its result.

    A file counts as the same if size and time are: otherwise the method's script looks.
    """
    named = [Path(word.split("=", 1)[-1]) for word in words]         # the script, --config, --data_path of a file
    ours = [*sorted(ROOT.glob("main_*.py")), *sorted(ROOT.glob("condense/synthetic/*.py")),
            ROOT / "condense/options.py", ROOT / "condense/evaluation/baselines.py"]
    experts = sorted(Path(flags.buffer_path).rglob("buffer.json"))
    files = [*ours, *named, *experts, *sorted(folder.glob("res_*"))]
    stats = {str(path): path.stat() for path in files if path.is_file()}
    return {"command": [word for word in words if word != "--overwrite"],
            "files": {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}}


def in_turn(commands, wanted, log, lock):
    """Run `commands` until one fails; returns its exit code, or 0. They stop on SIGTERM, or once not `wanted()`."""
    running, stopped = [], []

    def stop(number, frame=None):
        stopped.append(number)
        for process in running:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)
    for command in commands:
        if stopped or not wanted():
            return 128 + signal.SIGTERM
        process = start(command, log, lock)
        running[:] = [process]
        if stopped:                                       # before there was anything to tell
            process.terminate()
        code = wait(process, lambda: stopped or wanted() or stop(signal.SIGTERM))
        if code:
            return code if code > 0 else 128 - code
    return 0


def start(command, log, lock):
    """Start `command` where Ctrl-C does not reach it, in a session of its own; it holds the lock while it lives."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                            pass_fds=[lock.fileno()], start_new_session=True,
                            env={**os.environ, "PYTHONUNBUFFERED": "1"})


def wait(process, look):
    """Return the exit code of `process`; calls `look()` every second meanwhile."""
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            look()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
