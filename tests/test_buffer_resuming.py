"""buffer.py stopped, killed, resumed and extended: the experts stay those of a run that nothing disturbed."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

import buffer
from condense.core.files import locked
from condense.experts import run
from condense.experts.folder import write_sidecar
from condense.experts.training import Alone
from condense.run.script import run_script
from tests.buffer_runs import TINY, WHOLE, contents, error_line, experts_in, make, same, sidecar


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


def test_experts_of_adam_that_are_stopped_and_resumed_end_with_the_same_bytes(tmp_path, monkeypatch, capsys):
    adam = ["--optimizer", "adam", "--lr_teacher", "1e-3", "--num_experts", "1", "--decay_epochs", "1"]
    whole = make(tmp_path / "whole", *adam)
    with monkeypatch.context() as patch:
        stopping_at(patch, 9)
        assert error_line(capsys, tmp_path / "cut", *adam)[0] == 130
    assert contents(make(tmp_path / "cut", *adam, "--resume")) == contents(whole)


def test_experts_from_before_there_was_a_choice_of_optimiser_are_extended(tmp_path):
    folder = make(tmp_path, "--num_experts", "1")
    about = sidecar(folder)
    for name in ("optimizer", "decay_epochs", "decay_factor", "net_init", "init_param"):
        del about["options"][name]
    write_sidecar(folder, about)
    assert len(experts_in(make(tmp_path, "--num_experts", "2", "--resume"))) == 2


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
