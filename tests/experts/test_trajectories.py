"""Reading experts: ours and anyone's, in which order, how much of them, and everything that can be wrong."""

import collections
from functools import partial
from pathlib import Path

import pytest
import torch

from condense.core.randomness import Streams
from condense.experts import replay, trajectories
from tests.experts.buffers import SHAPES, describe, expert_in, opened, trajectory, value, write


def test_segments_are_the_snapshots_of_their_epochs_as_flat_vectors(tmp_path):
    buffer = opened(write(tmp_path / "b"))
    assert len(buffer) == 5 and (buffer.first_epoch, buffer.last_epoch) == (0, 5)
    for expert in range(5):
        for start, end in ((0, 5), (1, 3), (4, 4)):
            for vector, epoch in zip(buffer.segment(expert, start, end), (start, end), strict=True):
                assert vector.dtype == torch.float32 and vector.shape == (10,)
                assert vector.eq(value(expert, epoch)).all()


def test_parameters_lie_in_the_vector_in_their_order(tmp_path):
    snapshots = [[torch.randn(shape) for shape in SHAPES] for _ in range(3)]
    torch.save([snapshots], tmp_path / "replay_buffer_0.pt")
    found = opened(tmp_path, (0, 2)).snapshot(0, 2)
    assert torch.equal(found, torch.cat([snapshots[2][0].reshape(6), snapshots[2][1]]))


@pytest.mark.parametrize("how", [{}, {"load_all": True}], ids=["mapped", "load_all"])
def test_vectors_are_copies(tmp_path, how):
    buffer = opened(write(tmp_path / "b"), **how)
    buffer.snapshot(0, 1).zero_()
    assert buffer.snapshot(0, 1).eq(value(0, 1)).all()


@pytest.mark.parametrize("kind", ["float16", "published before torch 1.6", "tuples", "parameters"])
def test_other_files_are_read_alike(tmp_path, kind):
    if kind == "float16":
        write(tmp_path / "b", dtype=torch.float16)
    elif kind == "published before torch 1.6":
        write(tmp_path / "b", _use_new_zipfile_serialization=False)
        assert not replay.is_mappable(tmp_path / "b" / "replay_buffer_0.pt")
    else:
        kept = tuple if kind == "tuples" else lambda snapshot: [torch.nn.Parameter(tensor) for tensor in snapshot]
        (tmp_path / "b").mkdir()
        torch.save([[kept(snapshot) for snapshot in trajectory(n)] for n in range(5)],
                   tmp_path / "b" / "replay_buffer_0.pt")
    for load_all in (False, True):
        buffer = opened(tmp_path / "b", load_all=load_all)
        for expert in range(5):
            vector = buffer.snapshot(expert, 3)
            assert vector.dtype == torch.float32 and vector.eq(value(expert, 3)).all() and not vector.requires_grad


def test_shortest_trajectory_counts(tmp_path):
    torch.save([trajectory(0, 5), trajectory(1, 3), trajectory(2, 4)], tmp_path / "replay_buffer_0.pt")
    assert opened(tmp_path, (0, 3)).last_epoch == 3
    with pytest.raises(ValueError, match="epochs 0 to 3"):
        opened(tmp_path, (0, 4))


def test_a_buffer_that_begins_later_says_so_in_its_sidecar(tmp_path):
    buffer = opened(describe(write(tmp_path / "b"), first_epoch=40), (40, 45))
    assert (buffer.first_epoch, buffer.last_epoch) == (40, 45)
    assert buffer.snapshot(1, 42).eq(value(1, 2)).all()
    for epoch in (39, 46):
        with pytest.raises(IndexError, match="none of 40 to 45"):
            buffer.snapshot(1, epoch)


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    buffer = opened(write(tmp_path / "b", counts=(1,) * 12))
    assert [expert_in(buffer.snapshot(n, 0)) for n in range(12)] == list(range(12))


def test_max_files_and_max_experts_restrict_what_is_used(tmp_path):
    folder = write(tmp_path / "b", counts=(3, 1, 2))
    buffer = opened(folder, max_experts=2)
    assert [expert_in(buffer.snapshot(n, 0)) for n in range(len(buffer))] == [0, 1, 3, 4, 5]
    assert len(opened(folder, max_files=2)) == 4 and len(opened(folder, max_files=1, max_experts=1)) == 1


# The order

def picks(buffer, iterations, seed=0):
    return [buffer.pick(k, partial(Streams(seed), "data")) for k in iterations]


def test_every_expert_is_used_once_in_a_pass_file_after_file(tmp_path):
    buffer = opened(write(tmp_path / "b", counts=(2, 3, 4)))
    file_of = [0, 0, 1, 1, 1, 2, 2, 2, 2]
    order = picks(buffer, range(90))
    passes = [tuple(order[i:i + 9]) for i in range(0, 90, 9)]
    for one in passes:
        assert sorted(one) == list(range(9))
        files = [file_of[n] for n in one]
        assert sum(a != b for a, b in zip(files, files[1:])) == 2          # a file is left only when it is used up
    assert len(set(passes)) == 10 and len({file_of[one[0]] for one in passes}) == 3


def test_iteration_has_the_same_expert_whatever_came_before(tmp_path):
    for load_all in (False, True):
        buffer = opened(write(tmp_path / "b"), load_all=load_all)
        order = picks(buffer, range(20))
        assert picks(buffer, reversed(range(20))) == order[::-1]
        assert picks(buffer, range(20), seed=1) != order


def test_load_all_draws_uniformly_with_replacement(tmp_path):
    buffer = opened(write(tmp_path / "b"), load_all=True)
    counts = collections.Counter(picks(buffer, range(1000)))
    assert set(counts) == set(range(5)) and min(counts.values()) > 140     # 200 expected, 4.7 deviations below
    assert any(len(set(picks(buffer, range(5), seed))) < 5 for seed in range(3))


# Memory

def test_few_files_stay_open_and_of_those_read_whole_one(tmp_path):
    buffer = opened(write(tmp_path / "a", counts=(1,) * 9))
    for k in range(9):
        buffer.snapshot(k, 0)
        assert len(buffer._open) <= trajectories.OPEN_FILES
    old = opened(write(tmp_path / "b", counts=(1,) * 9, _use_new_zipfile_serialization=False))
    for k in range(9):
        old.snapshot(k, 0)
        assert len(old._open) == 1


def test_a_file_that_is_open_is_not_opened_again(tmp_path, monkeypatch):
    buffer, calls = opened(write(tmp_path / "b")), []
    monkeypatch.setattr(trajectories, "open_replay", lambda path: calls.append(path) or replay.open_replay(path))
    for number in (0, 1, 2, 0, 1, 3, 4):
        buffer.snapshot(number, 2)
    assert len(calls) == 2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what is mapped")
def test_files_are_mapped_so_that_only_what_is_read_comes_into_memory(tmp_path):
    def mapped():
        return sum(str(path) in Path("/proc/self/maps").read_text() for path in tmp_path.glob("*/*.pt"))

    buffer = opened(write(tmp_path / "b", counts=(1,) * 9))
    assert mapped() == 0
    for k in range(9):
        buffer.snapshot(k, 0)
        assert mapped() == min(k + 1, trajectories.OPEN_FILES)
    everything = opened(tmp_path / "b", load_all=True)
    del buffer
    assert mapped() == 0 and everything.snapshot(8, 5).eq(value(8, 5)).all()
