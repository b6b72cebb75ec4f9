"""Sets of unrolled training handed on: step sizes, their order and fixed starts come along and score the same."""

import json
from functools import partial

import pytest
import torch

from condense.comparison.scored_set import Changes, ScoredSet
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.operators import Compute
from condense.sharing.card import card
from condense.sharing.export import Choice, write_folder, write_reference, write_safetensors, write_tensors
from condense.sharing.layouts import read_set
from condense.sharing.loading import load_synthetic_set, place
from condense.sharing.spaces import Spaces
from condense.training import TensorSet
from tests.sharing.export_sets import own_result, source_of
from tests.unrolled_sets import ITERATION, NAME, PROTOCOL, SEED, unrolled_result

WRITERS = {"tensors": (write_tensors, "out.pt"), "safetensors": (write_safetensors, "out.safetensors"),
           "folder": (write_folder, "out")}
WHOLE = ["tensors", "safetensors"]         # those that keep every bit


def exported(name, folder, path, **choice):
    """Export the set at `path`; returns (path, the lines said)."""
    write, file = WRITERS[name]
    return folder / file, write(folder / file, source_of(path), Choice(**choice))


def same_steps(one, other):
    assert one.sizes == other.sizes and one.model == other.model
    assert all(map(torch.equal, one.rows, other.rows)) and len(one.rows) == len(other.rows)
    assert one.starts is other.starts or torch.equal(one.starts, other.starts)


@pytest.mark.parametrize("fixed", [0, 2], ids=["fresh", "fixed"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_brings_back_the_steps_of_the_experiment_that_was_chosen(tmp_path, name, fixed):
    path, sets = unrolled_result(tmp_path, fixed)
    out, _ = exported(name, tmp_path, path, experiment=1)
    (back,) = read_set(out).sets
    same_steps(back.steps, sets[1].steps)
    assert back.lr == pytest.approx(sum(sets[1].steps.sizes) / 6, rel=1e-6)


@pytest.mark.parametrize("fixed", [0, 2], ids=["fresh", "fixed"])
@pytest.mark.parametrize("name", [None, *WHOLE])
def test_a_loaded_set_trains_networks_to_the_accuracies_of_its_result(tmp_path, name, fixed):
    path, sets = unrolled_result(tmp_path, fixed)
    accuracies = torch.load(path, weights_only=True)["accs_all_exps"]["MLP"]
    for exp in range(2):
        loaded = load_synthetic_set(exported(name, tmp_path, path, experiment=exp)[0]) if name else \
            load_synthetic_set(path, exp)
        same_steps(loaded.steps, sets[exp].steps)
        scores = evaluate(TensorSet(loaded.images, loaded.labels, loaded.steps), load_data("Digits"),
                          {"MLP": PROTOCOL}, 2, partial(Streams(SEED), "evaluation", exp, ITERATION), Compute(),
                          progress=False)["MLP"]
        assert [score.test_accuracy for score in scores] == accuracies[2 * exp:2 * exp + 2]


@pytest.mark.parametrize("fixed", [0, 2], ids=["fresh", "fixed"])
@pytest.mark.parametrize("name", WHOLE)
def test_evaluate_scores_an_exported_set_as_its_run_did_with_nothing_said(score, tmp_path, name, fixed):
    path, _ = unrolled_result(tmp_path, fixed)
    accuracies = torch.load(path, weights_only=True)["accs_all_exps"]["MLP"]
    out, _ = exported(name, tmp_path, path, experiment=1)
    (row,), _ = score(out, "--baselines", "none")
    assert row["accuracies"] == [accuracies[2:]] and row["protocol"] == "dd" and row["seed"] == SEED
    assert row["recipe"]["momentum"] == 0.5 and row["recipe"]["net_init"] == "default"


def test_evaluate_scores_exports_of_other_methods_as_their_run_did_too(score, dm, tmp_path):
    result = dm.run(tmp_path, "--seed", "3", "--lr_net", "0.05", "--dsa_strategy", "crop", "--num_eval", "3")
    out, _ = exported("tensors", tmp_path, dm.path(tmp_path))
    (row,), _ = score(out, "--baselines", "none")
    (accuracies,) = result["accs_all_exps"].values()
    assert row["accuracies"] == [accuracies] and row["recipe"]["lr"] == 0.05


def test_whitened_sets_keep_their_steps(tmp_path):
    path, sets = unrolled_result(tmp_path, zca=True)
    out, _ = exported("safetensors", tmp_path, path)
    loaded = load_synthetic_set(out)
    same_steps(loaded.steps, sets[0].steps)
    assert loaded.zca is not None and torch.equal(loaded.images, sets[0].tensor)


def test_a_tree_of_images_says_its_run_and_takes_its_steps_to_rounded_images(score, tmp_path):
    path, _ = unrolled_result(tmp_path, fixed=1, num_eval=1)
    out, said = exported("folder", tmp_path, path)
    assert "steps.pt" in said[-1] and (out / "steps.pt").is_file()
    (row,), _ = score(out, "--dataset", "Digits", "--baselines", "none")
    (first, _) = torch.load(path, weights_only=True)["accs_all_exps"]["MLP"]
    assert row["protocol"] == "dd" and row["recipe"]["momentum"] == 0.5 and row["mean"] == pytest.approx(first, abs=0.2)


def test_a_tree_without_one_of_its_images_is_refused_with_the_mend(tmp_path):
    out, _ = exported("folder", tmp_path, unrolled_result(tmp_path)[0])
    (out / "3" / "00006.png").unlink()
    with pytest.raises(ValueError, match=r"steps.pt is for 20 images.*19 are there; export the set again, or remove"):
        read_set(out)
    (out / "steps.pt").unlink()
    assert read_set(out).sets[0].steps is None


def test_formats_of_other_sets_are_what_they_were(tmp_path):
    path, _, _ = own_result(tmp_path)
    out, said = exported("folder", tmp_path, path)
    assert not (out / "steps.pt").exists() and not any("steps" in line for line in said)
    out, _ = exported("tensors", tmp_path, path)
    assert not {"steps", "start"} & torch.load(out, weights_only=True).keys()
    assert load_synthetic_set(out).steps is None


def test_the_reference_layout_says_what_it_leaves_out(tmp_path):
    path, _ = unrolled_result(tmp_path)
    said = "\n".join(write_reference(tmp_path / "out.pt", source_of(path), Choice()))
    assert "left out: the step sizes" in said and "--format tensors keeps them" in said
    assert list(torch.load(tmp_path / "out.pt", weights_only=True)) == ["data", "accs_all_exps"]


def test_images_that_steps_belong_to_are_not_decoded_further(tmp_path):
    path, _ = unrolled_result(tmp_path)
    with pytest.raises(ValueError, match="steps that use its images undecoded; leave --decode out"):
        load_synthetic_set(path, decode=2)
    with pytest.raises(ValueError, match="steps that use its images undecoded; leave --decode out"):
        source_of(path, decode=2).bundle()


@pytest.mark.parametrize("change, mend", [
    ({"steps": {"sizes": torch.ones(5), "rows": torch.arange(20).view(2, 10)}}, "5 step sizes for 2 batches"),
    ({"start": {"model": "MLP"}}, "its start is not the parameters"),
    ({"scored": "well"}, "scored is not protocols with num_eval"),
    ({"scored": {"protocols": {}, "num_eval": 1, "seed": 0, "experiment": 0, "iteration": 0}}, "save the set again"),
    ({"scored": {"protocols": {"MLP": {}}, "num_eval": 1, "seed": -1, "experiment": 0, "iteration": 0}}, "scored is"),
])
def test_what_is_no_steps_or_no_record_is_refused_in_one_line(tmp_path, change, mend):
    out, _ = exported("tensors", tmp_path, unrolled_result(tmp_path)[0])
    torch.save({**torch.load(out, weights_only=True), **change}, out)
    with pytest.raises(ValueError, match=mend) as refused:
        read_set(out)
    assert "\n" not in str(refused.value)


def test_a_recorded_protocol_of_another_version_is_refused_with_the_mend(tmp_path, score_error, score):
    out, _ = exported("tensors", tmp_path, unrolled_result(tmp_path)[0])
    content = torch.load(out, weights_only=True)
    content["scored"]["protocols"]["MLP"]["warmup"] = 3
    torch.save(content, out)
    assert "name one with --protocol" in score_error(out, "--baselines", "none")
    (row,), _ = score(out, "--baselines", "none", "--protocol", "rtp", "--epoch_eval_train", "1")
    assert row["recipe"]["name"] == "rtp"


def test_steps_that_come_without_a_record_are_followed_as_often_as_they_have_sizes(tmp_path):
    out, _ = exported("tensors", tmp_path, unrolled_result(tmp_path)[0])
    content = torch.load(out, weights_only=True)
    del content["scored"]
    torch.save(content, out)
    file = read_set(out)
    ready = ScoredSet(file, place(file, Spaces(lambda zca: load_data("Digits", zca=zca))))
    (protocol,) = ready.protocols(["MLP"], Changes()).values()
    assert ready.protocol_name(Changes()) == "dd" and (protocol.epochs, protocol.distill_steps) == (3, 2)


@pytest.mark.parametrize("fixed, words", [(0, "afresh"), (1, "as 1 fixed MLP of 26,122 parameters, which is in the"),
                                          (2, "as 2 fixed MLP of 26,122 parameters, all in the file")])
def test_a_card_tells_of_the_steps_and_what_networks_start_from(tmp_path, fixed, words):
    path, sets = unrolled_result(tmp_path, fixed, num_eval=1)
    text = card(source_of(path))
    sizes = [size for one in sets for size in one.steps.sizes]
    assert (f"| steps | 6, 3 times through 2 batches of 10 images, each with a learned size of {min(sizes):.4g} to "
            f"{max(sizes):.4g} |") in text
    assert f"| networks start | {words}" in text and "learned step size" not in text
    assert "| last iteration | MLP | descent along the set's steps, epochs 3, momentum 0.5 |" in text


@pytest.mark.parametrize("options, paper", [({"inner_momentum": 0.9}, "Deng"), ({"window": 3}, "Feng"),
                                            ({"parameterization": "memory"}, "Deng")])
def test_a_card_names_the_papers_of_its_options_and_its_form(tmp_path, options, paper):
    path, _ = unrolled_result(tmp_path)
    plain = card(source_of(path))
    content = torch.load(path, weights_only=True)
    content["meta"]["options"] |= options
    torch.save(content, path)
    text = card(source_of(path))
    assert paper in text and paper not in plain and "Wang" in text
    form = "addressable memory" if "parameterization" in options else "pixels"
    assert f"| form | {form}" in text


def test_the_json_beside_safetensors_names_the_network_of_fixed_starts(tmp_path):
    path, _ = unrolled_result(tmp_path, fixed=2)
    out, _ = exported("safetensors", tmp_path, path)
    said = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert said["start.model"] == "MLP" and said["scored"]["seed"] == SEED and said["source"] == NAME
