"""evaluate.py on sets of unrolled training: their own steps or another protocol, and their baselines."""

import json

import pytest
import torch

from condense.comparison.baselines import baselines_path, load_baselines, save_baselines
from condense.training import named_protocols
from tests.unrolled_sets import PROTOCOL, unrolled_result, unrolled_set

QUIET = ["--baselines", "none"]


@pytest.mark.parametrize("fixed", [0, 2], ids=["fresh", "fixed"])
def test_rtp_takes_any_set_and_none_of_its_steps_or_starts(score, tmp_path, fixed):
    path, _ = unrolled_result(tmp_path, fixed)
    (row,), _ = score(path, "--protocol", "rtp", "--epoch_eval_train", "20", "--experiment", "0", *QUIET)
    assert row["protocol"] == "rtp" and row["recipe"]["lr"] == 0.01 and row["recipe"]["name"] == "rtp"
    content = torch.load(path, weights_only=True)
    torch.save(tuple(content["data"][0]), tmp_path / "plain.pt")
    plain = score(tmp_path / "plain.pt", "--dataset", "Digits", "--space", "normalised", "--protocol", "rtp", "--pool",
                  "MLP", "--epoch_eval_train", "20", "--num_eval", str(len(row["accuracies"][0])), *QUIET)[0][-1]
    assert row["tensors_sha256"] == plain["tensors_sha256"]
    assert len(row["accuracies"][0]) == (5 if fixed else 2)            # a start each, but for this protocol fresh ones


def test_a_set_made_under_rtp_is_scored_by_rtp_and_one_of_other_epochs_by_those(score, tmp_path):
    from condense.data import load_data
    (protocol,) = named_protocols("rtp", ["MLP"], load_data("Digits"), epochs=12).values()
    path, _ = unrolled_result(tmp_path, protocol=protocol)
    (row,), _ = score(path, *QUIET)
    accuracies = torch.load(path, weights_only=True)["accs_all_exps"]["MLP"]
    assert row["accuracies"] == [accuracies[:2], accuracies[2:]]
    assert (row["protocol"], row["recipe"]["epochs"], row["recipe"]["lr"]) == ("rtp", 12, 0.01)


def test_a_set_under_dd_keeps_its_learned_steps_while_each_baseline_takes_the_size_that_suits_it(score, tmp_path):
    path, _ = unrolled_result(tmp_path)
    (alone,), _ = score(path, *QUIET)
    rows, printed = score(path, "--search_lr", "1e-5,0.1", "--baselines", "random,average")
    ours, random, average = (next(row for row in rows if row["kind"] == kind) for kind in ("set", "random", "average"))
    assert ours["accuracies"] == alone["accuracies"] and ours["recipe"] == alone["recipe"]
    assert "searched_lr" not in ours and random["searched_lr"] == average["recipe"]["lr"] == 0.1
    assert "random, 2 per class: step size 0.1, the best of 1e-05 (" in printed and "of the same" not in printed


def test_without_a_search_real_images_take_the_mean_of_the_learned_sizes(score, tmp_path):
    path, sets = unrolled_result(tmp_path)
    rows, _ = score(path, "--baselines", "average", "--experiment", "0")
    recipe = next(row["recipe"] for row in rows if row["kind"] == "average")
    assert recipe["lr"] is None and recipe["constant"] == pytest.approx(sets[0].steps.mean_size())
    assert recipe["momentum"] == PROTOCOL.momentum


def test_random_images_kept_beside_a_result_begin_from_its_fixed_starts_too(score, tmp_path):
    path, _ = unrolled_result(tmp_path, fixed=2)
    rows, _ = score(path)
    random = next(row for row in rows if row["kind"] == "random")
    score(path, "--stored", "--beside", *QUIET)
    (kept,) = json.loads(baselines_path(path).read_text())["random"].values()
    assert random["accuracies"] == [kept] and random["recipe"]["starts"]
    assert len(kept) == 5                                  # more than the starts that there are


@pytest.mark.parametrize("regime, mend", [("known_init", "--stored --beside"), ("unknown_init", None)])
def test_random_images_from_fresh_networks_are_none_beside_networks_that_stay(tmp_path, regime, mend):
    meta = {"fingerprint": "f", "protocols": {}, "seed": 0, "options": {"ipc": 1, "precision": "fp32"}}
    save_baselines(tmp_path / "res.pt", meta, {})          # as before there was a difference
    meta["options"]["train_nets_type"] = regime
    if mend is None:
        assert load_baselines(tmp_path / "res.pt", meta) == {}
    else:
        with pytest.raises(ValueError, match=mend):
            load_baselines(tmp_path / "res.pt", meta)


def test_a_set_without_steps_has_its_step_size_searched_and_its_baselines_theirs(score, tmp_path):
    from condense.data import load_data
    one = unrolled_set(load_data("Digits"))
    torch.save((one.tensor, one.labels), tmp_path / "plain.pt")
    rows, _ = score(tmp_path / "plain.pt", "--dataset", "Digits", "--space", "normalised", "--protocol", "dd", "--pool",
                    "MLP", "--num_eval", "2", "--search_lr", "1e-5,0.1", "--baselines", "average")
    assert [row["searched_lr"] for row in rows] == [0.1, 0.1] and rows[0]["lr_candidates"] != rows[1]["lr_candidates"]


def test_the_best_draws_are_a_row_for_each_pair_of_numbers(score, tmp_path):
    path, _ = unrolled_result(tmp_path)
    for sets in ("5", "6", "5"):
        rows, printed = score(path, "--baselines", "optimised", "--optimise_sets", sets, "--optimise_nets", "2")
    assert [row["optimised"] for row in rows if row["kind"] == "optimised"] == [
        {"num_sets": 5, "num_nets": 2}, {"num_sets": 6, "num_nets": 2}]
    assert "optimised real images, 2 per class" in printed


@pytest.mark.parametrize("arguments, mend", [
    (["--optimise_sets", "9"], "--optimise_sets belongs to --baselines optimised; leave it out"),
    (["--optimise_nets", "9", "--baselines", "average"], "--optimise_nets belongs to --baselines optimised"),
    (["--optimise_sets", "1", "--baselines", "optimised"], "--optimise_sets must be 2 or larger"),
    (["--baselines", "centroid"], "did you mean centroids"),
    (["--protocol", "rpt"], "rtp"),
])
def test_errors_are_one_line_that_names_the_mend(score_error, tmp_path, arguments, mend):
    assert mend in score_error(unrolled_result(tmp_path)[0], *arguments)
