"""The table of results: hand-computed figures, marks, missing cells, and what it must not mix."""

import json
import re
import statistics
from dataclasses import asdict

import pytest
import torch

from condense.comparison.baselines import save_baselines
from condense.evaluation.score import Score
from condense.run.results import save_result
from condense.sweeps.entries import images_per_class, recipe_of
from condense.sweeps.table import main
from condense.training import Protocol

GOOD, BAD = [0.90, 0.91, 0.92, 0.93, 0.94], [0.50, 0.52, 0.54, 0.56, 0.58]


@pytest.fixture
def show(tmp_path, capsys):
    """Return the lines that the script prints for tmp_path."""
    def lines(*flags):
        assert main([str(tmp_path), *flags]) == 0
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.fixture
def refusal(tmp_path, capsys):
    """Return the one line with which the script refuses tmp_path."""
    def line(*flags):
        assert main([str(tmp_path), *flags]) == 2
        (text,) = capsys.readouterr().err.splitlines()
        assert text.startswith("error: ")
        return text

    return line


def write(folder, accuracies, random=None, method="DM", dataset="MNIST", model="ConvNet", ipc=1, seed=0, **options):
    """Write a result file with `accuracies` (a list, or {network: list}), and its baselines; returns its path."""
    accuracies = accuracies if isinstance(accuracies, dict) else {model: accuracies}
    options = {"dataset": dataset, "model": model, "ipc": ipc, "seed": seed, "precision": "fp32", **options}
    meta = {"method": method, "options": options, "seed": seed, "fingerprint": "f",
            "protocols": {name: asdict(Protocol()) for name in accuracies}}
    path = folder / f"res_{method}_{dataset}_{model}_{ipc}ipc.pt"
    save_result(path, [[torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)]], accuracies, meta)
    if random:
        random = random if isinstance(random, dict) else {model: random}
        save_baselines(path, meta, {name: [Score(value, 0.0, 0.0) for value in values]
                                    for name, values in random.items()})
    return path


def plan(folder, order=1, done=True, **labels):
    """Make `folder` a sweep's cell."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cell.txt").write_text("".join(f"{name} {value}\n" for name, value in {"order": order, **labels}.items()))
    if done:
        (folder / "cell.done").write_text("{}")


def test_figures_are_population_mean_and_deviation_over_seeds_and_experiments(show, tmp_path):
    write(tmp_path / "a", GOOD, BAD)
    write(tmp_path / "b", [0.80, 0.82, 0.86], [0.50, 0.52, 0.56], seed=1)
    lines = show("--rows", "ipc", "--columns", "dataset")  # 708 / 8, sqrt(192 / 8); 428 / 8, sqrt(62 / 8)
    assert lines[:3] == ["| ipc | MNIST |", "| --- | --- |", "| 1 | 88.5 ± 4.9 (53.5 ± 2.8) |"]
    assert any("ours over 8, random over 8 networks" in line for line in lines)


@pytest.mark.parametrize("ours, random, mark", [(GOOD, BAD, ""), (BAD, GOOD, "†"), (BAD, BAD, "†"),
                                                (GOOD, [0.89, 0.92, 0.9, 0.93, 0.9], "†"),
                                                (GOOD[:4], BAD, "‡"), (GOOD, BAD[:4], "‡"), (GOOD, None, "‡")])
def test_what_does_not_beat_random_images_is_marked_and_so_is_what_is_not_judged(show, tmp_path, ours, random, mark):
    write(tmp_path, ours, random)
    lines = show("--rows", "ipc")
    assert f"{statistics.fmean(ours) * 100:.1f} ± {statistics.pstdev(ours) * 100:.1f}{mark} (" in lines[2]
    assert [line[0] for line in lines if line[:1] in ("†", "‡")] == [mark] * bool(mark)


def test_single_network_has_no_deviation(show, tmp_path):
    write(tmp_path, [0.5], [0.25])
    assert show("--rows", "ipc")[2] == "| 1 | 50.0‡ (25.0) |"


def test_rows_and_columns_follow_the_plan_and_numbers_their_size(show, tmp_path):
    order = 0
    for dataset in ("SVHN", "CIFAR10"):
        for method in ("DSA", "DC"):
            for ipc in (10, 2):
                order += 1
                cell = tmp_path / f"{dataset}{method}{ipc}"
                plan(cell, order, dataset=dataset, method=method, ipc=ipc, model="ConvNet")
                write(cell, [0.01 * order], dataset=dataset, method=method, ipc=ipc)
    lines = show("--rows", "model,method,ipc")
    assert lines[0] == "| method | ipc | SVHN | CIFAR10 |"
    assert [line.split(" | ")[:3] for line in lines[2:6]] == [
        ["| DSA", "2", "2.0‡ (–)"], ["| DSA", "10", "1.0‡ (–)"], ["| DC", "2", "4.0‡ (–)"], ["| DC", "10", "3.0‡ (–)"]]
    assert "model ConvNet.  " in lines                     # what is everywhere the same is said once


def test_pools_have_the_evaluated_network_as_column(show, tmp_path):
    for model in ("MLP", "ConvNet"):
        plan(tmp_path / model, 1 + (model == "ConvNet"), model=model)
        write(tmp_path / model, {"LeNet": GOOD, "VGG11": BAD}, {"LeNet": BAD, "VGG11": GOOD}, model=model)
    lines = show("--rows", "ipc,model", "--columns", "network")
    assert lines[0] == "| model | LeNet | VGG11 |"
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| MLP", "| ConvNet"]
    assert lines[2].count("†") == 1 and "54.0 ± 2.8† (92.0 ± 1.4)" in lines[2]


def test_networks_of_a_pool_are_never_averaged(show, tmp_path):
    write(tmp_path, {"LeNet": [0.2], "VGG11": [0.4]})
    lines = show("--rows", "ipc")
    assert [line.split("‡")[0] for line in lines[2:4]] == ["| LeNet | 20.0", "| VGG11 | 40.0"]


def test_without_rows_all_options_that_differ_tell_them_apart(show, tmp_path):
    write(tmp_path / "a", GOOD, Iteration=10, lr_img=1.0, device="cpu")
    write(tmp_path / "b", BAD, Iteration=20, lr_img=1.0, device="cuda")
    lines = show()
    assert lines[0] == "| Iteration | MNIST |" and len([line for line in lines if line.startswith("|")]) == 4


def test_missing_cells_are_dashes_and_named(show, tmp_path):
    for order, (dataset, ipc) in enumerate([("MNIST", 1), ("MNIST", 2), ("SVHN", 1), ("SVHN", 2)]):
        cell = tmp_path / f"{dataset}{ipc}" / "seed0"
        plan(cell, order, done=(dataset, ipc) != ("SVHN", 2), dataset=dataset, ipc=ipc)
        if dataset == "MNIST" or ipc == 2:                 # SVHN1 left nothing, SVHN2 a result that is not its own
            write(cell, GOOD, BAD, dataset=dataset, ipc=ipc)
    lines = show("--rows", "ipc")
    assert lines[0] == "| ipc | MNIST | SVHN |"
    assert all(line.endswith("| – |") for line in lines[2:4])
    assert "– no result: 2 of 4 places.  " in lines
    (missing,) = [line for line in lines if line.startswith("Missing runs: 2 of 4: ")]
    assert "SVHN1/seed0" in missing and "SVHN2/seed0" in missing


def test_failed_cells_are_named_with_their_reason_and_interrupted_ones_without(show, tmp_path):
    for order, (name, log) in enumerate({"a": "error: no room; use --ipc 2\n", "b": "x\nerror: no room; use --ipc 2",
                                         "c": "error: old\nstopped before iteration 3\n", "d": ""}.items()):
        plan(tmp_path / name, order, done=False, dataset=name, ipc=1)
        (tmp_path / name / "cell.log").write_text(log)
    lines = show("--rows", "ipc", "--note", "Compare along rows.")
    assert "Missing runs: 4 of 4: a, b, c, d.  " in lines and "Compare along rows.  " in lines
    assert [line for line in lines if line.startswith("Failed: ")] == ["Failed: a, b: no room; use --ipc 2.  "]


def test_a_table_of_nothing_but_missing_cells_is_a_table(show, tmp_path):
    plan(tmp_path / "a", done=False, dataset="MNIST", ipc=1)
    assert show("--rows", "ipc")[:3] == ["| ipc | MNIST |", "| --- | --- |", "| 1 | – |"]
    assert "Missing runs: 1 of 1: a.  " in show("--rows", "ipc", "--columns", "network")


def test_unequal_numbers_of_networks_stand_in_the_cells(show, tmp_path):
    write(tmp_path / "a", GOOD, BAD)
    write(tmp_path / "b", GOOD[:1], BAD, ipc=2)
    lines = show("--rows", "ipc")
    assert lines[2].endswith(" [5, 5] |") and lines[3].endswith(" [1, 5] |")


def test_broken_foreign_and_unfinished_files_are_named_or_passed_over(show, tmp_path):
    write(tmp_path, GOOD, BAD)
    (tmp_path / "res_DM_MNIST_MLP_1ipc.pt").write_bytes(b"PK")
    torch.save({"data": [], "accs_all_exps": {}}, tmp_path / "res_DC_MNIST_MLP_1ipc.pt")
    (tmp_path / "res_DM_MNIST_MLP_2ipc_unfinished.pt").write_bytes(b"PK")
    lines = show("--rows", "ipc")
    broken, foreign = sorted((line for line in lines if line.startswith("Not read: ")), reverse=True)
    assert "res_DM_MNIST_MLP_1ipc.pt is incomplete" in broken and "res_DC_MNIST_MLP_1ipc.pt has no 'meta'" in foreign
    assert lines[2].startswith("| 1 | 92.0 ± 1.4 (54.0 ± 2.8)") and "unfinished" not in "".join(lines)


def test_baselines_of_another_result_do_not_count(show, tmp_path):
    path = write(tmp_path, GOOD, BAD)
    saved = path.with_name(f"{path.stem}_baselines.json")
    saved.write_text(json.dumps({**json.loads(saved.read_text()), "fingerprint": "g"}))
    lines = show("--rows", "ipc")
    assert "92.0 ± 1.4‡ (–)" in lines[2] and any("make it again" in line for line in lines)


def test_runs_of_other_options_are_not_pooled(refusal, tmp_path):
    write(tmp_path / "a", GOOD, Iteration=10)
    write(tmp_path / "b", GOOD, Iteration=20, seed=1)
    text = refusal("--rows", "ipc")
    assert "differ in Iteration (10, 20)" in text and "--rows" in text


def test_one_run_does_not_count_twice(refusal, tmp_path):
    write(tmp_path / "a", GOOD)
    write(tmp_path / "b", GOOD)
    assert "the same options and seed" in refusal("--rows", "ipc")


def test_no_results_and_unknown_names_are_refused_with_the_mend(refusal, tmp_path):
    assert "--save_path" in refusal()
    write(tmp_path, GOOD)
    assert "did you mean model?" in refusal("--rows", "modell")


def test_latex_is_balanced_and_escapes_what_tex_would_read(show, tmp_path):
    write(tmp_path, BAD, GOOD, dsa_strategy="color_crop & 5% of #1 {x} ~^\\$")
    text = "\n".join(show("--rows", "dsa_strategy", "--format", "latex"))
    plain = re.sub(r"\\textbackslash\{\}|\\textasciitilde\{\}|\\textasciicircum\{\}|\\[{}$&%#_\\]", "", text)
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    assert not re.search(r"[%#~±†‡–]", plain) and plain.count("_") == 0
    assert r"color\_crop \& 5\% of \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}\$" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    body = text[text.index(r"\begin{tabular}"):text.index(r"\end{tabular}")]
    assert [line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")] == [1, 1]
    assert r"54.0 $\pm$ 2.8$^\dagger$ (92.0 $\pm$ 1.4)" in body


def test_write_puts_both_forms_into_the_folder(show, tmp_path):
    write(tmp_path, GOOD, BAD)
    printed = "\n".join(show("--rows", "ipc", "--write")) + "\n"
    assert (tmp_path / "table.md").read_text() == printed
    assert (tmp_path / "table.tex").read_text() == "\n".join(show("--rows", "ipc", "--format", "latex")) + "\n"


def test_images_per_class_are_counted_whatever_the_labels():
    hard = torch.arange(10).repeat_interleave(4)
    soft = torch.rand(40, 10, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert images_per_class(hard) == images_per_class(soft) == "4"
    assert images_per_class(torch.tensor([0, 0, 1])) == "1-2"


def test_experts_are_told_apart_by_their_recipe_and_not_by_their_data():
    def recipe(dataset, run_dataset, rho):
        experts = {"experts": 5, "options": {"dataset": dataset, "rho_max": rho, "seed": 0}}
        return recipe_of(experts, {"dataset": run_dataset, "seed": 1})

    assert recipe("MNIST", "MNIST", 0.0) == recipe("Digits", "Digits", 0.0) != recipe("MNIST", "MNIST", 0.01)
