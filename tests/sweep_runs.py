"""What the tests of the sweeps share: their settings, how one is waited for, and what a cell is told."""

import time
from pathlib import Path

from condense.cli import parse, with_forms
from condense.core.files import locked
from condense.sweeps.definitions import SWEEPS
from condense.sweeps.plan import check_cells, plan_cells, read_request
from condense.synthetic import PARAMETERIZATIONS

REPOSITORY = Path(__file__).resolve().parents[1]
WARM = REPOSITORY / "tests" / "warm_python.py"
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
    def busy():
        raise BlockingIOError

    try:
        with locked(folder / "cell.lock", busy):
            return True
    except BlockingIOError:
        return False


def contents(out, pattern="*/*/*"):
    """Return {file: (bytes, time of change)} of all that a sweep may not touch again."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob(pattern)}


def planned(name, *flags, **environment):
    """Return (the request, the cells before the others, the cells) of a sweep, checked as before a run."""
    sweep = SWEEPS[name]
    request = read_request(name, sweep.defaults, flags, environment)
    before, cells = sweep.before(request), plan_cells(request, sweep.grids(request))
    check_cells([*before, *cells])
    return request, before, cells


def options(name, *flags, **environment):
    """Return the options that the script of each cell of a sweep would see."""
    return [parsed(cell) for cell in planned(name, *flags, **environment)[2]]


def parsed(cell):
    return parse(with_forms(cell.method.load().Config, PARAMETERIZATIONS), cell.flags)
