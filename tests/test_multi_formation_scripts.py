"""Multi-formation under every method script, as a user runs it: what it learns, resumes, stores and refuses."""

import logging

import pytest
import torch

from condense.run.results import load_result
from condense.synthetic import restore_synthetic
from tests.conftest import stopped, written

FORM = ["--parameterization", "multi_formation", "--factor", "2", "--ipc", "1", "--init", "real", "--num_eval", "1",
        "--eval_every", "0", "--model", "ConvNetD1"]
TINY = [*FORM, "--epoch_eval_train", "1"]
SHORT = {"dm": [*TINY, "--Iteration", "2"], "dc": [*TINY, "--Iteration", "1"],
         "dsa": [*TINY, "--Iteration", "1", "--method", "DSA"],
         "mtt": [*TINY, "--Iteration", "2", "--batch_syn", "20"],
         "dd": [*FORM, "--Iteration", "2", "--distill_steps", "2", "--model", "MLP"]}


@pytest.fixture(params=SHORT)
def method(request):
    """(a method script, flags that make a short run of it)."""
    return request.getfixturevalue("dc" if request.param == "dsa" else request.param), SHORT[request.param]


@pytest.fixture
def hosts(dm, dc, mtt):
    return {"dm": dm, "dc": dc, "mtt": mtt}


def test_mosaics_are_learned_under_every_objective_within_the_budget(method, tmp_path):
    script, flags = method
    script.run(tmp_path / "start", *flags, "--Iteration", "0")
    result, before = script.run(tmp_path, *flags), script.load(tmp_path / "start")
    learned, started = (content["factors"][0]["mosaics"] for content in (result, before))
    assert learned.shape == (10, 1, 8, 8) and learned.isfinite().all()
    assert (learned != started).flatten(1).any(1).all()    # every one of them
    images, labels = result["data"][0]
    assert images.shape == (40, 1, 8, 8) and labels.tolist() == [c for c in range(10) for _ in range(4)]
    assert torch.equal(restore_synthetic(result["factors"][0]).images(), images)
    assert result["meta"]["storage"]["floats"] == result["meta"]["storage"]["budget_floats"] == 640
    assert result["meta"]["options"]["factor"] == 2


@pytest.mark.parametrize("host", ["dm", "mtt"])
def test_a_run_has_the_same_bytes_whether_stopped_and_resumed_or_not(hosts, tmp_path, monkeypatch, host):
    script, flags = hosts[host], [*TINY, "--factor", "3", "--Iteration", "3"]              # 3 does not divide 8
    script.run(tmp_path / "whole", *flags)
    stopped(lambda: script.run(tmp_path / "parts", *flags), monkeypatch)
    script.run(tmp_path / "parts", *flags, "--resume")
    assert script.path(tmp_path / "parts").read_bytes() == script.path(tmp_path / "whole").read_bytes()


def test_a_file_of_mosaics_alone_gives_every_reader_the_images_and_the_evaluator_its_scores(
        dm, tmp_path, score, caplog):
    with caplog.at_level(logging.INFO, "condense"):
        result = dm.run(tmp_path, *TINY, "--Iteration", "1", "--save", "factors")
    assert "stored: 640 of 640 floats (2,560 of 2,560 bytes), decoded to 4 images per class" in caplog.text
    assert not result["data"]
    (entry,) = load_result(dm.path(tmp_path))["data"]
    assert torch.equal(entry[0], restore_synthetic(result["factors"][0]).images())
    (row,), _ = score(dm.path(tmp_path), "--baselines", "none")
    assert row["accuracies"] == [result["accs_all_exps"]["ConvNetD1"]]


@pytest.mark.parametrize("flags, mend", [
    (["--factor", "5"], "--factor 5 makes tiles of 8x8 images without a pixel of its own; use --factor 4"),
    (["--factor", "0"], "--factor must be 1 or larger, not 0"),
    (["--init", "noise_scaled"], "unknown start 'noise_scaled'"),
    (["--ipc", "40"], "use --ipc 34 or less, or --init noise"),
    (["--parameterization", "pixels"], "--factor belongs to --parameterization multi_formation, not pixels"),
])
def test_what_cannot_be_is_refused_before_anything_is_written(dm, tmp_path, capsys, flags, mend):
    code, line = dm.error_line(capsys, tmp_path, *TINY, *flags)
    assert code == 2 and mend in line and not written(tmp_path, "*")
