"""main_MTT.py stopped, killed, resumed, or at its wits' end: what is left, and that no number changes."""

import random
import shutil
import signal

import pytest

from condense.evaluation import Scorer
from condense.run.run import Run
from tests.conftest import runs_begun
from tests.mtt_runs import LONG, UNSCORED, step_size


@pytest.fixture(scope="module")
def uninterrupted(mtt, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    mtt.run(folder, *LONG)
    return mtt.path(folder).read_bytes()


def test_killed_at_a_random_moment_and_resumed_gives_the_same_bytes(mtt, tmp_path, uninterrupted):
    process = mtt.start(tmp_path, *LONG)
    mtt.wait_for_progress(process, tmp_path, random.Random(0).uniform(0, 0.2), "*.ckpt")
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    mtt.run(tmp_path, *LONG, "--resume")
    assert mtt.path(tmp_path).read_bytes() == uninterrupted


@pytest.mark.parametrize("where", [(Run, "log"), (Scorer, "__call__")], ids=["in a step", "in an evaluation"])
def test_stopped_and_resumed_gives_the_same_bytes_best_included(
        mtt, tmp_path, monkeypatch, capsys, uninterrupted, where):
    with monkeypatch.context() as patch:
        signal_within(patch, *where, iteration=24)
        code, line = mtt.error_line(capsys, tmp_path, *LONG)
    before = 25 if where[0] is Run else 24
    assert code == 128 + signal.SIGTERM and f"before iteration {before} " in line and "--resume" in line
    kept = mtt.load(tmp_path, "*_unfinished.pt")
    assert kept["meta"]["unfinished"] and kept["data"][0][0].shape == (20, 1, 8, 8) and step_size(kept) > 0
    assert kept["meta"]["protocols"]["ConvNetD1"]["lr"] == step_size(kept)
    assert kept["meta"]["best"][0]["iteration"] <= 24 and len(kept["best"]) == 1
    mtt.run(tmp_path, *LONG, "--resume")
    assert mtt.path(tmp_path).read_bytes() == uninterrupted
    assert not list(tmp_path.glob("*unfinished*")) and not list(tmp_path.glob("*.ckpt"))


@pytest.mark.parametrize("flags", [["--teacher_label"], ["--lr_y", "5", "--init", "samples_predicted_correctly"],
                                   ["--lr_y", "5", "--parameterization", "low_rank"], ["--random_trajectory"],
                                   ["--load_all", "--batch_syn", "7"]], ids=" ".join)
def test_every_variant_has_the_same_bytes_whether_stopped_or_not(mtt, tmp_path, monkeypatch, capsys, flags):
    flags = [*flags, "--num_eval", "1", "--Iteration", "3"]
    mtt.run(tmp_path / "whole", *flags)
    with monkeypatch.context() as patch:
        signal_within(patch, Run, "log", iteration=1)
        assert mtt.error_line(capsys, tmp_path / "parts", *flags)[0] == 128 + signal.SIGTERM
    mtt.run(tmp_path / "parts", *flags, "--resume")
    assert mtt.path(tmp_path / "parts").read_bytes() == mtt.path(tmp_path / "whole").read_bytes()


def signal_within(monkeypatch, owner, name, iteration):
    """Let the run get a signal while it is in the method `name` at `iteration`."""
    original, runs = getattr(owner, name), runs_begun(monkeypatch)

    def signalled(self, *args, **figures):
        if runs[-1].it == iteration:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *args, **figures)

    monkeypatch.setattr(owner, name, signalled)


def test_going_on_with_other_experts_is_refused_and_with_the_same_elsewhere_is_not(
        mtt, tmp_path, able_experts, monkeypatch, capsys):
    out, flags = tmp_path / "out", ["--num_exp", "2", *UNSCORED]
    with monkeypatch.context() as patch:
        signal_within(patch, Run, "log", iteration=2)
        mtt.error_line(capsys, out, *flags)
    other, same = tmp_path / "other", tmp_path / "same"
    for folder in (other, same):
        shutil.copytree(able_experts, folder)
    between = stopped_between_experiments(mtt, tmp_path / "between", monkeypatch, capsys, flags)
    sidecar = other / "Digits" / "ConvNetD1" / "buffer.json"
    sidecar.write_text(sidecar.read_text().replace('"seed": 0', '"seed": 1'))
    left = {path: path.read_bytes() for path in out.iterdir()}
    code, line = mtt.error_line(capsys, out, *flags, "--resume", "--buffer_path", str(other))
    assert code == 2 and "other experts" in line and "--overwrite" in line
    assert {path: path.read_bytes() for path in out.iterdir()} == left
    code, line = mtt.error_line(capsys, between, *flags, "--resume", "--buffer_path", str(other))
    assert code == 2 and "other experts" in line
    mtt.run(out, *flags, "--resume", "--buffer_path", str(same))
    mtt.run(tmp_path / "whole", *flags)
    assert mtt.path(out).read_bytes() == mtt.path(tmp_path / "whole").read_bytes()


def raise_(error):
    raise error


def stopped_between_experiments(mtt, folder, monkeypatch, capsys, flags):
    """Return `folder` with a run of which the first experiment is done and the second has not begun."""
    with monkeypatch.context() as patch:
        patch.setattr(Run, "experiments", lambda self: iter([0]))
        patch.setattr(Run, "save", lambda self: raise_(KeyboardInterrupt))
        mtt.error_line(capsys, folder, *flags)
    assert list(folder.glob("*.ckpt"))
    return folder


@pytest.mark.parametrize("flags", [["--lr_lr", "1"], ["--lr_lr", "1e38"], ["--lr_lr", "1e38", "--Iteration", "1"]],
                         ids=" ".join)
def test_step_size_that_is_no_use_stops_the_run_and_keeps_the_last_good_state(mtt, tmp_path, capsys, flags):
    code, line = mtt.error_line(capsys, tmp_path, "--checkpoint_every", "1", *flags)
    assert code == 2 and "the learned step size is" in line and "try a smaller --lr_lr" in line
    kept = mtt.load(tmp_path, "*_unfinished.pt")
    assert 0 < step_size(kept) < float("inf") and kept["data"][0][0].isfinite().all()
    assert not list(tmp_path.glob("res_*ipc.pt"))


def test_result_of_other_experts_is_neither_replaced_nor_taken_for_finished(mtt, tmp_path, able_experts, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    mtt.run(out, *UNSCORED)
    before = mtt.path(out).read_bytes()
    shutil.copytree(able_experts, other)
    sidecar = other / "Digits" / "ConvNetD1" / "buffer.json"
    sidecar.write_text(sidecar.read_text().replace('"seed": 0', '"seed": 1'))
    for flags in ([], ["--resume"]):
        code, line = mtt.error_line(capsys, out, *UNSCORED, *flags, "--buffer_path", str(other))
        assert code == 2 and "made from other experts" in line and "--save_path" in line
    assert mtt.path(out).read_bytes() == before
