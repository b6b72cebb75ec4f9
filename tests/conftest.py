"""Fixtures for all tests: method scripts as users run them, real data where there is some, a cache of our own."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests import typechecking

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = [REPOSITORY.parent / "shared" / "data", REPOSITORY / "shared" / "data"]

TINY = ["--dataset", "Digits", "--ipc", "2", "--Iteration", "6", "--num_exp", "1", "--num_eval", "2",
        "--epoch_eval_train", "2", "--model", "ConvNetW32", "--no-progress", "--device", "cpu"]

typechecking.install()                                      # before any test imports the package


class Script:
    """A method script as a user runs it, with the settings TINY; flags override them."""

    def __init__(self, module, *settings):
        self.module, self.settings = module, [*TINY, *settings]

    def run(self, folder, *flags):
        """Run the script in this process; returns the result file's content."""
        from condense.run.script import run_script
        arguments = [*self.settings, "--save_path", str(folder), *flags]
        run_script(self.module.main, self.module.Config, self.module.__doc__, arguments)
        return self.load(folder)

    def start(self, folder, *flags):
        """Start the script as a process of its own."""
        command = [sys.executable, self.module.__file__, *self.settings, "--save_path", str(folder), *flags]
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def error_line(self, capsys, folder, *flags):
        """Run into an error; returns (exit code, its only line)."""
        with pytest.raises(SystemExit) as stop:
            self.run(folder, *flags)
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return stop.value.code, lines[0]

    def path(self, folder, pattern="res_*ipc.pt"):
        """Return the only file like `pattern`, by default the result file."""
        (path,) = folder.glob(pattern)
        return path

    def load(self, folder, pattern="res_*ipc.pt"):
        import torch
        return torch.load(self.path(folder, pattern), weights_only=True)

    def journal(self, folder):
        """Return the lines of the journal of the result."""
        return [json.loads(line) for line in self.path(folder, "*.jsonl").read_text().splitlines()]

    def wait_for_progress(self, process, folder, more_s, pattern="*.jsonl"):
        """Wait until the process writes a file like `pattern`, by default its journal, then `more_s` longer."""
        before = written(folder, pattern)
        while process.poll() is None and written(folder, pattern) == before:
            time.sleep(0.01)
        time.sleep(more_s)


def runs_begun(monkeypatch):
    """Return a list that every `Run` of this process joins as it begins."""
    from condense.run.run import Run
    runs, begin = [], Run.begin

    def noted(self, *args, **named):
        runs.append(self)
        return begin(self, *args, **named)

    monkeypatch.setattr(Run, "begin", noted)
    return runs


def stopped(run, monkeypatch, iteration=1):
    """Call `run()`, which receives SIGTERM in that iteration and leaves with the exit code of a signal."""
    from condense.run.run import Run
    original = Run.log

    def signalled(self, **figures):
        if self.it == iteration:
            signal.raise_signal(signal.SIGTERM)
        return original(self, **figures)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", signalled)
        with pytest.raises(SystemExit) as leaving:
            run()
    assert leaving.value.code == 128 + signal.SIGTERM


def written(folder, pattern):
    """Return what changes when a file like `pattern` in `folder` is written."""
    return [(path.stat().st_mtime_ns, path.stat().st_size) for path in folder.glob(pattern)]


@pytest.fixture(scope="module")
def digits():
    """The real data of most tests; a module may whiten its own."""
    from condense.data import load_data
    return load_data("Digits")


@pytest.fixture(scope="session")
def dm():
    import main_DM
    return Script(main_DM, "--batch_real", "16")


@pytest.fixture(scope="session")
def dc():
    """main_DC.py with several outer steps."""
    import main_DC
    return Script(main_DC, "--outer_loop", "3", "--inner_loop", "2", "--model", "ConvNetD1", "--Iteration", "2",
                  "--batch_real", "8")


@pytest.fixture(scope="session")
def mtt(able_experts):
    """main_MTT.py with short segments of `able_experts`."""
    import main_MTT
    return Script(main_MTT, *short_segments(able_experts))


@pytest.fixture(scope="session")
def lomtt(able_experts):
    import main_LoMTT
    return Script(main_LoMTT, *short_segments(able_experts))


@pytest.fixture(scope="session")
def dd():
    """main_DD.py for fresh starts."""
    from tests.dd_runs import fresh_starts
    return fresh_starts()


@pytest.fixture(scope="session")
def fixed():
    """main_DD.py for a fixed start."""
    from tests.dd_runs import fixed_start
    return fixed_start()


def short_segments(buffer_path):
    return ["--model", "ConvNetD1", "--buffer_path", str(buffer_path), "--max_start_epoch", "2", "--expert_epochs", "2",
            "--syn_steps", "3", "--Iteration", "4", "--lr_img", "100", "--eval_every", "2", "--epoch_eval_train", "1"]


def real_file(name):
    """Path of a file of real data; skips the test, saying why, where there is none."""
    for folder in REAL_DATA:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"real data {name} is not in {REAL_DATA[0]}")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """A temporary folder that the worker processes of one test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder, make):
    """Return `folder`, filled by `make(folder)` once in a session, whichever process comes first."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


def unpack(archive, folder):
    with tarfile.open(archive) as members:
        members.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


@pytest.fixture(scope="session", autouse=True)
def cache(session_folder):
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONDENSE_CACHE", str(session_folder / "condense-cache"))
        yield session_folder / "condense-cache"


@pytest.fixture(scope="session")
def mnist_folder(session_folder):
    """A data folder with the whole of MNIST, unpacked as torchvision expects it."""
    raw = real_file("MNIST/raw")

    def make(folder):
        (folder / "MNIST" / "raw").mkdir(parents=True)
        for archive in raw.glob("*.gz"):
            (folder / "MNIST" / "raw" / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))

    return made_once(session_folder / "mnist", make)


@pytest.fixture(scope="session")
def cifar10_folder(session_folder):
    """CIFAR-10 as 60,000 JPEG files, {train,test}/<class>/*.jpg."""
    archive = real_file("cifar10-jpeg.tar.xz")
    if "PYTEST_XDIST_WORKER" in os.environ:              # shared, so left for pytest to clear away
        yield made_once(session_folder / "cifar10", lambda folder: unpack(archive, folder)) / "cifar10-jpeg"
        return
    with tempfile.TemporaryDirectory(prefix="condense-tests-", dir=fast_folder()) as folder:
        unpack(archive, folder)
        yield Path(folder) / "cifar10-jpeg"


def fast_folder():
    """A file system in memory, where there is one with room: a disk takes long over so many small files."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30 else None


@pytest.fixture(scope="session")
def tiny_folder(session_folder):
    """A folder with 20 classes of Tiny ImageNet in its original tree, tiny-imagenet-200/."""
    archive = real_file("tiny-imagenet-20classes.tar.xz")
    return made_once(session_folder / "tiny", lambda folder: unpack(archive, folder))


@pytest.fixture(scope="session")
def digit_experts(session_folder):
    """A folder of expert trajectories: three ConvNetW32, three epochs on Digits, two in a file."""
    def make(folder):
        import buffer
        from condense.cli import build
        buffer.main(build(buffer.Config, {"dataset": "Digits", "model": "ConvNetW32", "num_experts": 3,
                                          "train_epochs": 3, "save_interval": 2, "buffer_path": str(folder),
                                          "device": "cpu", "progress": False}))

    return made_once(session_folder / "experts", make)


@pytest.fixture(scope="session")
def able_experts(session_folder):
    """The same of three ConvNetD1 in minibatches of 64, which then get most digits right."""
    def make(folder):
        import buffer
        from condense.cli import build
        buffer.main(build(buffer.Config, {"dataset": "Digits", "model": "ConvNetD1", "num_experts": 3,
                                          "train_epochs": 3, "batch_train": 64, "save_interval": 2,
                                          "buffer_path": str(folder), "device": "cpu", "progress": False}))

    return made_once(session_folder / "able_experts", make)


@pytest.fixture(scope="session")
def whole(session_folder):
    """The folder of the five experts that buffer.py makes with the flags WHOLE when nothing stops it."""
    from tests.buffer_runs import WHOLE, make, only_folder
    return only_folder(made_once(session_folder / "whole_experts", lambda folder: make(folder, *WHOLE)))


@pytest.fixture
def score(tmp_path, capsys):
    """A function that runs evaluate.py on its arguments; returns (rows of its scores.json, what it printed)."""
    import evaluate
    from condense.run.script import run_script

    def run(*arguments, output=None):
        output = output or tmp_path / "scores.json"
        run_script(evaluate.main, evaluate.Config, evaluate.__doc__,
                   [*map(str, arguments), "--output", str(output), "--no-progress", "--device", "cpu"])
        return json.loads(output.read_text())["rows"], capsys.readouterr().out

    return run


@pytest.fixture
def score_error(score, capsys):
    """A function that runs evaluate.py into an error; returns its only line."""
    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            score(*arguments)
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line
    return run


@pytest.fixture(scope="session")
def own(dm, tmp_path_factory):
    """A result of main_DM.py with two experiments, 20 images in each."""
    folder = tmp_path_factory.mktemp("own")
    dm.run(folder, "--num_exp", "2", "--eval_mode", "SS")
    return dm.path(folder)


@pytest.fixture
def yaml_file(tmp_path):
    """A function that writes a text, or bytes, as a YAML file and returns its path."""
    def write(text):
        path = tmp_path / "some.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)
    return write
