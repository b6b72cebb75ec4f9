"""Sets of main_DD.py scored again by evaluate.py, and what the script refuses."""

import re
import zlib

import pytest
import torch

from condense.core.randomness import Streams
from condense.evaluation.accuracy import accuracy
from condense.networks import get_network, reset
from tests.dd_runs import FIXED, LAST, script

# Scored again

@pytest.mark.parametrize("run", ["fresh", "fixed"])
def test_evaluation_repeats_the_accuracies_of_the_run(dd, fixed, tmp_path, score, run):
    start = {"fresh": dd, "fixed": fixed}[run].run
    flags = ["--num_exp", "2", "--inner_momentum", "0.5", "--net_init", "default", "--distill_lr", "0.05"]
    result = start(tmp_path, *flags)
    accuracies = result["accs_all_exps"]["MLP"]
    number, sizes = len(accuracies) // 2, torch.cat([steps["sizes"] for steps in result["steps"]])
    rows, printed = score(dd.path(tmp_path))
    own, random = sorted(rows, key=lambda row: row["kind"], reverse=True)
    assert own["accuracies"] == [accuracies[:number], accuracies[number:]]
    assert own["protocol"] == "dd" and random["networks"] == 5
    assert random["recipe"] == own["recipe"] and random["per_class_images"] == 3
    assert random["recipe"]["constant"] == pytest.approx(sizes.mean().item())      # one size for all of its steps


def test_a_run_of_epochs_is_scored_again_at_its_last_iteration(dd, tmp_path, score):
    accuracies = script("--num_eval", "2").run(tmp_path, "--epochs", "1", *LAST)["accs_all_exps"]["MLP"]
    (row,), _ = score(dd.path(tmp_path), "--baselines", "none", "--protocol", "dd")
    assert row["accuracies"] == [accuracies]


def test_one_step_size_can_take_the_place_of_the_learned_ones(dd, tmp_path, score, digits):
    dd.run(tmp_path, *LAST)
    (own,), _ = score(dd.path(tmp_path), "--baselines", "none", output=tmp_path / "own.json")
    (tiny,), _ = score(dd.path(tmp_path), "--baselines", "none", "--lr_net", "1e-12", "--epoch_eval_train", "1",
                       output=tmp_path / "tiny.json")
    untrained = [accuracy(reset(get_network("MLP", 1, 10, (8, 8)), Streams(0)("evaluation", 0, 4, zlib.crc32(b"MLP"),
                                                                             i), "xavier"), digits).item()
                 for i in range(2)]
    assert tiny["accuracies"] == [untrained] != own["accuracies"]


def test_other_networks_and_other_protocols_score_the_same_set(dd, fixed, tmp_path, score):
    fixed.run(tmp_path, *LAST)
    rows, _ = score(dd.path(tmp_path), "--baselines", "none", "--pool", "MLP", "ConvNetD1")
    assert {row["network"]: row["recipe"]["schedule"] for row in rows} == {"MLP": "steps", "ConvNetD1": "steps"}
    (row,), _ = score(dd.path(tmp_path), "--baselines", "none", "--protocol", "dsa", "--epoch_eval_train", "2",
                      output=tmp_path / "dsa.json")
    assert (row["recipe"]["schedule"], row["recipe"]["epochs"], row["recipe"]["batch_size"]) == ("drop", 2, 256)


def test_sets_of_other_methods_can_be_taken_a_few_steps_on(own, score):
    (row,), _ = score(own, "--baselines", "none", "--protocol", "dd", "--num_eval", "1", "--experiment", "0")
    recipe = row["recipe"]
    assert (recipe["schedule"], recipe["epochs"], recipe["distill_steps"], recipe["constant"]) == ("steps", 3, 10, 0.3)


@pytest.mark.parametrize("flags, mend", [
    (["--epoch_eval_train", "5"], "6 step sizes .* leave --epoch_eval_train out, or give --lr_net"),
    (["--batch_train", "5"], "leave --batch_train out"),
    (["--augmentation", "dsa"], "augmentation"),
    (["--decode", "2"], "leave --decode out"),
])
def test_what_steps_do_not_have_is_refused_when_a_set_is_scored(dd, tmp_path, score_error, flags, mend):
    dd.run(tmp_path, *LAST)
    assert re.search(mend, score_error(dd.path(tmp_path), "--baselines", "none", *flags))


def test_more_networks_than_fixed_starts_are_refused_when_a_set_is_scored(dd, fixed, tmp_path, score_error):
    fixed.run(tmp_path, *LAST)
    assert "--num_eval 1 or less" in score_error(dd.path(tmp_path), "--baselines", "none", "--num_eval", "3")


# What is refused

@pytest.mark.parametrize("flags, mend", [
    (["--distill_steps", "2"], "--distill_steps 2 does not divide the 3 images of a class; use --distill_steps 1"),
    (["--distilled_images_per_class_per_step", "2"], "give --ipc 6"),
    (["--n_nets", "4", "--sample_n_nets", "2"], "give --n_nets 2 and leave --sample_n_nets out"),
    ([*FIXED, "--sample_n_nets", "2"], "--sample_n_nets 2 of --n_nets 1 are too many"),
    ([*FIXED], "leave --num_eval out"),
    ([*FIXED, "--num_eval", "1", "--eval_mode", "W"], "leave --eval_mode out"),
    (["--net_init", "default", "--init_param", "2"], "leave it out"),
    (["--window", "7"], "--window 7 is longer than all 6 steps"),
    (["--inner_momentum", "1"], "--inner_momentum must be 0 or larger and below 1"),
    (["--model", "ConvNetBN"], "choose one with another norm"),
    (["--train_nets_type", "laoded"], "did you mean loaded?"),
    (["--unroll", "tesla"], "unknown value 'tesla'"),
    (["--mode", "distill_attack"], "also give --train_nets_type loaded"),
    (["--mode", "train"], "unknown value 'train'"),
])
def test_options_that_do_not_go_together_are_refused_by_their_mend(dd, tmp_path, capsys, flags, mend):
    code, line = dd.error_line(capsys, tmp_path, *flags)
    assert code == 2 and mend in line
    assert not list(tmp_path.glob("res_*"))


def test_flags_of_the_original_are_taken_or_answered(dd, tmp_path, capsys):
    dd.run(tmp_path, "--arch", "MLP", "--lr_img", "0.02", "--test_n_nets", "1", "--base_seed", "3", "--num_workers",
           "4", "--test_nets_type", "unknown_init", *LAST)
    options = dd.load(tmp_path)["meta"]["options"]
    assert (options["lr"], options["num_eval"], options["seed"]) == (0.02, 1, 3)
    said = capsys.readouterr().out
    assert "--num_workers has no effect" in said and "--test_nets_type has no effect: --train_nets_type" in said


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_good_set(dd, tmp_path, capsys):
    code, line = dd.error_line(capsys, tmp_path, "--distill_lr", "1e30", *LAST)
    assert code == 2 and "try a smaller --lr or --distill_lr" in line
    assert not list(tmp_path.glob("res_*ipc.pt"))
