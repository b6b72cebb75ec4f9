"""What the tests of the sweeps share: their settings, how one is waited for, and what a cell is told."""

import fcntl
import time
from pathlib import Path

import main_DC
import main_DD
import main_DM
import main_IDC
import main_MTT
from condense.cli import parse, with_forms
from condense.synthetic import PARAMETERIZATIONS

REPOSITORY = Path(main_DM.__file__).parent
WARM = REPOSITORY / "tests" / "warm_python.py"
SWEEPS = sorted(path.name for pattern in ("sweep_*.sh", "matrix.sh")
                for path in (REPOSITORY / "scripts").glob(pattern))
TINY = ["--Iteration", "2", "--num_exp", "1", "--num_eval", "2", "--epoch_eval_train", "1", "--batch_real", "4",
        "--device", "cpu"]
ONE = {"DATASETS": "Digits", "IPCS": "1", "METHODS": "DM", "MODELS": "MLP"}
LONG = ["--Iteration", "1000000", "--checkpoint_every", "1000000", "--eval_every", "1000000"]


def finish(process):
    """Wait for a sweep; returns (exit code, output lines, error lines)."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out.splitlines(), err.splitlines()


def wait_until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_free(folder):
    """Say whether nobody works in a cell's folder."""
    with open(folder / "cell.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def contents(out, pattern="*/*/*"):
    """Return {file: (bytes, time of change)} of all that a sweep may not touch again."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob(pattern)}


def parsed(command):
    """Return the options that a cell's method script would see, and the folder of the cell."""
    _, folder, _, script, *flags, _ = command
    module = {module.__name__: module for module in (main_DC, main_DD, main_DM, main_IDC, main_MTT)}[Path(script).stem]
    return parse(with_forms(module.Config, PARAMETERIZATIONS), flags), Path(folder)
