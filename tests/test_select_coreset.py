"""select_coreset.py as a user runs it: on Digits, with tiny settings."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import main_DM
import select_coreset
from condense.data.coresets import CORESET_METHODS
from condense.run.run import Run
from condense.run.script import run_script
from condense.training import Protocol, dc_protocols

SHARED = ["--dataset", "Digits", "--ipc", "3", "--num_exp", "1", "--num_eval", "2", "--epoch_eval_train", "1",
          "--model", "ConvNetW32", "--no-progress", "--device", "cpu"]
REPOSITORY = Path(select_coreset.__file__).parent


def run(folder, *flags):
    """Run select_coreset.py in this process; returns the only result file's content."""
    arguments = [*SHARED, "--save_path", str(folder), *flags]
    run_script(select_coreset.main, select_coreset.Config, select_coreset.__doc__, arguments)
    return torch.load(result_path(folder), weights_only=True)


def result_path(folder):
    (path,) = (path for path in folder.glob("res_*.pt") if "unfinished" not in path.name)
    return path


def error_line(capsys, folder, *flags):
    """Run into an error; returns (exit code, its only line)."""
    with pytest.raises(SystemExit) as stop:
        run(folder, *flags)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return stop.value.code, lines[0]


@pytest.mark.parametrize("method", CORESET_METHODS)
def test_result_is_one_like_a_condensed_sets(tmp_path, method):
    result = run(tmp_path, "--method", method, "--num_exp", "2")
    assert result_path(tmp_path).name == f"res_{method}_Digits_ConvNetW32_3ipc.pt"
    for images, labels in result["data"]:
        assert images.shape == (30, 1, 8, 8) and images.dtype == torch.float32
        assert labels.tolist() == [c for c in range(10) for _ in range(3)]
    accuracies = result["accs_all_exps"]["ConvNetW32"]
    assert len(accuracies) == 4 and all(type(a) is float and 0 <= a <= 1 for a in accuracies)
    meta = result["meta"]
    assert meta["method"] == method and meta["options"]["space"] == "pixels" and meta["num_exp"] == 2
    assert meta["storage"]["floats"] == meta["storage"]["budget_floats"] == 10 * 3 * 64
    assert "Iteration" not in meta["options"] and "init" not in meta["options"]
    names = {path.name for path in tmp_path.iterdir()}
    stem = f"{method}_Digits_ConvNetW32_3ipc"
    assert names == {f"res_{stem}.pt", f"res_{stem}.jsonl", f"vis_{stem}_exp0_iter0.png", f"vis_{stem}_exp1_iter0.png"}


@pytest.fixture
def shuffled(tmp_path):
    """A tensor file whose images come in no order of classes: (its flags, images, labels)."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (80, 3, 8, 8), dtype=np.uint8), rng.permutation(80) % 4
    np.savez(tmp_path / "set.npz", images_train=images, labels_train=labels, images_val=images[:9],
             labels_val=labels[:9])
    return ["--dataset", "file", "--data_path", str(tmp_path / "set.npz")], torch.from_numpy(images), labels


@pytest.mark.parametrize("flags", [["--method", method] for method in CORESET_METHODS] + [["--space", "random"]],
                         ids=" ".join)
def test_indices_lead_to_exactly_the_stored_images_in_the_users_own_order(tmp_path, shuffled, flags):
    data, images, labels = shuffled
    result = run(tmp_path / "out", *data, *flags, "--num_exp", "2")
    meta, channels = result["meta"], (1, 3, 1, 1)
    mean, std = (torch.tensor(meta[key], dtype=torch.float64).view(channels) for key in ("mean", "std"))
    assert len(meta["indices"]) == 2
    for rows, (stored, classes) in zip(meta["indices"], result["data"]):
        assert all(type(row) is int for row in rows) and len(set(rows)) == 12
        assert labels[rows].tolist() == classes.tolist()
        torch.testing.assert_close((images[rows].double() / 255 - mean) / std, stored.double(), rtol=0, atol=1e-5)


def test_stored_images_are_the_normalised_ones_to_the_bit(tmp_path, digits):
    result = run(tmp_path)
    back = digits.order.argsort()                          # from the order they came in to the rows
    rows = back[torch.tensor(result["meta"]["indices"][0])]
    assert torch.equal(digits.normalise(digits.images[rows]), result["data"][0][0])


def test_random_takes_the_images_from_which_condensation_starts(tmp_path):
    chosen = run(tmp_path / "a", "--method", "random", "--seed", "4", "--num_exp", "2")
    run_script(main_DM.main, main_DM.Config, "", [*SHARED, "--num_exp", "2", "--seed", "4", "--Iteration", "0",
                                                  "--save_path", str(tmp_path / "b")])
    started = torch.load(result_path(tmp_path / "b"), weights_only=True)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(chosen["data"], started["data"], strict=True))
    assert chosen["accs_all_exps"] == started["accs_all_exps"]


def test_a_set_is_scored_by_the_networks_of_the_condensed_set_it_is_compared_to(tmp_path, digits):
    dsa, dc = run(tmp_path / "a"), run(tmp_path / "b", "--protocol", "dc", "--epoch_eval_train", "2")
    strategy = "color_crop_cutout_scale_rotate"
    assert dsa["meta"]["protocols"] == {"ConvNetW32": asdict(Protocol(1, 0.01, 256, strategy=strategy))}
    expected = dc_protocols(["ConvNetW32"], "Digits", 2, 0.01, 256)["ConvNetW32"]
    assert dc["meta"]["protocols"] == {"ConvNetW32": asdict(expected)}
    assert torch.equal(dsa["data"][0][0], dc["data"][0][0])


@pytest.mark.parametrize("flags", [["--method", "random"], ["--method", "k-means"], ["--space", "random"],
                                   ["--space", "trained", "--feature_epochs", "1"]], ids=" ".join)
def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(tmp_path, flags):
    one = run(tmp_path / "a", *flags)
    run(tmp_path / "b", *flags)
    assert result_path(tmp_path / "a").read_bytes() == result_path(tmp_path / "b").read_bytes()
    assert one["meta"]["indices"] != run(tmp_path / "c", *flags, "--seed", "1")["meta"]["indices"]


def test_experiments_draw_anew_unless_nothing_is_drawn_which_is_said(tmp_path, capsys):
    first, second = run(tmp_path / "a", "--method", "random", "--num_exp", "2")["meta"]["indices"]
    assert first != second and "uses no random numbers" not in capsys.readouterr().out
    first, second = run(tmp_path / "b", "--method", "k-center", "--num_exp", "2")["meta"]["indices"]
    assert first == second and "all 2 selections are the same" in capsys.readouterr().out


def test_spaces_choose_differently_and_training_epochs_count(tmp_path):
    flags = [[], ["--space", "random"], *(["--space", "trained", "--feature_epochs", n] for n in ("1", "3"))]
    indices = [tuple(run(tmp_path / str(i), *more)["meta"]["indices"][0]) for i, more in enumerate(flags)]
    assert len(set(indices)) == 4


def test_batch_norm_network_gives_features_that_chunks_do_not_change(tmp_path):
    more = ["--model", "ConvNetBN", "--space", "trained", "--feature_epochs", "1", "--epoch_eval_train", "0"]
    whole, chunked = (run(tmp_path / chunk, *more, "--chunk", chunk) for chunk in ("2000", "30"))
    assert whole["meta"]["indices"] == chunked["meta"]["indices"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, "--method", "k-means", "--num_exp", "3")
    return result_path(folder).read_bytes()


def test_killed_between_selections_and_resumed_gives_the_same_bytes(tmp_path, monkeypatch, uninterrupted):
    def note(self, exp, **facts):
        if exp == 1:
            raise KeyboardInterrupt
        original(self, exp, **facts)

    original = Run.note
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Run, "note", note)
        run(tmp_path, "--method", "k-means", "--num_exp", "3")
    assert list(tmp_path.glob("*.ckpt"))
    run(tmp_path, "--method", "k-means", "--num_exp", "3", "--resume")
    assert result_path(tmp_path).read_bytes() == uninterrupted
    assert not list(tmp_path.glob("*.ckpt")) and not list(tmp_path.glob("*unfinished*"))


def test_interrupted_while_scoring_leaves_a_usable_set_with_its_indices(tmp_path, monkeypatch, uninterrupted):
    def score(self, synthetic, exp, it):
        if exp == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, synthetic, exp, it)

    original = select_coreset.Scorer.__call__
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(select_coreset.Scorer, "__call__", score)
        run(tmp_path, "--method", "k-means", "--num_exp", "3")
    assert stop.value.code == 128 + signal.SIGINT
    (kept,) = tmp_path.glob("*_unfinished.pt")
    kept = torch.load(kept, weights_only=True)
    assert len(kept["data"]) == len(kept["meta"]["indices"]) == 2
    run(tmp_path, "--method", "k-means", "--num_exp", "3", "--resume")
    assert result_path(tmp_path).read_bytes() == uninterrupted


def test_resuming_a_finished_selection_says_so_and_changes_nothing(tmp_path, capsys):
    run(tmp_path)
    before = result_path(tmp_path).read_bytes()
    run(tmp_path, "--resume")
    assert "already finished" in capsys.readouterr().out
    assert result_path(tmp_path).read_bytes() == before


def test_selection_of_other_options_is_replaced_only_when_asked(tmp_path, capsys):
    run(tmp_path)
    before = result_path(tmp_path).read_bytes()
    code, line = error_line(capsys, tmp_path, "--space", "random")
    assert code == 2 and "--space was pixels, is random" in line and "--save_path" in line
    assert result_path(tmp_path).read_bytes() == before
    assert run(tmp_path, "--space", "random", "--overwrite")["meta"]["options"]["space"] == "random"


@pytest.mark.parametrize("flags, mend", [
    (["--method", "hearding"], "did you mean herding?"),
    (["--method", "kmeans"], "did you mean k-means?"),
    (["--space", "pixel"], "did you mean pixels?"),
    (["--protocol", "mtt"], "choose one of: dsa, dc"),
    (["--ipc", "500"], "class '8' has 139; use --ipc 139 or less"),
    (["--method", "random", "--space", "trained"], "leave it out"),
    (["--feature_epochs", "5"], "--space trained"),
    (["--space", "trained", "--feature_epochs", "0"], "--feature_epochs must be 1 or larger"),
    (["--protocol", "dc", "--dsa_strategy", "flip"], "leave --dsa_strategy out"),
    (["--dsa_strategy", "flip_colour"], "did you mean color?"),
    (["--model", "ConvNe"], "did you mean ConvNet?"),
    (["--model", "ConvNe", "--eval_mode", "W"], "did you mean ConvNet?"),
    (["--eval_mode", "Q"], "choose one of: S, SS, M"),
    (["--dataset", "Digit"], "did you mean Digits?"),
    (["--Iteration", "5"], "unknown flag --Iteration"),
    (["--init", "real"], "unknown flag --init"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_exit_code_2_and_nothing_written(tmp_path, capsys, flags, mend):
    code, line = error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.iterdir())


def test_help_lists_no_option_of_iterations(capsys):
    with pytest.raises(SystemExit) as stop:
        run_script(select_coreset.main, select_coreset.Config, select_coreset.__doc__, ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for flag in ("--init", "--Iteration", "--eval_every", "--checkpoint_every"):
        assert flag not in text
    assert all(flag in text for flag in ("--method", "--space", "--protocol", "--num_eval", "--resume"))


def test_journal_tells_the_score_once(tmp_path):
    result = run(tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in events] == ["start", "evaluation", "final", "end"]
    assert events[1]["accuracies"] == result["accs_all_exps"]["ConvNetW32"]


def test_selection_can_be_held_against_baselines(tmp_path, score):
    run(tmp_path)
    rows, printed = score(result_path(tmp_path), "--stored")
    assert [row["kind"] for row in rows] == ["set", "random"] and "random real images" in printed
