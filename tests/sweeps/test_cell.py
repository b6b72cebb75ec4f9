"""One cell as a process: its lock, what counts as done, and that its script does not outlive it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from condense.sweeps.cell import WAS_DONE
from tests.sweep_runs import REPOSITORY, is_free, wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sweeps need signals")
WORK = "import os, sys, time; open('pid', 'w').write(str(os.getpid())); time.sleep(float(sys.argv[1]))"


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """Start a cell whose script writes its id into the file `pid` and sleeps: `cell(seconds, *flags)`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(WORK)
    started = []

    def start(seconds, *flags, sweep=None):
        command = [sys.executable, str(REPOSITORY / "scripts" / "sweep_cell.py"), str(sweep or os.getpid()), "cell",
                   sys.executable, "script.py", str(seconds), *flags]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def script_of(folder):
    """Wait for the script of a cell; returns its process id."""
    wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    return int((folder / "pid").read_text())


def is_alive(process):
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")             # the dead stay until somebody asks for their exit code
        return not (stat.exists() and stat.read_text().rpartition(") ")[2].startswith("Z"))
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_cell_that_is_done_is_not_repeated_but_one_of_another_command_is(cell, tmp_path):
    assert cell(0).wait() == 0 and (tmp_path / "cell" / "cell.done").exists()
    (tmp_path / "pid").unlink()
    assert cell(0).wait() == WAS_DONE and cell(0, "--overwrite").wait() == WAS_DONE
    assert not (tmp_path / "pid").exists()
    assert cell(0, "--Iteration", "3").wait() == 0 and (tmp_path / "pid").exists()
    (tmp_path / "script.py").write_text(f"# changed\n{WORK}")
    assert cell(0, "--Iteration", "3").wait() == 0


def test_a_script_that_fails_is_no_cell_that_is_done(cell, tmp_path):
    (tmp_path / "script.py").write_text("import sys; print('error: no room'); sys.exit(7)")
    assert cell(0).wait() == 7
    assert (tmp_path / "cell" / "cell.log").read_text() == "error: no room\n"
    assert not (tmp_path / "cell" / "cell.done").exists()


def test_a_cell_that_is_asked_to_stop_keeps_its_lock_until_its_script_has_ended(cell, tmp_path):
    (tmp_path / "script.py").write_text("import signal\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), "
                                        f"sys.exit(9)))\n{WORK}")
    process = cell(60)
    script = script_of(tmp_path)
    process.terminate()
    time.sleep(0.2)
    assert is_alive(script) and not is_free(tmp_path / "cell")
    assert process.wait() == 9 and not is_alive(script) and is_free(tmp_path / "cell")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_cell_that_is_killed_takes_its_script_with_it(cell, tmp_path):
    process = cell(60)
    script = script_of(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not is_alive(script), 10)


def test_a_cell_stops_where_the_sweep_that_asked_is_gone(cell, tmp_path):
    process = cell(60, sweep=1 if os.getpid() != 1 else 2)
    assert process.wait() == 128 + signal.SIGTERM and not (tmp_path / "pid").exists() and is_free(tmp_path / "cell")


def test_a_cell_loads_no_pytorch():
    code = "import sys, condense.sweeps.cell; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
