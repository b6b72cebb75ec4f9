"""Reading experts: ours and anyone's, in which order, how much of them, and everything that can be wrong."""

import collections
import logging
from functools import partial
from pathlib import Path

import pytest
import torch

from condense.data import load_data
from condense.experts import replay, trajectories
from condense.experts.folder import write_sidecar
from condense.experts.trajectories import open_buffer, open_experts
from condense.networks import get_network
from condense.randomness import Streams

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


# What can be wrong

def refused(kind, folder, *mends, needs=(0, 5), **how):
    with pytest.raises(kind) as error:
        opened(folder, needs, **how)
    assert "\n" not in str(error.value)
    for mend in mends:
        assert mend in str(error.value), str(error.value)


def test_experts_that_are_not_there_are_asked_for_by_the_command_that_makes_them(tmp_path):
    command = "python buffer.py --dataset MNIST --model ConvNet --buffer_path buffers"
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        refused(FileNotFoundError, tmp_path / name, f"no expert trajectories in {tmp_path / name}; make them: ",
                command, command=command)
    refused(FileNotFoundError, tmp_path / "empty", "--train_epochs 60", needs=(0, 60), command=command)


def test_experts_with_one_snapshot_have_no_segments_but_can_be_read_as_networks(tmp_path):
    folder = describe(write(tmp_path / "b", epochs=0), first_epoch=40)
    refused(ValueError, folder, "hold epoch 40 alone", "make experts with all epochs: python buffer.py --overwrite",
            needs=(0, 27))
    buffer = opened(folder, needs=None)
    assert (buffer.first_epoch, buffer.last_epoch) == (40, 40)
    assert [expert_in(buffer.snapshot(number, 40)) for number in range(5)] == list(range(5))


def test_epochs_beyond_those_held_name_the_flags_to_lower(tmp_path):
    folder = describe(write(tmp_path / "b"), first_epoch=40)
    refused(ValueError, folder, "epochs 40 to 45", "up to epoch 46", "--max_start_epoch or --expert_epochs",
            needs=(40, 46))
    refused(ValueError, folder, "epochs 40 to 45", "from epoch 0", "--min_start_epoch to 40", needs=(0, 45))


@pytest.mark.parametrize("changes, words", [
    ({"model": "ConvNet"}, ["experts of ConvNet,", "uses MLP", "--model ConvNet"]),
    ({"dataset": "MNIST"}, ["experts of MNIST,", "condenses Digits"]),
    ({"fingerprint": "cd" * 32}, ["other images of the name Digits", "cdcdcdcdcdcd", "abababababab", "--data_path"]),
    ({"zca": "ef" * 32}, ["saw ZCA-whitened images", "this run's are normalised", "give --zca"]),
])
def test_experts_of_something_else_are_refused_saying_both_sides(tmp_path, changes, words):
    refused(ValueError, describe(write(tmp_path / "b"), **changes), *words)


def test_experts_without_whitening_are_refused_for_a_whitened_run(tmp_path):
    refused(ValueError, describe(write(tmp_path / "b")), "saw normalised images", "are ZCA-whitened", "leave out --zca",
            whitened=True)


def test_shapes_are_checked_even_without_a_sidecar(tmp_path):
    folder = write(tmp_path / "b")
    for shapes, words in (([(2, 3), (5,)], "tensor 1 is (4,), not (5,)"), ([(2, 3)], "2 tensors, not 1")):
        with pytest.raises(ValueError) as error:
            open_buffer(folder, shapes, needs=(0, 5), **OURS)
        assert words in str(error.value) and "--model" in str(error.value)


def test_missing_sidecar_is_said_in_one_line(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "condense"):
        opened(write(tmp_path / "b"))
        assert ["no buffer.json" in line for line in caplog.messages] == [True]
        caplog.clear()
        opened(describe(tmp_path / "b"))
        assert not caplog.messages


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def fill(path):
    path.write_bytes(b"not a file of tensors")


def other_layout(content):
    return lambda path: torch.save(content, path)


@pytest.mark.parametrize("spoil", [
    cut, fill, lambda path: path.write_bytes(b""), other_layout({"w": torch.ones(2)}), other_layout([]),
    other_layout([[[1, 2]]]), other_layout([torch.ones(2, 3)]), other_layout([[]])])
def test_file_that_cannot_be_read_is_named_and_can_be_left_out(tmp_path, spoil, caplog):
    folder = write(tmp_path / "b")
    spoil(folder / "replay_buffer_0.pt")
    refused(ValueError, folder, "replay_buffer_0.pt", "--skip_bad")
    buffer = opened(folder, skip_bad=True)
    assert [expert_in(buffer.snapshot(n, 0)) for n in range(len(buffer))] == [2, 3, 4]
    assert [record.levelname for record in caplog.records if "replay_buffer_0.pt" in record.message] == ["WARNING"]
    spoil(folder / "replay_buffer_1.pt")
    refused(ValueError, folder, "none of the 2 replay files", skip_bad=True)


def test_file_of_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "made").mkdir, ()

    torch.save([Evil()], tmp_path / "replay_buffer_0.pt")
    refused(ValueError, tmp_path, "replay_buffer_0.pt")
    assert not (tmp_path / "made").exists()


def test_experts_recorded_without_copies_are_refused(tmp_path):
    snapshot = [torch.ones(shape) for shape in SHAPES]
    torch.save([[snapshot] * 6], tmp_path / "replay_buffer_0.pt")
    refused(ValueError, tmp_path, "all equal", "buffer.py")


def test_source_says_what_the_experts_are(tmp_path):
    folder = write(tmp_path / "Digits", counts=(2, 3))
    bare = {"folder": f"{tmp_path.name}/Digits", "experts": 5, "files": 2, "first_epoch": 0, "last_epoch": 5}
    assert opened(folder).source == {**bare, "sidecar": False}
    described = opened(describe(folder)).source
    assert described == {**bare, "sidecar": True, "fingerprint": "ab" * 32, "options": ABOUT["options"],
                         "test_accuracy": {"mean": pytest.approx(0.7), "std": pytest.approx(0.02**0.5)}}
    assert opened(folder, max_files=1).source["test_accuracy"]["mean"] == pytest.approx(0.55)


def test_experts_that_buffer_py_made_are_found_by_data_and_network(digit_experts):
    real = load_data("Digits")
    net = get_network("ConvNetW32", *real.spec)
    experts = open_experts(digit_experts, net, real, "ConvNetW32", (0, 3))
    assert len(experts) == 3 and experts.source["options"]["model"] == "ConvNetW32"
    for number in range(3):
        initial = get_network("ConvNetW32", *real.spec, rng=Streams(0)("nets", number))
        expected = torch.cat([parameter.detach().flatten() for parameter in initial.parameters()])
        assert torch.equal(experts.snapshot(number, 0), expected)
    with pytest.raises(FileNotFoundError, match="--dataset Digits --model ConvNetW64 --buffer_path"):
        open_experts(digit_experts, get_network("ConvNetW64", *real.spec), real, "ConvNetW64", (0, 3))


def test_file_that_the_sidecar_does_not_list_is_refused(tmp_path):
    folder = describe(write(tmp_path / "b"))
    opened(folder)
    (folder / "replay_buffer_7.pt").write_bytes((folder / "replay_buffer_0.pt").read_bytes())
    with pytest.raises(ValueError, match="does not list replay_buffer_7.pt; move it away"):
        opened(folder)
