"""Where experts lie, in which order, and what the file in their folder says."""

import shlex
from pathlib import Path

import pytest

from condense.experts.folder import (
    buffer_command,
    expert_folder,
    read_sidecar,
    replay_files,
    replay_path,
    write_sidecar,
)

ABOUT = {"format_version": 1, "dataset": "Digits", "fingerprint": "ab", "zca": None, "model": "MLP",
         "parameters": [["w", [2, 3]]], "options": {"mom": 0.0}, "first_epoch": 0,
         "experts": [{"number": 0, "file": 0, "index": 0}, {"number": 1, "file": 0, "index": 1}]}


@pytest.mark.parametrize("dataset, zca, more, parts", [
    ("CIFAR10", True, {}, "CIFAR10/ConvNet"),
    ("CIFAR10", False, {}, "CIFAR10_NO_ZCA/ConvNet"),
    ("CIFAR100", False, {}, "CIFAR100_NO_ZCA/ConvNet"),
    ("MNIST", False, {}, "MNIST/ConvNet"),
    ("MNIST", True, {}, "MNIST_ZCA/ConvNet"),
    ("ImageNet", False, {"subset": "imagewoof", "side": 128}, "ImageNet/imagewoof/128/ConvNet"),
    ("ImageNet", True, {"side": 64}, "ImageNet_ZCA/all/64/ConvNet"),
    ("folder", False, {"side": 64}, "folder/ConvNet"),
    ("MNIST", False, {"side": 28}, "MNIST/ConvNet"),
    ("MNIST", False, {"side": 8}, "MNIST/8/ConvNet"),
    ("CIFAR10", True, {"side": 28}, "CIFAR10/28/ConvNet"),
])
def test_folders_are_the_published_ones_and_whitening_never_shares_one(dataset, zca, more, parts):
    assert expert_folder("b", dataset, "ConvNet", zca=zca, **more) == Path("b", parts)
    assert expert_folder("b", dataset, "ConvNet", zca=not zca, **more) != Path("b", parts)


def test_files_come_in_the_order_of_their_numbers_and_others_are_left_out(tmp_path):
    for name in ["replay_buffer_10.pt", "replay_buffer_9.pt", "replay_buffer_0.pt", "replay_buffer_x.pt",
                 "replay_buffer_2.pt.bak", "buffer.json", ".replay_buffer_3.pt.abc.part"]:
        (tmp_path / name).touch()
    assert list(replay_files(tmp_path)) == [0, 9, 10]
    assert replay_files(tmp_path)[10] == replay_path(tmp_path, 10)
    assert replay_files(tmp_path / "nowhere") == {}


def test_sidecar_is_read_as_it_was_written(tmp_path):
    assert read_sidecar(tmp_path) is None
    write_sidecar(tmp_path, ABOUT)
    assert read_sidecar(tmp_path) == ABOUT
    write_sidecar(tmp_path, {**ABOUT, "experts": []})
    assert read_sidecar(tmp_path)["experts"] == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format_version": 1}', '{"format_version": 99}', "\xff"])
def test_sidecar_that_is_none_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "buffer.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="buffer.json") as error:
        read_sidecar(tmp_path)
    assert "\n" not in str(error.value)


def test_command_names_what_was_given():
    assert buffer_command("buffers", "MNIST", "ConvNet") == \
        "python buffer.py --dataset MNIST --model ConvNet --buffer_path buffers"
    line = buffer_command("my buffers", "ImageNet", "ConvNetD5", zca=True, subset="imagenette", im_size=64)
    words = shlex.split(line)
    assert "--zca" in words and "--data_path" not in words
    for flag, value in (("--subset", "imagenette"), ("--im_size", "64"), ("--buffer_path", "my buffers")):
        assert words[words.index(flag) + 1] == value
