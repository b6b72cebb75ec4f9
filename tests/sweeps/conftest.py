"""Sweeps as a user starts them, and as they would start their cells."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.sweep_runs import ONE, REPOSITORY, TINY, WARM


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A `python` that has torch loaded already, where forking is safe; elsewhere the plain one, seconds slower."""
    if sys.platform != "linux":
        yield sys.executable
        return
    folder = tmp_path_factory.mktemp("python")
    call = shlex.join([sys.executable, "-S", "-E", str(WARM), "call", str(folder / "socket"), sys.executable])
    (folder / "python").write_text(f'#!/bin/sh\nexec {call} "$@"\n')
    (folder / "python").chmod(0o755)
    with subprocess.Popen([sys.executable, WARM, "serve", folder / "socket"], stdout=subprocess.PIPE,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}) as server:
        assert server.stdout.readline() == b"ready\n"
        yield str(folder / "python")
        server.kill()


@pytest.fixture
def sweep(tmp_path, python):
    """Start scripts/sweep_accuracy.sh (or another) with OUT=tmp_path/out: `sweep(*flags, **environment)`."""
    started = []

    def start(*flags, script="sweep_accuracy.sh", **environment):
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": python, "OUT": str(tmp_path / "out"), **ONE,
                     **environment}
        process = subprocess.Popen(["bash", str(REPOSITORY / "scripts" / script), *TINY, *flags], env=variables,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def planned(tmp_path):
    """Return the commands of a sweep's cells, as a Python that notes its arguments down sees them."""
    noted, python = tmp_path / "noted", tmp_path / "noting"
    python.write_text('#!/bin/bash\ncase "$1" in *sweep_cell.py) line="$(printf "%q " "${@:2}")"; '
                      f'echo "$line threads=$OMP_NUM_THREADS" >> "{noted}" ;;'
                      '-) echo "${@:3}" ;; esac\n')            # the matrix asks whether its FORMS are right: they are
    python.chmod(0o755)

    def plan(script, *flags, **environment):
        variables = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "JOBS")}
        variables |= {"PYTHON": str(python), "OUT": str(tmp_path / "out"), **environment}
        noted.write_text("")
        subprocess.run(["bash", str(REPOSITORY / "scripts" / script), *flags], env=variables, check=True,
                       cwd=tmp_path, stdout=subprocess.DEVNULL)
        return [shlex.split(line) for line in noted.read_text().splitlines()]

    return plan
