"""Runs of buffer.py as a user makes them, on Digits with the settings TINY, and what lies in their folders."""

import json
from pathlib import Path

import pytest
import torch

import buffer
from condense.run.script import run_script

TINY = ["--dataset", "Digits", "--model", "MLP", "--num_experts", "3", "--train_epochs", "2", "--save_interval", "2",
        "--no-progress", "--device", "cpu"]
WHOLE = ["--num_experts", "5", "--mom", "0.9", "--lr_teacher", "0.1"]


def make(path, *flags, folder=None):
    """Run buffer.py in this process; returns the folder of the experts: `folder`, or the only one there is."""
    run_script(buffer.main, buffer.Config, buffer.__doc__, [*TINY, "--buffer_path", str(path), *flags])
    return folder or only_folder(path)


def only_folder(path):
    (sidecar,) = Path(path).rglob("buffer.json")
    return sidecar.parent


def experts_in(folder):
    """All trajectories, file after file."""
    return [trajectory for path in sorted(folder.glob("replay_buffer_*.pt"))
            for trajectory in torch.load(path, weights_only=True)]


def sidecar(folder):
    return json.loads((folder / "buffer.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def same(one, two):
    return len(one) == len(two) and all(torch.equal(a, b) for e, f in zip(one, two) for s, t in zip(e, f, strict=True)
                                        for a, b in zip(s, t, strict=True))


def error_line(capsys, path, *flags):
    """Run into an error; returns (exit code, its only line)."""
    with pytest.raises(SystemExit) as stop:
        make(path, *flags)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return stop.value.code, lines[0]
