"""main_DM.py as a user runs it: on Digits, with tiny settings."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import main_DM
from condense.cli import run_script

TINY = ["--dataset", "Digits", "--ipc", "2", "--Iteration", "6", "--num_exp", "1", "--num_eval", "2",
        "--epoch_eval_train", "2", "--model", "ConvNetW32", "--batch_real", "16", "--no-progress", "--device", "cpu"]
RESULT = "res_DM_Digits_ConvNetW32_2ipc.pt"
REPOSITORY = Path(main_DM.__file__).parent


def run(folder, *flags):
    """Run main_DM.py in this process; returns the result file's content."""
    run_script(main_DM.main, main_DM.Config, main_DM.__doc__, [*TINY, "--save_path", str(folder), *flags])
    return load(folder)


def load(folder, name=RESULT):
    return torch.load(folder / name, weights_only=True)


def start(folder, *flags):
    """Start main_DM.py as a process of its own."""
    command = [sys.executable, "main_DM.py", *TINY, "--save_path", str(folder), *flags]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def error_line(capsys, folder, *flags):
    """Run into an error; returns (exit code, its only line)."""
    with pytest.raises(SystemExit) as stop:
        run(folder, *flags)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return stop.value.code, lines[0]


def journal(folder):
    lines = (folder / RESULT.replace(".pt", ".jsonl")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def same_tensors(a, b):
    return all(torch.equal(x, y) for e, f in zip(a["data"], b["data"], strict=True) for x, y in zip(e, f, strict=True))


def test_result_has_the_reference_layout_and_says_what_it_is(tmp_path):
    result = run(tmp_path, "--num_exp", "2")
    assert [type(entry) for entry in result["data"]] == [list, list]
    images, labels = result["data"][1]
    assert images.shape == (20, 1, 8, 8) and images.dtype == torch.float32
    assert labels.tolist() == [c for c in range(10) for _ in range(2)]
    accuracies = result["accs_all_exps"]["ConvNetW32"]
    assert len(accuracies) == 4 and all(type(a) is float and 0 <= a <= 1 for a in accuracies)
    meta = result["meta"]
    assert meta["method"] == "DM" and meta["seed"] == 0 and meta["class_names"] == [str(d) for d in range(10)]
    assert meta["storage"]["floats"] == meta["storage"]["budget_floats"] == 10 * 2 * 64
    assert meta["options"]["lr_img"] == 1.0 and "save_path" not in meta["options"]


def test_condensing_moves_every_class_away_from_its_start(tmp_path):
    start, end = run(tmp_path / "a", "--Iteration", "0"), run(tmp_path / "b")
    moved = (start["data"][0][0] - end["data"][0][0]).abs().flatten(1).amax(1)
    assert (moved > 1e-4).all()


def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(tmp_path):
    one, two = run(tmp_path / "a"), run(tmp_path / "b")
    assert (tmp_path / "a" / RESULT).read_bytes() == (tmp_path / "b" / RESULT).read_bytes()
    assert same_tensors(one, two)
    assert not same_tensors(one, run(tmp_path / "c", "--seed", "1"))


def test_evaluating_more_often_leaves_every_number_as_it_was(tmp_path):
    often, once = run(tmp_path / "a", "--eval_every", "1"), run(tmp_path / "b", "--eval_every", "0")
    assert same_tensors(often, once) and often["accs_all_exps"] == once["accs_all_exps"]
    count = [sum(line["event"] == "evaluation" for line in journal(tmp_path / name)) for name in "ab"]
    assert count == [7, 1]


def test_last_iteration_is_evaluated_whatever_the_cadence(tmp_path):
    run(tmp_path, "--eval_every", "4")
    assert [line["iteration"] for line in journal(tmp_path) if line["event"] == "evaluation"] == [0, 4, 6]


def test_chunks_change_nothing_but_rounding(tmp_path):
    whole, chunked = run(tmp_path / "a", "--chunk", "1000"), run(tmp_path / "b", "--chunk", "7")
    torch.testing.assert_close(whole["data"][0][0], chunked["data"][0][0], rtol=1e-4, atol=1e-4)


def test_pictures_are_written_at_each_evaluation_and_metrics_beside_the_result(tmp_path):
    run(tmp_path, "--eval_every", "3")
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"vis_DM_Digits_ConvNetW32_2ipc_exp0_iter{it}.png" for it in (0, 3, 6)]
    events = journal(tmp_path)
    assert events[0]["event"] == "start" and "torch" in events[0]["versions"] and events[-1]["event"] == "end"
    assert [line["iteration"] for line in events if line["event"] == "step"] == [0]
    assert not list(tmp_path.glob("*.ckpt")) and not list(tmp_path.glob("*unfinished*"))


def test_first_line_says_how_long_and_which_flags_shorten_it(tmp_path, capsys):
    run(tmp_path)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("about ") and "6 iterations" in first and "--Iteration" in first


def test_rehearsal_for_the_estimate_leaves_no_trace(tmp_path, monkeypatch):
    with_rehearsal = run(tmp_path / "a")
    monkeypatch.setattr("condense.runtime.Run._rehearse", lambda *args: iter(()))
    assert same_tensors(with_rehearsal, run(tmp_path / "b"))


@pytest.mark.parametrize("flags", [["--model", "ConvNetBN", "--eval_mode", "S"], ["--dsa_strategy", "none"],
                                   ["--init", "noise"], ["--batch_real", "all"], ["--batch_real", "1000"],
                                   ["--precision", "bf16"], ["--dsa_strategy", "flip_color"]], ids=" ".join)
def test_variant_runs_to_a_finite_result(tmp_path, flags):
    run_script(main_DM.main, main_DM.Config, "", [*TINY, "--Iteration", "2", "--save_path", str(tmp_path), *flags])
    (path,) = tmp_path.glob("res_*.pt")
    result = torch.load(path, weights_only=True)
    assert result["data"][0][0].isfinite().all()
    if "ConvNetBN" in flags:
        assert list(result["accs_all_exps"]) == ["ConvNet"]


def test_pool_mode_scores_every_architecture_at_the_end_only(tmp_path):
    result = run(tmp_path, "--eval_mode", "W", "--Iteration", "1", "--epoch_eval_train", "0", "--num_eval", "1")
    assert list(result["accs_all_exps"]) == ["ConvNetW32", "ConvNetW64", "ConvNetW128", "ConvNetW256"]
    assert {line["iteration"] for line in journal(tmp_path) if line["event"] == "evaluation"} == {1}


def test_flag_that_does_nothing_in_the_original_is_answered_by_one_line(tmp_path, capsys):
    run(tmp_path, "--dis_metric", "mse")
    assert sum("--dis_metric" in line for line in capsys.readouterr().out.splitlines()) == 1


LONG = ["--Iteration", "60", "--num_exp", "2", "--checkpoint_every", "5", "--eval_every", "20"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, *LONG)
    return folder


def test_killed_at_three_random_moments_and_resumed_gives_the_same_bytes(tmp_path, uninterrupted):
    moments = random.Random(0)
    for _ in range(3):
        process = start(tmp_path, *LONG, "--resume")
        wait_for_progress(process, tmp_path, moments.uniform(0.05, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    run(tmp_path, *LONG, "--resume")
    assert (tmp_path / RESULT).read_bytes() == (uninterrupted / RESULT).read_bytes()
    steps = [[(line["exp"], line["iteration"], line["loss"]) for line in journal(folder) if line["event"] == "step"]
             for folder in (tmp_path, uninterrupted)]
    assert steps[0] == steps[1]


def wait_for_progress(process, folder, more_s):
    """Wait until the process writes its journal, then `more_s` longer."""
    before = progress(folder)
    while process.poll() is None and progress(folder) == before:
        time.sleep(0.01)
    time.sleep(more_s)


def progress(folder):
    path = folder / RESULT.replace(".pt", ".jsonl")
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_usable_set_and_a_checkpoint(tmp_path, number, uninterrupted):
    process = start(tmp_path, *LONG)
    wait_for_progress(process, tmp_path, 0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "--resume" in errors and "Traceback" not in errors
    kept = load(tmp_path, RESULT.replace(".pt", "_unfinished.pt"))
    assert kept["data"][-1][0].shape == (20, 1, 8, 8) and kept["meta"]["unfinished"]
    run(tmp_path, *LONG, "--resume")
    assert (tmp_path / RESULT).read_bytes() == (uninterrupted / RESULT).read_bytes()
    assert not list(tmp_path.glob("*unfinished*"))


def interrupt_at(monkeypatch, iteration):
    """Let the run fail hard in front of `iteration`, as a killed process would."""
    import condense.runtime as runtime
    original = runtime.Run.log

    def log(self, loss, **figures):
        if not self.rehearsing and self.it == iteration:
            raise KeyboardInterrupt
        original(self, loss, **figures)

    monkeypatch.setattr(runtime.Run, "log", log)


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(SystemExit):
            run(tmp_path, "--checkpoint_every", "2")
    assert list(tmp_path.glob("*.ckpt"))
    return tmp_path


def test_checkpoint_is_not_destroyed_by_starting_again(unfinished, capsys):
    code, line = error_line(capsys, unfinished)
    assert code == 2 and "--resume" in line and "--overwrite" in line
    assert list(unfinished.glob("*.ckpt"))


def test_resume_with_other_options_is_refused_naming_them(unfinished, capsys):
    code, line = error_line(capsys, unfinished, "--resume", "--lr_img", "2")
    assert code == 2 and "--lr_img was 1.0, is 2.0" in line


def test_overwrite_starts_an_unfinished_run_afresh(unfinished, tmp_path_factory):
    fresh = run(tmp_path_factory.mktemp("fresh"))
    assert same_tensors(run(unfinished, "--overwrite"), fresh)


def test_broken_checkpoint_is_named(unfinished, capsys):
    (path,) = unfinished.glob("*.ckpt")
    path.write_bytes(path.read_bytes()[:100])
    code, line = error_line(capsys, unfinished, "--resume")
    assert code == 2 and str(path) in line and "--overwrite" in line


def test_resume_without_a_checkpoint_says_so_and_starts_afresh(tmp_path, capsys):
    run(tmp_path, "--resume")
    assert "no checkpoint" in capsys.readouterr().out


def test_resuming_a_finished_run_says_so_and_changes_nothing(tmp_path, capsys):
    run(tmp_path)
    before = (tmp_path / RESULT).read_bytes(), journal(tmp_path)
    run(tmp_path, "--resume")
    assert "already finished" in capsys.readouterr().out
    assert ((tmp_path / RESULT).read_bytes(), journal(tmp_path)) == before


@pytest.fixture
def two_sets(tmp_path):
    """Two tensor files of the same shape with other pixels."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        pixels = rng.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
        labels = np.arange(60) % 3
        np.savez(tmp_path / f"{name}.npz", images_train=pixels, labels_train=labels, images_val=pixels,
                 labels_val=labels)
    return [["--dataset", "file", "--data_path", str(tmp_path / f"{name}.npz")] for name in ("one", "two")]


def test_result_of_other_images_is_never_replaced(tmp_path, capsys, two_sets):
    out = tmp_path / "out"
    arguments = [*TINY, "--save_path", str(out)]
    run_script(main_DM.main, main_DM.Config, "", [*arguments, *two_sets[0]])
    (path,) = out.glob("res_*.pt")
    before = path.read_bytes()
    for more in ([], ["--resume"]):
        with pytest.raises(SystemExit) as stop:
            run_script(main_DM.main, main_DM.Config, "", [*arguments, *two_sets[1], *more])
        assert stop.value.code == 2 and "other images" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_resuming_on_other_images_is_refused(tmp_path, capsys, two_sets, monkeypatch):
    arguments = [*TINY, "--save_path", str(tmp_path / "out"), "--checkpoint_every", "2"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(SystemExit):
            run_script(main_DM.main, main_DM.Config, "", [*arguments, *two_sets[0]])
    with pytest.raises(SystemExit) as stop:
        run_script(main_DM.main, main_DM.Config, "", [*arguments, *two_sets[1], "--resume"])
    assert stop.value.code == 2 and "other images" in capsys.readouterr().err


def test_overwriting_with_bad_input_loses_no_checkpoint(unfinished, capsys):
    code, _ = error_line(capsys, unfinished, "--overwrite", "--model", "ConvNetD6")
    assert code == 2 and list(unfinished.glob("*.ckpt"))


def test_result_of_other_options_is_never_replaced(tmp_path, capsys):
    run(tmp_path)
    before = (tmp_path / RESULT).read_bytes()
    code, line = error_line(capsys, tmp_path, "--seed", "3")
    assert code == 2 and "--seed was 0, is 3" in line and "--save_path" in line
    assert (tmp_path / RESULT).read_bytes() == before
    run(tmp_path, "--seed", "3", "--overwrite")
    assert load(tmp_path)["meta"]["seed"] == 3


@pytest.mark.parametrize("flags, mend", [
    (["--dataset", "Digit"], "did you mean Digits?"),
    (["--model", "ConvNe"], "did you mean ConvNet?"),
    (["--dsa_strategy", "flip_colour"], "did you mean color?"),
    (["--eval_mode", "Q"], "choose one of: S, SS, M, B, W, D, A, P, N"),
    (["--ipc", "0"], "--ipc must be 1 or larger, not 0"),
    (["--ipc", "500"], "class '8' has 139"),
    (["--num_eval", "0"], "--num_eval must be 1 or larger"),
    (["--lr_img", "-1"], "--lr_img must be larger than 0"),
    (["--lr_img", "fast"], "--lr_img must be a number"),
    (["--init", "reel"], "did you mean real?"),
    (["--batch_real", "al"], "did you mean all?"),
    (["--lr_imgs", "1"], "did you mean --lr_img?"),
    (["--device", "tpu"], "--device must be auto, cpu, cuda"),
    (["--model", "ConvNetD6"], "ConvNetD3"),
    (["--eval_mode", "M"], "LeNet"),
    (["--dataset", "folder", "--data_path", "nowhere"], "nowhere"),
    (["--dataset", "file", "--data_path", "nowhere.pt"], "nowhere.pt"),
    (["--config", "nowhere.yaml"], "nowhere.yaml"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_and_exit_code_2(tmp_path, capsys, flags, mend):
    code, line = error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.glob("res_*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_cuda_without_a_gpu_says_what_to_use_instead(tmp_path, capsys):
    code, line = error_line(capsys, tmp_path, "--device", "cuda")
    assert code == 2 and "--device cpu" in line


def test_unknown_config_key_names_file_key_and_the_nearest(tmp_path, capsys):
    (tmp_path / "my.yaml").write_text("lr_image: 3\n")
    code, line = error_line(capsys, tmp_path, "--config", str(tmp_path / "my.yaml"))
    assert code == 2 and "my.yaml" in line and "'lr_image'" in line and "did you mean lr_img?" in line


def test_unwritable_output_is_refused_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, line = error_line(capsys, tmp_path / "file" / "below")
    assert code == 2 and "--save_path" in line


def test_debug_shows_where_an_error_came_from(tmp_path):
    with pytest.raises(ValueError, match="did you mean Digits"):
        run(tmp_path, "--dataset", "Digit", "--debug")


def test_nonfinite_loss_stops_at_its_iteration_and_keeps_the_last_good_set(tmp_path, capsys, monkeypatch):
    def loss(mean_real, mean_syn):
        calls.append(None)                               # two rehearsals come first
        return (mean_real - mean_syn).square().sum() * (float("nan") if len(calls) == 6 else 1)

    calls = []
    monkeypatch.setattr(main_DM, "matching_loss", loss)
    code, line = error_line(capsys, tmp_path)
    assert code == 1 and "iteration 3" in line and "--lr_img" in line
    kept = load(tmp_path, RESULT.replace(".pt", "_unfinished.pt"))
    monkeypatch.undo()
    assert torch.equal(kept["data"][0][0], run(tmp_path / "two", "--Iteration", "2")["data"][0][0])


FULL_DISK = """
import resource, signal, sys
import main_DM
from condense.cli import run_script
import condense.runtime as runtime
save = runtime.Run.save
def save_on_a_full_disk(self):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
    return save(self)
runtime.Run.save = save_on_a_full_disk
run_script(main_DM.main, main_DM.Config, "", sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files the POSIX way")
def test_full_disk_while_saving_leaves_the_old_file_intact(tmp_path):
    run(tmp_path)
    before = (tmp_path / RESULT).read_bytes()
    command = [sys.executable, "-c", FULL_DISK, *TINY, "--save_path", str(tmp_path), "--overwrite", "--seed", "5"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
    assert (tmp_path / RESULT).read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_tensorboard_events_are_written_or_the_missing_package_is_named(tmp_path, capsys):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        code, line = error_line(capsys, tmp_path, "--tensorboard")
        assert code == 2 and "pip install tensorboard" in line
        return
    run(tmp_path, "--tensorboard")
    assert list(tmp_path.glob("*/events*"))
