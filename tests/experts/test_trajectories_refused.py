"""Experts that cannot be what a run matches: each is refused in one line that names the mend."""

import logging

import pytest
import torch

from condense.core.randomness import Streams
from condense.data import load_data
from condense.experts.trajectories import open_buffer, open_experts
from condense.networks import get_network
from tests.experts.buffers import ABOUT, OURS, SHAPES, describe, expert_in, opened, write


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
    refused(ValueError, folder, "epochs 40 to 45", "epochs up to 46", "--max_start_epoch or --expert_epochs",
            needs=(40, 46))
    refused(ValueError, folder, "epochs 40 to 45", "epochs from 0", "--min_start_epoch to 40", needs=(0, 45))


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
    with pytest.raises(ValueError, match="does not list replay_buffer_7.pt; move it to another folder"):
        opened(folder)
