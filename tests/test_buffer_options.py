"""What buffer.py says, the options it takes and what it refuses."""

import shutil

import pytest

import buffer
from condense.experts.training import Alone
from condense.networks import get_network
from condense.run.script import run_script
from tests.buffer_runs import error_line, experts_in, make


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
    assert code == 2 and "the loss of expert 1 is nan in epoch 0" in line and "--lr_teacher" in line
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
    (["--optimizer", "rmsprop"], "choose one of: sgd, adam"),
    (["--optimizer", "adam", "--rho_max", "0.1"], "leave them out"),
    (["--optimizer", "adam", "--mom", "0.9"], "leave them out"),
    (["--decay", "--decay_epochs", "1"], "leave one of them out"),
    (["--decay_factor", "0.1"], "give both"),
    (["--init_param", "2"], "give both"),
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
