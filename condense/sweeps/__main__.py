"""Run a sweep by its name: scripts/NAME.sh says which there are, and `bash scripts/NAME.sh --help` explains each."""

import os
import sys
from pathlib import Path

from condense.core.errors import UserError
from condense.core.registry import lookup
from condense.sweeps.definitions import SWEEPS, Sweep
from condense.sweeps.plan import SweepRequest, check_cells, plan_cells, read_request, write_plan
from condense.sweeps.schedule import Schedule
from condense.sweeps.table import make_table


def main(arguments: list[str]) -> int:
    """Run the sweep `arguments[0]` with the flags after it and the environment's lists; returns the exit code.

    0: all is done; 1: cells failed; 2: refused, in one line; 128 + n: stopped by signal n.
    """
    try:
        name, *flags = arguments or [""]
        return run_sweep(lookup(SWEEPS, name, "sweep"), name, flags)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_sweep(sweep: Sweep, name: str, flags: list[str]) -> int:
    """Plan the cells, run them, print their table; errors are found before anything is written."""
    request = read_request(name, sweep.defaults, flags, os.environ)
    cells, before = plan_cells(request, sweep.grids(request)), sweep.before(request)
    check_cells([*before, *cells])
    write_plan(request, [*before, *cells])
    schedule = Schedule(request, len(before) + len(cells))
    with schedule.listening():
        schedule.run(before)
        schedule.run(cells)
    if schedule.stopped:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 128 + schedule.stopped
    return report(sweep, request, schedule)


def report(sweep: Sweep, request: SweepRequest, schedule: Schedule) -> int:
    """Print and write the table, then what failed; returns the exit code."""
    code = 0
    print(flush=True)
    try:
        print(make_table(Path(request.out), sweep.rows, sweep.columns, sweep.note, write=True), end="", flush=True)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    if not schedule.failures:
        return code
    print(f"\n{len(schedule.failures)} of {schedule.total} cells failed; mend this and start the sweep again "
          "(--overwrite replaces what is in the way):", *schedule.failures, sep="\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
