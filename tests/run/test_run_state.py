"""A run's state on disk, by scripts as a user runs them: killed, stopped, resumed, refused, out of space.

main_DM.py stands for all of them, main_DC.py for those with several outer steps in an iteration.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from condense.run import checkpoints
from condense.run.checkpoints import Checkpoint
from condense.run.run import Run
from condense.synthetic import PARAMETERIZATIONS

LONG = ["--Iteration", "60", "--num_exp", "2", "--checkpoint_every", "5", "--eval_every", "20"]
FORMS = {"memory": ["--n_basis", "6"], "multi_formation": ["--factor", "3"],           # filled up with grey
         "latent_decoder": ["--out", "sigmoid", "--warmup_steps", "3"]}                # mean and std of real pixels


@pytest.fixture(scope="module")
def uninterrupted(dm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    dm.run(folder, *LONG)
    return folder


def test_killed_at_three_random_moments_and_resumed_gives_the_same_bytes(dm, tmp_path, uninterrupted):
    moments = random.Random(0)
    for _ in range(3):
        process = dm.start(tmp_path, *LONG, "--resume")
        dm.wait_for_progress(process, tmp_path, moments.uniform(0.05, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    dm.run(tmp_path, *LONG, "--resume")
    assert dm.path(tmp_path).read_bytes() == dm.path(uninterrupted).read_bytes()
    assert steps(dm, tmp_path) == steps(dm, uninterrupted)


def steps(script, folder):
    """Return what the journal says of steps."""
    return [(line["exp"], line["iteration"], line["loss"]) for line in script.journal(folder)
            if line["event"] == "step"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_usable_set_and_a_checkpoint(dm, tmp_path, number, uninterrupted):
    process = dm.start(tmp_path, *LONG)
    dm.wait_for_progress(process, tmp_path, 0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "--resume" in errors and "Traceback" not in errors
    kept = dm.load(tmp_path, "*_unfinished.pt")
    assert kept["data"][-1][0].shape == (20, 1, 8, 8) and kept["meta"]["unfinished"]
    dm.run(tmp_path, *LONG, "--resume")
    assert dm.path(tmp_path).read_bytes() == dm.path(uninterrupted).read_bytes()
    assert not list(tmp_path.glob("*unfinished*"))


def test_killed_with_outer_steps_and_resumed_gives_the_same_bytes(dc, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = ["--Iteration", "11", "--checkpoint_every", "3", "--eval_every", "0"]
    dc.run(whole, *flags)
    process = dc.start(parts, *flags)
    dc.wait_for_progress(process, parts, 0.05, "*.ckpt")
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    dc.run(parts, *flags, "--resume")
    assert dc.path(parts).read_bytes() == dc.path(whole).read_bytes()
    assert steps(dc, parts) == steps(dc, whole)


@pytest.mark.parametrize("longest_s, found", [(600, 0), (0, 3)])
def test_checkpoints_are_no_further_apart_than_minutes_however_few_iterations_that_is(
        dm, tmp_path, monkeypatch, longest_s, found):
    saved, save = [], Checkpoint.save
    monkeypatch.setattr(checkpoints, "LONGEST_S", longest_s)
    monkeypatch.setattr(Checkpoint, "save", lambda *args, **state: saved.append(state["iteration"]) or
                        save(*args, **state))
    dm.run(tmp_path, "--Iteration", "4", "--num_exp", "1", "--checkpoint_every", "500", "--eval_every", "100")
    assert len(saved) == found and saved == [1, 2, 3][:found]


@pytest.mark.parametrize("number, step, before",
                         [(signal.SIGINT, 2, 1), (signal.SIGTERM, 2, 1), (signal.SIGTERM, 3, 2)])
def test_stop_between_outer_steps_goes_back_to_where_the_iteration_began(
        dc, tmp_path, monkeypatch, capsys, number, step, before):
    """Step 3 of 3 is the last, after which the iteration is done and nothing has to be undone."""
    with monkeypatch.context() as patch:
        signal_at(patch, number, iteration=1, step=step)
        code, line = dc.error_line(capsys, tmp_path / "out", "--Iteration", "3")
    assert code == 128 + number and f"before iteration {before} " in line
    kept = dc.load(tmp_path / "out", "*_unfinished.pt")
    begun = dc.run(tmp_path / "begun", "--Iteration", str(before))
    assert torch.equal(kept["data"][0][0], begun["data"][0][0])
    dc.run(tmp_path / "out", "--Iteration", "3", "--resume")
    dc.run(tmp_path / "whole", "--Iteration", "3")
    assert dc.path(tmp_path / "out").read_bytes() == dc.path(tmp_path / "whole").read_bytes()


def signal_at(monkeypatch, number, iteration, step):
    """Let the run get a signal while outer step `step` (from 1) of `iteration` is under way."""
    original = Run.log

    def log(self, loss):
        original(self, loss)
        if self.it == iteration and len(self.losses) == step:
            signal.raise_signal(number)

    monkeypatch.setattr(Run, "log", log)


def interrupt_at(monkeypatch, iteration):
    """Let the run fail hard in front of `iteration`, as a killed process would."""
    original = Run.log

    def log(self, loss, **figures):
        if self.it == iteration:
            raise KeyboardInterrupt
        original(self, loss, **figures)

    monkeypatch.setattr(Run, "log", log)


@pytest.fixture
def unfinished(dm, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(SystemExit):
            dm.run(tmp_path, "--checkpoint_every", "2")
    assert list(tmp_path.glob("*.ckpt"))
    return tmp_path


@pytest.mark.parametrize("form", PARAMETERIZATIONS)
def test_what_a_checkpoint_restores_is_started_from_noise_and_ends_with_the_same_bytes(
        dm, tmp_path, monkeypatch, form):
    hows, kind = [], PARAMETERIZATIONS[form]
    original = kind.init_from

    def init_from(self, real, how, rng):
        hows.append(how)
        return original(self, real, how, rng)

    monkeypatch.setattr(kind, "init_from", init_from)
    flags = ["--parameterization", form, "--init", "real", "--checkpoint_every", "2", *FORMS.get(form, [])]
    dm.run(tmp_path / "whole", *flags)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(SystemExit):
            dm.run(tmp_path / "parts", *flags)
    dm.run(tmp_path / "parts", *flags, "--resume")
    assert hows == ["real", "real", "noise"]
    assert dm.path(tmp_path / "parts").read_bytes() == dm.path(tmp_path / "whole").read_bytes()


def test_checkpoint_is_not_destroyed_by_starting_again(dm, unfinished, capsys):
    code, line = dm.error_line(capsys, unfinished)
    assert code == 2 and "--resume" in line and "--overwrite" in line
    assert list(unfinished.glob("*.ckpt"))


def test_resume_with_other_options_is_refused_naming_them(dm, unfinished, capsys):
    code, line = dm.error_line(capsys, unfinished, "--resume", "--lr_img", "2")
    assert code == 2 and "--lr_img was 1.0, is 2.0" in line


def test_overwrite_starts_an_unfinished_run_afresh(dm, unfinished, tmp_path_factory):
    fresh = tmp_path_factory.mktemp("fresh")
    dm.run(fresh)
    dm.run(unfinished, "--overwrite")
    assert dm.path(unfinished).read_bytes() == dm.path(fresh).read_bytes()


def test_broken_checkpoint_is_named(dm, unfinished, capsys):
    (path,) = unfinished.glob("*.ckpt")
    path.write_bytes(path.read_bytes()[:100])
    code, line = dm.error_line(capsys, unfinished, "--resume")
    assert code == 2 and str(path) in line and "--overwrite" in line


def test_resume_without_a_checkpoint_says_so_and_starts_afresh(dm, tmp_path, capsys):
    dm.run(tmp_path, "--resume")
    assert "no checkpoint" in capsys.readouterr().out


def test_resuming_a_finished_run_says_so_and_changes_nothing(dm, tmp_path, capsys):
    dm.run(tmp_path)
    before = dm.path(tmp_path).read_bytes(), dm.journal(tmp_path)
    dm.run(tmp_path, "--resume")
    assert "already finished" in capsys.readouterr().out
    assert (dm.path(tmp_path).read_bytes(), dm.journal(tmp_path)) == before


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


def test_result_of_other_images_is_never_replaced(dm, tmp_path, capsys, two_sets):
    out = tmp_path / "out"
    dm.run(out, *two_sets[0])
    before = dm.path(out).read_bytes()
    for more in ([], ["--resume"]):
        code, line = dm.error_line(capsys, out, *two_sets[1], *more)
        assert code == 2 and "other images" in line
    assert dm.path(out).read_bytes() == before


def test_resuming_on_other_images_is_refused(dm, tmp_path, capsys, two_sets, monkeypatch):
    out, often = tmp_path / "out", ["--checkpoint_every", "2"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        dm.error_line(capsys, out, *often, *two_sets[0])
    code, line = dm.error_line(capsys, out, *often, *two_sets[1], "--resume")
    assert code == 2 and "other images" in line


def test_overwriting_with_bad_input_loses_no_checkpoint(dm, unfinished, capsys):
    code, _ = dm.error_line(capsys, unfinished, "--overwrite", "--model", "ConvNetD6")
    assert code == 2 and list(unfinished.glob("*.ckpt"))


def test_result_of_other_options_is_never_replaced(dm, tmp_path, capsys):
    dm.run(tmp_path)
    before = dm.path(tmp_path).read_bytes()
    code, line = dm.error_line(capsys, tmp_path, "--seed", "3")
    assert code == 2 and "--seed was 0, is 3" in line and "--save_path" in line
    assert dm.path(tmp_path).read_bytes() == before
    dm.run(tmp_path, "--seed", "3", "--overwrite")
    assert dm.load(tmp_path)["meta"]["seed"] == 3


def test_nonfinite_loss_stops_at_its_iteration_and_keeps_the_last_good_set(dm, tmp_path, capsys, monkeypatch):
    def loss(mean_real, mean_syn):
        calls.append(None)
        return (mean_real - mean_syn).square().sum() * (float("nan") if len(calls) == 4 else 1)

    calls = []
    monkeypatch.setattr(dm.module, "matching_loss", loss)
    code, line = dm.error_line(capsys, tmp_path)
    assert code == 2 and "iteration 3" in line and "--lr_img" in line
    kept = dm.load(tmp_path, "*_unfinished.pt")
    monkeypatch.undo()
    assert torch.equal(kept["data"][0][0], dm.run(tmp_path / "two", "--Iteration", "2")["data"][0][0])


FULL_DISK = """
import resource, signal, sys
import main_DM
from condense.run.script import run_script
import condense.run.run as runtime
save = runtime.Run.save
def save_on_a_full_disk(self):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
    return save(self)
runtime.Run.save = save_on_a_full_disk
run_script(main_DM.main, main_DM.Config, "", sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files the POSIX way")
def test_full_disk_while_saving_leaves_the_old_file_intact(dm, tmp_path):
    dm.run(tmp_path)
    before = dm.path(tmp_path).read_bytes()
    flags = [*dm.settings, "--save_path", str(tmp_path), "--overwrite", "--seed", "5"]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *flags], cwd=Path(dm.module.__file__).parent,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
    assert dm.path(tmp_path).read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))
