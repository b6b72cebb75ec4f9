"""The state of main_IDC.py: seeds, and runs that are stopped and go on."""

import signal

import pytest
import torch

from condense.run.run import Run
from tests.idc_runs import PLAIN, script


@pytest.fixture(scope="module")
def idc():
    return script()


def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(idc, tmp_path):
    results = [idc.run(tmp_path / name, "--seed", seed) for name, seed in zip("abc", "001")]
    assert idc.path(tmp_path / "a").read_bytes() == idc.path(tmp_path / "b").read_bytes()
    assert not torch.equal(results[0]["data"][0][0], results[2]["data"][0][0])


def test_a_run_stopped_within_an_iteration_goes_on_to_the_same_bytes(idc, tmp_path, monkeypatch, capsys):
    """The network that is kept, and its momentum, are part of what is gone back to."""
    flags = [*PLAIN, "--Iteration", "3", "--fix_iter", "3"]
    with monkeypatch.context() as patch:
        stop_at(patch, iteration=1, step=1)
        code, line = idc.error_line(capsys, tmp_path / "parts", *flags)
    assert code == 130 and "before iteration 1 " in line
    idc.run(tmp_path / "parts", *flags, "--resume")
    idc.run(tmp_path / "whole", *flags)
    assert idc.path(tmp_path / "parts").read_bytes() == idc.path(tmp_path / "whole").read_bytes()


def stop_at(monkeypatch, iteration, step):
    original = Run.log

    def log(self, loss):
        original(self, loss)
        if self.it == iteration and len(self.losses) == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "log", log)


