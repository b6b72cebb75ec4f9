"""Folders of experts whose every snapshot says which it is."""

import torch

from condense.experts.folder import write_sidecar
from condense.experts.trajectories import open_buffer

SHAPES = [(2, 3), (4,)]
OURS = {"model": "MLP", "dataset": "Digits", "fingerprint": "ab" * 32, "whitened": False}
ABOUT = {"format_version": 1, "dataset": "Digits", "fingerprint": "ab" * 32, "zca": None, "model": "MLP",
         "parameters": [["w", [2, 3]], ["b", [4]]], "options": {"mom": 0.0, "lr_teacher": 0.01}, "first_epoch": 0}


def value(expert, epoch):
    """What every parameter of an expert is after an epoch: exact in float16."""
    return expert + epoch / 64


def trajectory(expert, epochs=5, dtype=torch.float32):
    return [[torch.full(shape, value(expert, epoch), dtype=dtype) for shape in SHAPES] for epoch in range(epochs + 1)]


def write(folder, counts=(2, 3), epochs=5, dtype=torch.float32, **how):
    """Write replay files with so many experts each, numbered through, as the published code does."""
    folder.mkdir(exist_ok=True)
    first = 0
    for place, count in enumerate(counts):
        torch.save([trajectory(first + i, epochs, dtype) for i in range(count)],
                   folder / f"replay_buffer_{place}.pt", **how)
        first += count
    return folder


def describe(folder, counts=(2, 3), **changes):
    places = [(place, i) for place, count in enumerate(counts) for i in range(count)]
    experts = [{"number": n, "file": place, "index": i, "test_accuracy": {"5": 0.5 + 0.1 * n}}
               for n, (place, i) in enumerate(places)]
    write_sidecar(folder, {**ABOUT, "experts": experts, **changes})
    return folder


def opened(folder, needs=(0, 5), **how):
    return open_buffer(folder, SHAPES, needs=needs, **{**OURS, **how})


def expert_in(vector):
    """The number of the expert whose snapshot after epoch 0 this is."""
    assert vector.unique().numel() == 1
    return int(vector[0])
