"""continual.py as a user runs it: the protocol end to end, killed and gone on with, published files, errors."""

import json
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

import continual
from condense.continual.order import class_order, random_rows
from condense.core.files import file_sha256
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.operators import Compute
from condense.run.results import load_result
from condense.run.script import run_script
from condense.training import TensorSet, siamese_protocols
from tests.conftest import REPOSITORY, made_once

TINY = ["--dataset", "Digits", "--model", "ConvNetD1", "--ipc", "2", "--steps", "5", "--seeds", "2", "--num_eval", "2",
        "--epoch_eval_train", "1", "--batch_real", "8", "--Iteration", "2", "--methods", "random", "DM",
        "--no-progress", "--device", "cpu"]
ONE_STEP = ["--steps", "1"]
ONLY_RANDOM = ["--methods", "random", "--Iteration", "none", "--batch_real", "none"]
STEM = "Digits_ConvNetD1_2ipc_5steps"


def run(folder, *flags):
    """Run the script in this process; returns its scores file's content."""
    run_script(continual.main, continual.Config, continual.__doc__, [*TINY, "--save_path", str(folder), *flags])
    return json.loads(max(folder.glob("scores_*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


def error_line(capsys, folder, *flags):
    """Run into an error; returns its only line, on exit code 2."""
    with pytest.raises(SystemExit) as stop:
        run(folder, *flags)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and stop.value.code == 2, lines
    return lines[0]


def step_files(folder):
    """Return {path: (time of writing, bytes)} of the sets and scores of finished steps."""
    files = [*folder.rglob("res_*ipc.pt"), *folder.glob(f"cl_{STEM}/scores/*.json")]
    return {path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def compared(session_folder):
    """A folder with a finished comparison of random images and DM."""
    return made_once(session_folder / "continual", lambda folder: run(folder))


def read(folder):
    return json.loads((folder / f"scores_{STEM}.json").read_text())


def test_every_set_is_condensed_from_the_classes_of_its_step_alone(compared):
    for seed in range(2):
        for step, classes in enumerate(class_order(10, 5, seed).steps):
            (path,) = (compared / f"cl_{STEM}/seed{seed}/step{step}/DM").glob("res_*.pt")
            meta = load_result(path)["meta"]
            assert meta["classes"] == list(classes)
            assert meta["fingerprint"] == load_data("Digits", classes=",".join(map(str, classes))).fingerprint


def test_scores_are_those_of_networks_trained_on_the_union_and_tested_on_all_classes_seen(compared):
    """Step 2 of order 1, by hand: the three sets so far, and test images picked out one by one."""
    real, order = load_data("Digits"), class_order(10, 5, 1)
    sets = []
    for step, classes in enumerate(order.steps[:3]):
        images, labels = load_result(next((compared / f"cl_{STEM}/seed1/step{step}/DM").glob("res_*.pt")))["data"][0]
        sets.append((images, torch.tensor([classes[label] for label in labels])))
    batch = real.batch_of(torch.cat(random_rows(real, order, 2)[:3]))
    memories = {"DM": [torch.cat(tensors) for tensors in zip(*sets)], "random": [batch.images(), batch.labels]}
    for name, memory in memories.items():
        expected = score_by_hand(real, order.seen(2), (1, 2), memory)
        accuracies = [row[2] for row in read(compared)["methods"][name]["accuracies"][2:]]
        assert accuracies == pytest.approx(expected, abs=1e-7)


def test_seed_learning_rate_and_minibatch_of_scoring_are_those_of_the_command(tmp_path):
    content = run(tmp_path, *ONLY_RANDOM, "--seeds", "1", *ONE_STEP, "--seed", "3", "--lr_net", "0.02", "--batch_train",
                  "4")
    real, order = load_data("Digits"), class_order(10, 1, 0)
    batch = real.batch_of(torch.cat(random_rows(real, order, 2)))
    expected = score_by_hand(real, order.seen(0), (0, 0), [batch.images(), batch.labels], seed=3, lr=0.02, minibatch=4)
    assert [row[0] for row in content["methods"]["random"]["accuracies"]] == pytest.approx(expected, abs=1e-7)


def score_by_hand(real, classes, key, memory, seed=0, lr=0.01, minibatch=256):
    """Return the test accuracies on `classes` of two networks trained on the images and labels of `memory`."""
    seen = [i for i, label in enumerate(real.test_labels.tolist()) if label in classes]
    part = load_data("Digits")
    part.test_images, part.test_labels = real.test_images[seen], real.test_labels[seen]
    strategy = "color_crop_cutout_scale_rotate"            # of digits: no flip
    scores = evaluate(TensorSet(*memory), part, siamese_protocols(["ConvNetD1"], 1, lr, minibatch, strategy), 2,
                      partial(Streams(seed), "evaluation", *key), Compute(), progress=False)["ConvNetD1"]
    return [score.test_accuracy for score in scores]


def test_scores_hold_what_is_needed_to_repeat_and_to_judge_them(compared):
    content, real = read(compared), load_data("Digits")
    assert content["fingerprint"] == real.fingerprint and content["protocol"]["epochs"] == 1
    assert content["options"]["methods"] == ["random", "DM"] and content["options"]["Iteration"] == 2
    assert content["orders"]["1"] == [list(classes) for classes in class_order(10, 5, 1).steps]
    for figures in content["methods"].values():
        assert len(figures["accuracies"]) == 4 and {len(row) for row in figures["accuracies"]} == {5}
        assert torch.tensor(figures["final_confusion"]).sum() == 4 * len(real.test_labels)
        right = torch.tensor(figures["final_confusion"]).diagonal().sum() / (4 * len(real.test_labels))
        assert figures["mean"][-1] == pytest.approx(right.item())
        assert [step["images"] for step in figures["memory"]["0"]] == [4] * 5
    assert (compared / f"accuracy_{STEM}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_repeats_nothing_and_prints_the_same_table(compared, capsys):
    before = step_files(compared)
    text = (compared / f"scores_{STEM}.json").read_text()
    run(compared)
    first = capsys.readouterr().out
    assert (compared / f"scores_{STEM}.json").read_text() == text and step_files(compared) == before
    run(compared, "--format", "csv")
    header, *rows = capsys.readouterr().out.splitlines()[:3]
    assert header == "memory,images,bytes,2 classes,4 classes,6 classes,8 classes,10 classes,average,forgetting"
    assert [row.split(",")[0] for row in rows] == ["random", "DM"] and rows[1].split(",")[2] in first


def test_a_comparison_that_is_killed_goes_on_and_ends_with_the_same_figures(compared, tmp_path):
    command = [sys.executable, str(REPOSITORY / "continual.py"), *TINY, "--save_path", str(tmp_path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None and len(list(tmp_path.rglob("DM_seed*.json"))) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = step_files(tmp_path)
    assert 9 <= len(before) < 30 and not (tmp_path / f"scores_{STEM}.json").exists()
    run(tmp_path)
    after = step_files(tmp_path)
    assert {path: after[path] for path in before} == before
    assert (tmp_path / f"scores_{STEM}.json").read_text() == (compared / f"scores_{STEM}.json").read_text()
    assert after.keys() == step_files(compared).keys()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_new_methods_and_orders_join_what_is_there(compared, tmp_path):
    folder = shutil.copytree(compared, tmp_path / "more")
    before = step_files(folder)
    content = run(folder, "--methods", "random", "LoDM", "herding", "DM", "--seeds", "1", "--compare", "both")
    assert list(content["methods"]) == ["random", "random, 4 images", "LoDM", "herding", "herding, 4 images", "DM"]
    assert {name: figures["bytes_per_class"] for name, figures in content["methods"].items()} == {
        "random": 512, "random, 4 images": 1024, "LoDM": 512, "herding": 512, "herding, 4 images": 1024, "DM": 512}
    assert content["methods"]["DM"]["accuracies"] == read(compared)["methods"]["DM"]["accuracies"][:2]
    after = step_files(folder)
    assert {path: after[path] for path in before} == before and len(after) > len(before)


def test_a_smaller_call_keeps_the_rows_that_were_scored_alike(compared, tmp_path, capsys):
    folder, whole = shutil.copytree(compared, tmp_path / "less"), read(compared)
    content = run(folder, *ONLY_RANDOM)
    assert content["methods"] == whole["methods"] and content["options"] == whole["options"]
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "±" in line]
    assert rows[:2] == ["random", "DM"]


def test_scoring_otherwise_condenses_nothing_again_and_says_which_rows_go(compared, tmp_path, capsys):
    folder = shutil.copytree(compared, tmp_path / "scored")
    sets = {path: path.stat().st_mtime_ns for path in folder.rglob("res_*.pt")}
    other = ["--num_eval", "1", "--lr_net", "0.02", "--batch_train", "8", "--epoch_eval_train", "2", "--seeds", "1"]
    content = run(folder, *other)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("res_*.pt")} == sets
    assert content["protocol"]["lr"] == 0.02 and len(content["methods"]["DM"]["runs"]) == 1
    capsys.readouterr()
    assert list(run(folder, *ONLY_RANDOM, *other, "--lr_net", "0.01")["methods"]) == ["random"]
    assert "(--lr_net was 0.02, is 0.01): DM; name them in --methods" in capsys.readouterr().out


def test_trajectory_matching_gets_experts_for_every_step_and_leaves_none_behind(tmp_path):
    content = run(tmp_path, "--methods", "MTT", "--seeds", "1", "--num_experts", "1", "--train_epochs", "2",
                  "--max_start_epoch", "1", "--expert_epochs", "1", "--syn_steps", "2", "--lr_img", "1", *ONE_STEP,
                  "--batch_real", "none")                  # which trajectory matching does not have
    assert content["methods"]["MTT"]["forgetting"]["mean"] is None         # a single step
    (path,) = tmp_path.rglob("res_MTT_*.pt")
    result = load_result(path)
    assert not result.get("best") and result["meta"]["options"]["select_on"] == "none"      # all images are condensed
    assert not list(tmp_path.rglob("replay_buffer_*"))


def test_published_files_are_scored_in_their_place(compared, tmp_path, capsys):
    """DM's own sets, written in the published layout, score as they do where they were made."""
    files = tmp_path / "published"
    files.mkdir()
    for seed in range(2):
        steps = []
        for step, classes in enumerate(class_order(10, 5, seed).steps):
            images, labels = load_result(next((compared / f"cl_{STEM}/seed{seed}/step{step}/DM").glob("res_*.pt")))[
                "data"][0]
            steps.append((images, torch.tensor(classes)[labels]))
        torch.save({"data": steps}, files / f"cl_DM_Digits_ConvNetD1_2ipc_5steps_seed{seed}.pt")
    flags = ["--Iteration", "none", "--batch_real", "none", "--cl_space", "normalised"]
    content = run(tmp_path, "--cl_data_path", str(files), *flags)
    assert content["methods"]["DM"]["accuracies"] == read(compared)["methods"]["DM"]["accuracies"]
    assert content["methods"]["random"]["accuracies"] == read(compared)["methods"]["random"]["accuracies"]
    name = "cl_DM_Digits_ConvNetD1_2ipc_5steps_seed1.pt"
    assert content["methods"]["DM"]["files"]["1"] == {"name": name, "sha256": file_sha256(files / name)}
    others = shutil.copytree(files, tmp_path / "others")
    torch.save({"data": [(-images, labels) for images, labels in steps]}, others / name)
    line = error_line(capsys, tmp_path, "--cl_data_path", str(others), *flags)
    assert f"scored another {name} than {others / name} is" in line and "--overwrite" in line


@pytest.mark.parametrize("flags, mend", [
    (("--steps", "3"), "use 1 or 2 or 5"), (("--methods", "DMM"), "did you mean DM?"),
    (("--init", "nose"), "did you mean noise?"), (("--model", "ConvNetD9"), "ConvNetD"),
    (("--ipc", "2000",), "lower --ipc"), (("--dsa_strategy", "flop"), "flip"), (("--resume",), "unknown flag --resume"),
    (("--methods", "MTT", "--train_epochs", "3", "--batch_real", "none"), "--keep_epochs"),
    (("--methods", "herding", "--feature_epochs", "3", "--batch_real", "none", "--Iteration", "none"), "--space"),
    (("--classes", "0-4"), "unknown flag --classes"), (("--zca",), "look ahead; leave --zca out"),
    (("--cl_space", "raw"), "--cl_data_path"), (("--cl_space", "zca"), "choose one of: normalised, raw")])
def test_errors_name_their_mend_before_any_work(flags, mend, tmp_path, capsys):
    assert mend in error_line(capsys, tmp_path, *flags)
    assert not list(tmp_path.rglob("*.*"))


def test_other_options_do_not_replace_a_comparison_unless_told_to(compared, tmp_path, capsys):
    before = step_files(compared)
    assert "--Iteration was 2, is 3" in error_line(capsys, compared, "--Iteration", "3")
    assert step_files(compared) == before
    (compared / f"scores_{STEM}.json").rename(tmp_path / "kept.json")
    try:
        line = error_line(capsys, compared, "--Iteration", "3")             # nor do the sets of single steps
        assert "--Iteration was 2, is 3" in line and "another --save_path, or --overwrite" in line
        assert step_files(compared) == before
    finally:
        (tmp_path / "kept.json").rename(compared / f"scores_{STEM}.json")


def test_a_set_of_other_images_is_refused_before_any_network_is_trained(compared, tmp_path, capsys):
    folder = shutil.copytree(compared, tmp_path / "images")
    (last,) = folder.glob(f"cl_{STEM}/seed1/step4/DM/res_*.pt")
    result = torch.load(last, weights_only=True)
    torch.save({**result, "meta": {**result["meta"], "fingerprint": "0" * 64}}, last)
    for path in folder.glob(f"cl_{STEM}/scores/*.json"):
        path.unlink()
    line = error_line(capsys, folder)
    assert str(last) in line and "was made from other images" in line
    assert not list(folder.glob(f"cl_{STEM}/scores/*.json"))


def test_an_overwrite_that_is_refused_removes_nothing(compared, capsys):
    before = step_files(compared)
    flags = ["--methods", "MTT", "--train_epochs", "3", "--batch_real", "none"]
    assert "--keep_epochs" in error_line(capsys, compared, "--overwrite", *flags)              # the last of all checks
    assert step_files(compared) == before and (compared / f"scores_{STEM}.json").exists()
