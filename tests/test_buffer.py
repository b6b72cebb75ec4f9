"""buffer.py as a user runs it: on Digits, with tiny settings."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import buffer
from condense.cli import run_script
from condense.data import DATASETS, default_side, load_data
from condense.device import Compute
from condense.experts import Recipe, open_experts, run
from condense.experts.training import Alone, networks_of_experts
from condense.files import locked
from condense.networks import get_network, network_for, reset
from condense.randomness import Streams

TINY = ["--dataset", "Digits", "--model", "MLP", "--num_experts", "3", "--train_epochs", "2", "--save_interval", "2",
        "--no-progress", "--device", "cpu"]


WHOLE = ["--num_experts", "5", "--mom", "0.9", "--lr_teacher", "0.1"]


def make(path, *flags):
    """Run buffer.py in this process; returns the folder of the experts."""
    run_script(buffer.main, buffer.Config, buffer.__doc__, [*TINY, "--buffer_path", str(path), *flags])
    return only_folder(path)


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


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole"), *WHOLE)


# What it writes

def test_files_have_the_published_layout(tmp_path, digits):
    folder = make(tmp_path, "--model", "ConvNetD2", "--num_experts", "3")
    assert folder == tmp_path / "Digits" / "ConvNetD2"
    assert set(contents(folder)) == {"replay_buffer_0.pt", "replay_buffer_1.pt", "buffer.json", ".lock"}
    assert [len(torch.load(path, weights_only=True)) for path in sorted(folder.glob("*.pt"))] == [2, 1]
    net = get_network("ConvNetD2", *digits.spec)
    for number, trajectory in enumerate(experts_in(folder)):
        assert len(trajectory) == 3
        assert all(map(torch.equal, trajectory[0], reset(net, Streams(0)("nets", number)).parameters()))
        for before, after in zip(trajectory, trajectory[1:]):
            moved = [not torch.equal(one, two) for one, two in zip(before, after) if one.dim() > 1]
            assert all(moved) and len(moved) == 3                       # no weight stays, and none is another's
        for snapshot in trajectory:
            assert [tuple(t.shape) for t in snapshot] == [tuple(p.shape) for p in net.parameters()]
            assert all(t.dtype == torch.float32 and t.is_contiguous() and not t.requires_grad for t in snapshot)
    size = 4 * 3 * sum(p.numel() for p in net.parameters())
    assert 3 * size < sum(path.stat().st_size for path in folder.glob("*.pt")) < 3.1 * size


def test_sidecar_says_what_the_experts_are(whole, digits):
    about = sidecar(whole)
    assert about["dataset"] == "Digits" and about["fingerprint"] == digits.fingerprint and about["zca"] is None
    assert (about["num_classes"], about["channel"], about["im_size"]) == (10, 1, [8, 8])
    assert about["mean"] == digits.mean and about["std"] == digits.std and about["model"] == "MLP"
    net = get_network("MLP", *digits.spec)
    assert about["parameters"] == [[name, list(p.shape)] for name, p in net.named_parameters()]
    assert (about["first_epoch"], about["last_epoch"], about["dtype"], about["seed"]) == (0, 2, "float32", 0)
    assert about["options"]["lr_teacher"] == 0.1
    assert about["options"]["dsa_strategy"] == "color_crop_cutout_scale_rotate"              # no flip for digits
    assert not {"num_experts", "buffer_path", "device", "save_interval", "ipc", "lr_net"} & set(about["options"])
    assert set(about["versions"]) == {"torch", "numpy", "python"}
    for number, entry in enumerate(about["experts"]):
        assert (entry["number"], entry["file"], entry["index"]) == (number, number // 2, number % 2)
        assert list(entry["test_accuracy"]) == ["2"] and len(entry["train_accuracy"]) == len(entry["train_loss"]) == 2


def test_accuracies_are_those_of_the_stored_networks(whole, digits):
    net, entries = get_network("MLP", *digits.spec), sidecar(whole)["experts"]
    for trajectory, entry in zip(experts_in(whole), entries, strict=True):
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), trajectory[-1]):
                parameter.copy_(value)
            guesses = net(digits.normalise(digits.test_images)).argmax(1)
        assert entry["test_accuracy"]["2"] == pytest.approx((guesses == digits.test_labels).double().mean().item())
    assert min(entry["test_accuracy"]["2"] for entry in entries) > 0.3       # 0.1 is chance


def test_student_fed_the_real_batches_in_expert_order_reproduces_the_next_snapshot(tmp_path, digits):
    (expert,) = experts_in(make(tmp_path, "--num_experts", "1", "--dsa_strategy", "none", "--batch_train", "500",
                                "--lr_teacher", "0.1"))
    images, labels = digits.sample(digits.classes).images(), digits.labels
    student = get_network("MLP", *digits.spec)
    with torch.no_grad():
        for parameter, value in zip(student.parameters(), expert[1]):
            parameter.copy_(value)
    order = torch.rand(1, len(digits), generator=Streams(0)("nets", 0, 2)).argsort(1)[0]        # of epoch 1
    for index in order.split(500):
        loss = torch.nn.functional.cross_entropy(student(images[index]), labels[index])
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), torch.autograd.grad(loss, list(student.parameters()))):
                parameter -= 0.1 * gradient
    for parameter, value in zip(student.parameters(), expert[2]):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-4, atol=1e-5)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_experts(tmp_path, whole):
    again = make(tmp_path / "a", *WHOLE, "--eval_every", "1", "--checkpoint_every", "0")
    assert {name: data for name, data in contents(again).items() if name.endswith(".pt")} == \
        {name: data for name, data in contents(whole).items() if name.endswith(".pt")}
    other = make(tmp_path / "b", *WHOLE, "--seed", "1")
    assert not any(torch.equal(a[0][0], b[0][0]) for a, b in zip(experts_in(again), experts_in(other)))


def test_accuracy_is_measured_as_often_as_asked(tmp_path):
    folder = make(tmp_path, "--num_experts", "1", "--train_epochs", "5", "--eval_every", "2")
    assert list(sidecar(folder)["experts"][0]["test_accuracy"]) == ["2", "4", "5"]


@pytest.mark.parametrize("flags, first, last", [(["--keep_epochs", "1"], 0, 1), (["--keep_epochs", "2-3"], 2, 3)])
def test_only_the_epochs_that_are_kept_are_stored_and_none_is_trained_after_them(tmp_path, digits, flags, first, last):
    everything = experts_in(make(tmp_path / "a", "--train_epochs", "4", "--decay"))
    folder = make(tmp_path / "b", "--train_epochs", "4", "--decay", *flags)
    assert same(experts_in(folder), [trajectory[first:last + 1] for trajectory in everything])
    about = sidecar(folder)
    assert (about["first_epoch"], about["last_epoch"]) == (first, last)
    assert list(about["experts"][0]["test_accuracy"]) == [str(last)]
    experts = open_experts(tmp_path / "b", get_network("MLP", *digits.spec), digits, "MLP", (first, last))
    assert torch.equal(experts.snapshot(2, last), torch.cat([t.flatten() for t in everything[2][last]]))


def test_half_stores_float16_in_half_the_room(tmp_path, digits):
    full, half = make(tmp_path / "a"), make(tmp_path / "b", "--half")
    for one, two in zip(experts_in(full), experts_in(half), strict=True):
        assert all(b.dtype == torch.float16 and torch.equal(a.half(), b) for s, t in zip(one, two)
                   for a, b in zip(s, t, strict=True))
    sizes = [(folder / "replay_buffer_0.pt").stat().st_size for folder in (full, half)]
    assert 0.49 < sizes[1] / sizes[0] < 0.53 and sidecar(half)["dtype"] == "float16"
    experts = open_experts(tmp_path / "b", get_network("MLP", *digits.spec), digits, "MLP", (0, 2))
    assert experts.snapshot(0, 1).dtype == torch.float32


def test_whitened_experts_lie_apart_with_their_transform(tmp_path, digits):
    folder, real = make(tmp_path, "--zca"), load_data("Digits", zca=True)
    assert folder == tmp_path / "Digits_ZCA" / "MLP"
    about, state = sidecar(folder), torch.load(folder / "zca.pt", weights_only=True)
    assert about["zca"] == real.zca.fingerprint and about["fingerprint"] == real.fingerprint
    assert all(torch.equal(value, state[name]) for name, value in real.zca.state().items() if torch.is_tensor(value))
    net = get_network("MLP", *real.spec)
    assert len(open_experts(tmp_path, net, real, "MLP", (0, 2))) == 3
    shutil.copytree(folder, tmp_path / "Digits" / "MLP")
    with pytest.raises(ValueError, match="ZCA-whitened images, this run's are normalised"):
        open_experts(tmp_path, net, digits, "MLP", (0, 2))


# Recipes

@pytest.mark.parametrize("flags", [
    ["--dsa", "False"], ["--dsa_strategy", "flip_color"], ["--mom", "0.9"], ["--l2", "1e-2"], ["--decay"],
    ["--loss_type", "mse"], ["--rho_max", "0.05"], ["--rho_max", "0.05", "--alpha", "1"], ["--lr_teacher", "0.02"],
    ["--rho_max", "0.05", "--adaptive", "False"], ["--batch_train", "100"], ["--precision", "bf16"]], ids=" ".join)
def test_flag_makes_other_experts_of_the_same_beginning(tmp_path, flags):
    epochs = ["--num_experts", "1", "--train_epochs", "5"]
    (plain,), (other,) = (experts_in(make(tmp_path / str(len(more)), *epochs, *more)) for more in ([], flags))
    assert all(map(torch.equal, plain[0], other[0])) and not all(map(torch.equal, plain[-1], other[-1]))
    assert all(tensor.isfinite().all() for tensor in other[-1])


def test_flags_of_ftd_are_taken_as_published(tmp_path):
    folder = make(tmp_path, "--num_experts", "1", "--rho_max=0.01", "--rho_min=0.01", "--alpha=0.3",
                  "--lr_teacher=0.01", "--mom=0.", "--batch_train=256", "--adaptive=True", "--dsa=True")
    assert sidecar(folder)["options"]["alpha"] == 0.3


def test_several_at_once_are_the_same_experts_to_rounding(tmp_path, monkeypatch):
    alone = make(tmp_path / "a", "--num_experts", "5")
    monkeypatch.setattr(run, "experts_at_once", lambda real, recipe, size, wanted, device: min(wanted, 3))
    together = make(tmp_path / "b", "--num_experts", "5")
    for one, two in zip(experts_in(alone), experts_in(together), strict=True):
        for snapshot, expected in zip(one, two, strict=True):
            torch.testing.assert_close(snapshot, expected, rtol=1e-4, atol=1e-5)
    assert [(e["number"], e["file"], e["index"]) for e in sidecar(alone)["experts"]] == \
        [(e["number"], e["file"], e["index"]) for e in sidecar(together)["experts"]]


# Going on

def stopping_at(monkeypatch, step, number=signal.SIGINT):
    """Let the process get a signal while it takes its step `step`, from 1."""
    original, taken = Alone.step, []

    def signalled(self, images, labels):
        taken.append(1)
        if len(taken) == step:
            signal.raise_signal(number)
        original(self, images, labels)

    monkeypatch.setattr(Alone, "step", signalled)


def test_a_command_that_overwrites_goes_on_with_resume_too(tmp_path, monkeypatch, capsys, whole):
    make(tmp_path)
    with monkeypatch.context() as patch:
        stopping_at(patch, 14)
        assert error_line(capsys, tmp_path, *WHOLE, "--overwrite")[0] == 130
    assert contents(make(tmp_path, *WHOLE, "--overwrite", "--resume")) == contents(whole)
    assert "going on" not in capsys.readouterr().out        # stopped in the first epoch of an expert


@pytest.mark.parametrize("step, words", [(3, "stopped expert 0 after epoch 0 of 2; 0 of 5"),
                                         (8, "stopped expert 0 after epoch 1 of 2; 0 of 5"),
                                         (12, "stopped expert 0 after epoch 2 of 2; 0 of 5"),
                                         (13, "stopped expert 1 after epoch 0 of 2; 1 of 5"),
                                         (60, "stopped expert 4 after epoch 2 of 2; 4 of 5")])
def test_stopped_at_any_step_and_resumed_ends_with_the_same_bytes(tmp_path, monkeypatch, capsys, whole, step, words):
    with monkeypatch.context() as patch:
        stopping_at(patch, step)                            # of 6 an epoch, 12 an expert
        code, line = error_line(capsys, tmp_path, *WHOLE)
    assert code == 130 and words in line and "--resume" in line
    assert contents(make(tmp_path, *WHOLE, "--resume")) == contents(whole)
    assert not (tmp_path / "Digits" / "MLP" / ".unfinished").exists()


def test_stopped_experts_go_on_where_their_last_epoch_ended(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stopping_at(patch, 21, signal.SIGTERM)              # in the second epoch of expert 1
        assert error_line(capsys, tmp_path, *WHOLE)[0] == 143
    begun = []
    monkeypatch.setattr(Alone, "start_epoch", lambda self, epoch, original=Alone.start_epoch:
                        begun.append((self.numbers[0], epoch)) or original(self, epoch))
    make(tmp_path, *WHOLE, "--resume")
    assert begun == [(1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1)]
    assert "going on with expert 1 after epoch 1" in capsys.readouterr().out


def test_stopped_while_testing_measures_again(tmp_path, monkeypatch, capsys, whole):
    with monkeypatch.context() as patch:
        patch.setattr(Alone, "test_accuracies", lambda self: signal.raise_signal(signal.SIGINT))
        code, line = error_line(capsys, tmp_path, *WHOLE)
    assert code == 130 and "expert 0 after epoch 2" in line
    assert contents(make(tmp_path, *WHOLE, "--resume")) == contents(whole)


def test_checkpoints_are_written_no_more_often_than_asked(tmp_path, monkeypatch):
    def states(folder, seconds):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(run.ExpertRun, "_save_state", lambda self: saved.append(self.epoch))
            make(folder, "--train_epochs", "4", "--num_experts", "1", "--checkpoint_every", seconds)
        return saved

    assert states(tmp_path / "a", "0") == [0, 1, 2, 3] and states(tmp_path / "b", "1000") == []


@pytest.fixture(scope="module")
def processes():
    """Processes that have the toolkit loaded: a start takes milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["buffer", "sklearn.datasets", "torch._dynamo"])      # the last, for optimisers
    return context


def test_killed_at_random_moments_and_resumed_ends_with_the_same_bytes(tmp_path, processes):
    flags = ["--num_experts", "14", "--train_epochs", "5", "--mom", "0.9", "--save_interval", "4",
             "--checkpoint_every", "0"]
    expected, path, moments = contents(make(tmp_path / "a", *flags)), tmp_path / "b", random.Random(0)
    for _ in range(5):
        before = state_of(path)
        process = processes.Process(target=run_script, args=(
            buffer.main, buffer.Config, "", [*TINY, "--buffer_path", str(path), *flags, "--resume"]))
        process.start()
        while process.is_alive() and state_of(path) == before:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL          # and not finished before
    assert contents(make(path, *flags, "--resume")) == expected
    assert not list(path.rglob("*.part")) and not list(path.rglob(".unfinished"))


def state_of(path):
    return sorted((str(file), file.stat().st_mtime_ns) for file in list_files(path))


def list_files(path):
    return [Path(root, name) for root, _, names in os.walk(path) for name in names if not name.endswith(".part")
            and Path(root, name).exists()]


def test_a_finished_buffer_is_left_alone_and_extended_by_new_files(tmp_path, capsys):
    folder = make(tmp_path, "--num_experts", "3")
    before = contents(folder)
    make(tmp_path, "--num_experts", "3", "--resume")
    assert contents(folder) == before
    code, line = error_line(capsys, tmp_path, "--num_experts", "4")
    assert code == 2 and "--resume" in line and "--overwrite" in line
    make(tmp_path, "--num_experts", "6", "--resume")
    after = contents(folder)
    assert all(after[name] == data for name, data in before.items() if name.endswith(".pt"))
    assert [entry["file"] for entry in sidecar(folder)["experts"]] == [0, 0, 1, 2, 2, 3]
    assert same(experts_in(folder), experts_in(make(tmp_path / "whole", "--num_experts", "6", "--save_interval", "9")))


def test_experts_of_another_recipe_are_not_mixed_in_and_replaced_only_when_asked(tmp_path, capsys):
    folder = make(tmp_path)
    before = contents(folder)
    for flags in (["--resume"], []):
        code, line = error_line(capsys, tmp_path, "--lr_teacher", "0.1", *flags)
        assert code == 2 and ("--lr_teacher was 0.01, is 0.1" in line or not flags) and contents(folder) == before
    make(tmp_path, "--lr_teacher", "0.1", "--overwrite", "--num_experts", "1")
    assert len(experts_in(folder)) == 1 and sidecar(folder)["options"]["lr_teacher"] == 0.1
    assert not (folder / "replay_buffer_1.pt").exists()


def test_experts_of_one_recipe_may_come_from_several_machines(tmp_path):
    make(tmp_path, "--num_experts", "1")
    folder = make(tmp_path, "--num_experts", "2", "--resume", "--device", "auto", "--chunk", "50")
    assert len(experts_in(folder)) == 2


def test_a_process_that_writes_there_keeps_others_out(tmp_path, capsys):
    folder = make(tmp_path)
    with locked(folder / ".lock"):
        code, line = error_line(capsys, tmp_path, "--resume", "--num_experts", "5")
    assert code == 2 and "another process" in line


# What it says

def test_it_says_room_time_and_how_good_each_expert_is(tmp_path, capsys):
    folder = make(tmp_path, "--batch_real", "256")
    lines = capsys.readouterr().out.splitlines()
    size = sum(p.numel() for p in get_network("MLP", 1, 10, (8, 8)).parameters())
    assert lines[0] == "--batch_real has no effect: experts train on minibatches of --batch_train"
    assert lines[1] == f"3 experts x 3 snapshots of {size:,} parameters: {3 * 3 * size * 4 / 1e3:.3g} kB"
    assert lines[2].startswith("about ") and "3 experts of 2 epochs" in lines[2] and "--num_experts" in lines[2]
    assert [line.split(":")[0] for line in lines[3:6]] == ["expert 0", "expert 1", "expert 2"]
    assert "test accuracy" in lines[3] and "(1 of 3)" in lines[3]
    assert lines[6].startswith(f"3 experts in {folder}: test accuracy ") and len(lines) == 7


def test_diverging_experts_stop_the_run_and_finished_ones_are_kept(tmp_path, monkeypatch, capsys):
    original = Alone.figures
    monkeypatch.setattr(Alone, "figures", lambda self: [(0.1, float("nan"))] if self.numbers == [1] else original(self))
    code, line = error_line(capsys, tmp_path)
    assert code == 1 and "the loss of expert 1 is nan in epoch 0" in line and "--lr_teacher" in line
    monkeypatch.undo()
    assert len(experts_in(make(tmp_path, "--resume"))) == 3


@pytest.mark.parametrize("flags, mend", [
    (["--model", "ConvNetBN"], "batch norm"),
    (["--model", "ConvNe"], "did you mean ConvNet?"),
    (["--model", "ConvNetD6"], "ConvNetD3"),
    (["--dataset", "Digit"], "did you mean Digits?"),
    (["--keep_epochs", "3"], "--train_epochs 2"),
    (["--keep_epochs", "1-4"], "--train_epochs 2"),
    (["--keep_epochs", "0"], "keep 0-1"),
    (["--keep_epochs", "late"], "like 40-62"),
    (["--train_epochs", "0"], "--train_epochs must be 1 or larger"),
    (["--num_experts", "0"], "--num_experts must be 1 or larger"),
    (["--lr_teacher", "0"], "--lr_teacher must be larger than 0"),
    (["--dsa", "no"], "choose one of: True, False"),
    (["--dsa", "False", "--dsa_strategy", "flip"], "leave one of the two out"),
    (["--dsa_strategy", "flip_colour"], "did you mean color?"),
    (["--loss_type", "kl"], "choose one of: ce, mse"),
    (["--alpha", "0.3"], "give --rho_max"),
    (["--adaptive", "False"], "give --rho_max"),
    (["--rho_max", "0.1", "--rho_min", "0.2"], "exchange them"),
    (["--subset", "imagenette"], "ImageNet"),
    (["--ipc", "1"], "unknown flag --ipc"),
    (["--save_path", "x"], "unknown flag --save_path"),
    (["--num_exprts", "1"], "did you mean --num_experts?"),
    (["--device", "tpu"], "--device must be auto, cpu, cuda"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_exit_code_2_and_nothing_written(tmp_path, capsys, flags, mend):
    code, line = error_line(capsys, tmp_path / "buffers", *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_refused_beforehand(tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    code, line = error_line(capsys, tmp_path / "buffers")
    assert code == 2 and "has 1 MB free" in line and "--half" in line and not list(tmp_path.iterdir())


def test_unwritable_folder_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    code, line = error_line(capsys, tmp_path / "file" / "below")
    assert code == 2 and "--buffer_path" in line


def test_help_lists_its_options_and_none_of_condensation(capsys):
    with pytest.raises(SystemExit) as stop:
        run_script(buffer.main, buffer.Config, buffer.__doc__, ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for flag in ("--ipc", "--init ", "--save_path", "--num_eval", "--eval_mode", "--lr_net", "--batch_real",
                 "--num_exp ", "--tensorboard", "--epoch_eval_train", "--parameterization"):
        assert flag not in text
    for flag in ("--num_experts", "--train_epochs", "--keep_epochs", "--rho_max", "--buffer_path", "--zca", "--res",
                 "--batch_train", "--checkpoint_every"):
        assert flag in text


# Networks

def test_depth_follows_the_image():
    sides = {8: "ConvNetD2", 16: "ConvNetD2", 28: "ConvNet", 32: "ConvNet", 33: "ConvNetD4", 64: "ConvNetD4",
             96: "ConvNetD5", 128: "ConvNetD5", 256: "ConvNetD6", 4096: "ConvNetD8", None: "ConvNet"}
    assert {side: network_for(side) for side in sides} == sides


@pytest.mark.parametrize("side", [8, 16, 28, 32, 64, 96, 128, 256])
def test_every_side_gets_a_network_that_takes_it(side):
    get_network(network_for(side), 3, 10, (side, side), rng=torch.Generator())


def test_automatic_network_is_the_one_of_the_data_sets_images(tmp_path):
    assert make(tmp_path, "--model", "auto", "--num_experts", "1", "--train_epochs", "1").name == "ConvNetD2"
    assert all(default_side(name) is None or network_for(default_side(name)) for name in DATASETS)


def test_experts_of_the_modules_are_those_of_the_script(tmp_path, digits):
    (expert,) = experts_in(make(tmp_path, "--num_experts", "1", "--dsa_strategy", "none"))
    experts = networks_of_experts(1, "MLP", digits, Recipe(2, 0, 2, augmentation="none"), Compute(), Streams(0))
    experts.begin([0])
    for epoch in range(2):
        experts.start_epoch(epoch)
        for images, labels in experts.minibatches():
            experts.step(images, labels)
    assert all(map(torch.equal, experts.state()[0][0], expert[-1]))
