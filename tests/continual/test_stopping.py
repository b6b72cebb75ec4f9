"""continual.py stopped and gone on with, and made anew, as a user does it."""

import json
import signal

import pytest
import torch

from condense.continual import scoring
from condense.run.checkpoints import Checkpoint
from tests.conftest import runs_begun
from tests.test_continual import ONE_STEP, ONLY_RANDOM, STEM, error_line, run, step_files


def test_a_stopped_set_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    flags = ["--seeds", "1", *ONE_STEP, "--methods", "DM", "--Iteration", "40", "--checkpoint_every", "15"]

    def save_and_stop(checkpoint, **state):
        save(checkpoint, **state)
        runs[-1].stop.number = signal.SIGTERM            # as if it came just then

    save, runs = Checkpoint.save, runs_begun(monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(Checkpoint, "save", save_and_stop)
        run(tmp_path, *flags)
    assert stop.value.code == 128 + signal.SIGTERM
    line = capsys.readouterr().err.strip()
    assert line.startswith("stopped; what is finished is in") and line.endswith("go on with the same command")
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert "--Iteration was 40, is 41" in error_line(capsys, tmp_path, *flags, "--Iteration", "41")
    assert torch.load(checkpoint, weights_only=True)["iteration"] == 15
    content = run(tmp_path, *flags)
    (journal,) = tmp_path.rglob("*.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [event["event"] for event in events].count("start") == 2        # the second run went on where the first was
    assert [event["iteration"] for event in events if event["event"] == "step"] == [0, 10, 20, 30]
    assert content["options"]["Iteration"] == 40 and not checkpoint.exists()


def test_an_overwrite_that_is_stopped_goes_on_without_the_flag(tmp_path, monkeypatch, capsys):
    flags = ["--seeds", "1", *ONLY_RANDOM]
    run(tmp_path, *flags)
    (score,) = tmp_path.glob(f"cl_{STEM}/scores/random_seed0_step0_*.json")
    content = json.loads(score.read_text())
    forged = {**content, "scores": [{**score, "confusion": [[7] * 10] * 10} for score in content["scores"]]}
    score.write_text(json.dumps(forged))
    assert run(tmp_path, *flags)["methods"]["random"]["mean"][0] == pytest.approx(0.1)         # what is there is taken
    evaluated, real_evaluate = [], scoring.evaluate

    def evaluate_twice(*args, **options):
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(args)
        return real_evaluate(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(scoring, "evaluate", evaluate_twice)
        run(tmp_path, *flags, "--overwrite")
    assert stop.value.code == 128 + signal.SIGINT
    assert capsys.readouterr().err.strip().endswith("go on with the same command without --overwrite")
    assert len(step_files(tmp_path)) == 2 and not (tmp_path / f"scores_{STEM}.json").exists()
    before = step_files(tmp_path)
    assert json.loads(score.read_text())["scores"] == content["scores"]       # scored anew
    run(tmp_path, *flags)
    after = step_files(tmp_path)
    assert len(after) == 5 and {path: after[path] for path in before} == before


def test_overwrite_makes_everything_anew(tmp_path):
    flags = ["--seeds", "1", *ONE_STEP]
    first = run(tmp_path, *flags)
    second = run(tmp_path, *flags, "--Iteration", "3", "--overwrite")
    assert first["options"]["Iteration"] == 2 and second["options"]["Iteration"] == 3
    assert first["methods"]["DM"]["memory"] != second["methods"]["DM"]["memory"]
    assert first["methods"]["random"] == second["methods"]["random"]
