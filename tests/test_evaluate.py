"""evaluate.py as a user runs it: our results to the same numbers, foreign layouts, baselines, tables, scores.json."""

import json
import math
import statistics

import numpy as np
import pytest
import torch

import evaluate
from condense.comparison import scored_rows as scoring
from condense.comparison.ranking import augmentation_robust_score, label_robust_score
from condense.comparison.scored_set import Changes, ScoredSet
from condense.data import load_data
from condense.run.results import load_result
from condense.sharing.layouts import read_set
from condense.sharing.loading import place
from condense.sharing.spaces import Spaces
from tests.evaluated import QUICK, write_layout

NETWORK = "ConvNetW32"


def test_scores_of_our_own_file_are_those_that_its_run_printed(score, own):
    rows, printed = score(own, "--baselines", "none")
    (row,) = rows
    accuracies = load_result(own)["accs_all_exps"][NETWORK]
    assert row["accuracies"] == [accuracies[:2], accuracies[2:]]
    assert f"{100 * statistics.fmean(accuracies):.2f} ± {100 * statistics.pstdev(accuracies):.2f}" in printed
    assert "read as" in printed and row["space"] == "normalised" and "meta" in row["evidence"]


@pytest.mark.parametrize("flags", [
    ["--parameterization", "low_rank", "--save", "factors", "--eval_mode", "SS"],
    ["--zca", "--num_exp", "2"],
    ["--precision", "bf16", "--seed", "3"],
])
def test_factors_whitened_sets_and_other_precisions_score_the_same_again(score, dm, tmp_path, flags):
    result = dm.run(tmp_path, *flags)
    (row,), _ = score(dm.path(tmp_path), "--baselines", "none")
    assert [value for of_one in row["accuracies"] for value in of_one] == result["accs_all_exps"][NETWORK]


def test_learned_step_sizes_and_best_iterations_score_the_same_again(score, mtt, tmp_path):
    result = mtt.run(tmp_path, "--num_exp", "2", "--lr_lr", "0.001")
    rows, _ = score(mtt.path(tmp_path), "--baselines", "none", "--which", "both")
    accuracies = result["accs_all_exps"]["ConvNetD1"]
    assert rows[0]["accuracies"] == [accuracies[:2], accuracies[2:]]
    assert rows[1]["accuracies"] == [best["accuracies"]["ConvNetD1"] for best in result["meta"]["best"]]
    assert [row["which"] for row in rows] == ["last", "best"]


def test_dc_is_scored_by_its_own_protocol_again(score, dc, tmp_path):
    result = dc.run(tmp_path, "--num_exp", "1")
    (row,), _ = score(dc.path(tmp_path), "--baselines", "none")
    assert row["accuracies"] == [result["accs_all_exps"]["ConvNetD1"]] and row["protocol"] == "dc"


def test_stored_accuracies_are_taken_without_training(score, own, monkeypatch):
    monkeypatch.setattr(scoring, "evaluate", lambda *args, **kwargs: pytest.fail("a network was trained"))
    (row,), _ = score(own, "--baselines", "none", "--stored")
    accuracies = load_result(own)["accs_all_exps"][NETWORK]
    assert row["accuracies"] == [accuracies[:2], accuracies[2:]] and row["stored"]


def test_low_rank_sets_are_held_against_real_images_of_the_same_bytes_and_of_the_same_number(score, dm, tmp_path):
    dm.run(tmp_path, "--parameterization", "low_rank", "--rank", "1", "--ipc", "1", "--num_eval", "5")
    rows, printed = score(dm.path(tmp_path))
    (ours,), baselines = [row for row in rows if row["kind"] == "set"], [row for row in rows if row["kind"] == "random"]
    assert ours["images"] == 40 and ours["bytes"] == 40 * 16 * 4
    compares = {row["per_class_images"]: row["compares"] for row in baselines}
    assert compares == {1: "same bytes", 4: "same number of images"}
    assert ours["verdict"] in ("beats random", "does not beat random") and ours["verdict"] in printed


def test_baselines_asked_for_stand_beside_the_set(score, own):
    rows, _ = score(own, "--pool", "MLP", "--num_eval", "1", "--epoch_eval_train", "1",
                    "--baselines", "full", "herding,k-means", "random")
    assert [row["kind"] for row in rows] == ["set", "random", "herding", "k-means", "full"]
    assert [row["images"] for row in rows] == [20, 20, 20, 20, 1438]
    assert rows[1]["networks"] == 5 and rows[4]["networks"] == 1


def test_pools_give_one_table_with_a_column_per_network(score, own, tmp_path):
    path, _ = write_layout("tensors", tmp_path)
    rows, printed = score(own, path, "--dataset", "Digits", "--pool", "MLP", "ConvNetD1", "--num_eval", "1",
                          "--epoch_eval_train", "1", "--format", "markdown", "--baselines", "none")
    header = next(line for line in printed.splitlines() if line.startswith("| trained on"))
    assert header == "| trained on | images | bytes | MLP | ConvNetD1 |"
    assert [row["network"] for row in rows] == ["MLP", "ConvNetD1"] * 2
    assert [row["images"] for row in rows] == [20, 20, 100, 100]


def test_sets_of_one_name_and_baselines_of_different_recipes_are_told_apart(score, own, dm, tmp_path):
    dm.run(tmp_path, "--epoch_eval_train", "1")
    rows, printed = score(own, dm.path(tmp_path))
    first, random, second, other_random = rows
    assert first["name"] == second["name"] and random["recipe"]["epochs"] == 2 != other_random["recipe"]["epochs"]
    shown = [line.split("  ")[0] for line in printed.splitlines() if line.startswith(("res_", "random"))][2:]
    assert len(set(shown)) == 4 and str(own) in "".join(shown)


def test_a_network_that_the_run_did_not_score_is_trained_as_it_would_have_trained_it(score, dm, dc, tmp_path):
    dm.run(tmp_path, "--lr_net", "0.05", "--dsa_strategy", "crop", "--batch_train", "8")
    rows, _ = score(dm.path(tmp_path), "--pool", NETWORK, "MLP", "--baselines", "none")
    assert rows[0]["recipe"] == rows[1]["recipe"] and rows[1]["recipe"]["lr"] == 0.05
    dc.run(tmp_path / "dc", "--epoch_eval_train", "auto", "--num_exp", "1")
    protocols = ScoredSet(*placed(dc.path(tmp_path / "dc"))).protocols(["ConvNetD1", "ConvNetBN"], Changes())
    assert [protocol.epochs for protocol in protocols.values()] == [300, 1000]


def placed(path):
    file = read_set(path)
    return file, place(file, Spaces(lambda zca: load_data("Digits", zca=zca)))


def test_another_augmentation_leaves_the_rest_of_the_recipe(score, own):
    (row,), _ = score(own, "--baselines", "none", "--augmentation", "none", "--epoch_eval_train", "1")
    assert row["recipe"]["augmentation"] == "none" and row["recipe"]["batch_size"] == 256


def test_what_was_scored_stays_when_a_later_set_fails(score, score_error, own, tmp_path):
    path, _ = write_layout("tensors", tmp_path)
    score_error(own, path, *QUICK, "--classes", "0-9")     # the second does not say its data
    assert not (tmp_path / "scores.json").exists()         # refused before the first was trained
    pixels = torch.rand(60, 1, 9, 9)
    torch.save((pixels, torch.arange(10).repeat(6)), tmp_path / "odd.pt")
    score_error(own, tmp_path / "odd.pt", *QUICK, "--dataset", "Digits")
    assert len(json.loads((tmp_path / "scores.json").read_text())["rows"]) == 1


def test_a_learned_step_size_trains_its_own_set_and_never_the_whole_training_set(score, mtt, tmp_path):
    mtt.run(tmp_path, "--num_exp", "2", "--lr_lr", "0.001")
    rows, _ = score(mtt.path(tmp_path), "--experiment", "1", "--baselines", "random,full")
    (lr,) = rows[0]["learned_lrs"]
    assert lr == load_result(mtt.path(tmp_path))["meta"]["syn_lr"][1] != 0.01
    assert [row["recipe"]["lr"] for row in rows] == [lr, lr, 0.01]


def test_a_baseline_that_serves_two_sets_is_shown_once(score, own, tmp_path):
    path, _ = write_layout("tensors", tmp_path)
    rows, printed = score(path, own, "--dataset", "Digits", "--protocol", "dsa", "--pool", "MLP", "--num_eval", "1",
                          "--epoch_eval_train", "1", "--baselines", "full")
    assert [row["kind"] for row in rows] == ["set", "full", "set"]
    assert sum(line.startswith("full training set") for line in printed.splitlines()) == 1


@pytest.mark.parametrize("format, start", [("latex", r"\begin{table}"), ("csv", "trained_on,network"),
                                           ("text", "trained on"), ("markdown", "| trained on")])
def test_tables_come_in_every_format(score, own, format, start):
    _, printed = score(own, "--stored", "--baselines", "none", "--format", format)
    assert any(line.startswith(start) for line in printed.splitlines())


def test_scores_gather_in_one_file_and_a_repeated_row_takes_its_old_place(score, own):
    score(own, *QUICK)
    rows, _ = score(own, *QUICK[:-4], "--pool", "ConvNetD1", "--baselines", "none")
    assert [row["network"] for row in rows] == ["MLP", "ConvNetD1"]
    again, _ = score(own, *QUICK)
    assert again == rows


def test_scores_hold_what_it_takes_to_repeat_them(score, own):
    (row,), _ = score(own, *QUICK)
    assert {"set", "sha256", "space", "decode", "recipe", "data", "seed", "precision", "versions"} <= row.keys()
    assert row["recipe"]["epochs"] == 2 and row["data"]["name"] == "Digits"
    assert np.array(row["confusion"]).sum() == 2 * 2 * len(load_data("Digits").test_labels)
    diagonal = np.trace(np.array(row["confusion"])) / np.array(row["confusion"]).sum()
    assert diagonal == pytest.approx(row["mean"])
    low, high = row["interval"]
    assert low <= row["mean"] <= high


def test_a_file_that_holds_no_scores_is_not_replaced(score_error, own, tmp_path):
    (tmp_path / "scores.json").write_text("[1, 2]")
    assert "holds no scores of this toolkit" in score_error(own, *QUICK)
    assert (tmp_path / "scores.json").read_text() == "[1, 2]"


def test_an_output_that_cannot_be_written_is_refused_before_the_work(score, own, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scoring, "evaluate", lambda *args, **kwargs: pytest.fail("a network was trained"))
    (tmp_path / "file").write_text("")
    for output, mend in ((tmp_path / "file" / "scores.json", "cannot write to the folder of --output"),
                         (tmp_path, "name another file with --output")):
        with pytest.raises(SystemExit) as stop:
            score(own, *QUICK, output=output)
        assert stop.value.code == 2 and mend in capsys.readouterr().err


def test_accuracy_by_class_names_the_hardest(score, own):
    rows, printed = score(own, *QUICK, "--per_class")
    hardest = min(range(10), key=lambda label: rows[0]["per_class"][label])
    assert f"hardest is {hardest} " in printed


def test_ranking_follows_from_the_accuracies_beside_it(score, own):
    rows, printed = score(own, "--pool", "MLP", "--epoch_eval_train", "1", "--num_eval", "5", "--ranking",
                          "--experiment", "0")
    ranking, found = rows[0]["ranking"], rows[0]["ranking"]["accuracies"]
    assert found["synthetic"] == pytest.approx(rows[0]["mean"]) and found["random"] == pytest.approx(rows[1]["mean"])
    hlr, ior = found["full_hard"] - found["synthetic_hard"], found["synthetic"] - found["random"]
    by_hand = (math.exp(0.5 * ior - 0.5 * hlr) - math.exp(-1)) / (math.e - math.exp(-1))
    assert ranking["label_robust_score"] == pytest.approx(by_hand)
    assert ranking["label_robust_score"] == label_robust_score(*(found[key] for key in (
        "full_hard", "synthetic_hard", "synthetic", "random")))
    assert ranking["augmentation_robust_score"] == augmentation_robust_score(*(found[key] for key in (
        "synthetic_augmented", "random_augmented", "synthetic_plain", "random_plain")))
    assert f"label-robust score {100 * by_hand:.1f}" in printed


def test_the_learning_rate_is_searched_without_a_look_at_the_test_labels(score, own, monkeypatch):
    chosen = []
    for poison in (False, True):
        def load(*args, poison=poison, **kwargs):
            real = load_data(*args, **kwargs)
            if poison:
                real.test_labels = (real.test_labels + 1) % 10
                monkeypatch.setattr(evaluate, "require_data_of", lambda *args, **kwargs: None)
            return real
        monkeypatch.setattr(evaluate, "load_data", load)
        rows, printed = score(own, "--pool", "MLP", "--num_eval", "1", "--epoch_eval_train", "5", "--experiment", "0",
                              "--search_lr", "0.1,0.01", "1e-6", "--baselines", "none")
        chosen.append((rows[-1]["searched_lr"], rows[-1]["lr_candidates"]))
    assert chosen[0] == chosen[1] and chosen[0][0] != 1e-6 and rows[-1]["recipe"]["lr"] == chosen[0][0]


def test_random_images_can_be_kept_beside_a_result_for_tables(score, own):
    score(own, "--stored", "--beside")
    saved = json.loads(own.with_name(f"{own.stem}_baselines.json").read_text())
    assert len(saved["random"][NETWORK]) == 5


@pytest.mark.parametrize("arguments, mend", [
    (["--stored", "--num_eval", "3"], "--num_eval has no effect; leave it out"),
    (["--stored", "--experiment", "0"], "--experiment has no effect"),
    (["--stored", "--seed", "0"], "--seed has no effect"),
    (["--stored", "--dataset", "Digits", "--classes", "0-4"], "--dataset"),
    (["--search_lr", "0.1", "--lr_net", "0.01"], "leave one of them out"),
    (["--baselines", "none", "full"], "leave it out"),
    (["--which", "best"], "leave --which out"),
    (["--experiment", "5"], "counts them from 0"),
    (["--pool", "ConvNte"], "did you mean ConvNet"),
    (["--sha256", "00"], "64 hex digits"),
    (["--beside"], "give --stored"),
    (["--data_path", "nowhere", "--dataset", "folder"], "put the images there"),
])
def test_errors_are_one_line_that_names_the_mend(score_error, own, arguments, mend):
    assert mend in score_error(own, *arguments)
