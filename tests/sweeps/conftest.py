"""Sweeps as a user starts them."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.sweep_runs import ONE, REPOSITORY, TINY, WARM


@pytest.fixture(scope="session")
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
