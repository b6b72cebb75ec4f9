"""Baselines are computed once, are what computing them anew gives, and belong to their result."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch

from condense.comparison import baselines
from condense.comparison.baselines import chosen_real, full_data, load_baselines, random_real, save_baselines
from condense.core import source_code
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.evaluation.cache_key import code_of_scores
from condense.operators import Compute
from condense.training import Protocol, TensorSet

QUICK = Protocol(epochs=1, lr=0.05, batch_size=8, strategy="color_crop")
POOL = {"MLP": QUICK, "ConvNetD1": QUICK}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "baselines"


@pytest.fixture
def trained(monkeypatch):
    """The names of the networks that were really trained, one after the other."""
    names = []

    def counting(data, real, protocols, *args):
        names.extend(protocols)
        return evaluate(data, real, protocols, *args)

    monkeypatch.setattr(baselines, "evaluate", counting)
    return names


def random(digits, protocols=POOL, ipc=1, num_eval=2, seed=0, compute=Compute()):
    return random_real(digits, ipc, protocols, num_eval, Streams(seed), compute, progress=False)


def test_random_images_are_a_draw_per_network_scored_as_by_hand(digits):
    streams, expected = Streams(0), {}

    def draw(i):
        batch = digits.sample(digits.classes, 1, streams("data", 2**31, 1, i))
        return TensorSet(batch.images(), batch.labels)

    expected = evaluate(draw, digits, POOL, 2, partial(streams, "evaluation", 2**31, 1), Compute(), progress=False)
    assert random(digits) == expected


@pytest.mark.parametrize("method", ["herding", "k-means"])
def test_chosen_images_are_those_that_select_coreset_chooses(digits, tmp_path, method):
    import select_coreset
    from condense.cli import build
    cfg = build(select_coreset.Config, {"dataset": "Digits", "method": method, "ipc": 2, "model": "MLP", "num_eval": 1,
                                        "epoch_eval_train": 1, "save_path": str(tmp_path), "progress": False,
                                        "device": "cpu"})
    images, labels = select_coreset.main(cfg)["data"][0]
    by_hand = evaluate(TensorSet(images, labels), digits, {"MLP": QUICK}, 2,
                       partial(Streams(0), "evaluation", 2**31, 3), Compute(), progress=False)
    scores = chosen_real(digits, method, 2, {"MLP": QUICK}, 2, Streams(0), Compute(), progress=False)
    assert scores == by_hand


def test_more_images_than_a_class_has_are_not_chosen(digits):
    with pytest.raises(ValueError, match="has 1"):
        chosen_real(digits, "herding", 1000, POOL, 2, Streams(0), Compute(), progress=False)


def test_chosen_images_are_scored_once(digits, trained):
    first = chosen_real(digits, "herding", 1, {"MLP": QUICK}, 2, Streams(0), Compute(), progress=False)
    again = chosen_real(digits, "herding", 1, {"MLP": QUICK}, 2, Streams(0), Compute(), progress=False)
    assert again == first and trained == ["MLP"]


def test_second_call_trains_nothing_and_returns_the_same(digits, trained):
    first = random(digits)
    assert trained == ["MLP", "ConvNetD1"]
    assert random(digits) == first and trained == ["MLP", "ConvNetD1"]


def test_networks_are_kept_apart_so_that_other_pools_find_them(digits, trained):
    both = random(digits)
    alone = random(digits, {"ConvNetD1": QUICK})
    assert alone == {"ConvNetD1": both["ConvNetD1"]} and len(trained) == 2


@pytest.mark.parametrize("change", [{"ipc": 2}, {"num_eval": 3}, {"seed": 1}, {"compute": Compute(precision="bf16")},
                                    {"protocols": {"MLP": replace(QUICK, epochs=2)}},
                                    {"protocols": {"MLP": replace(QUICK, strategy="crop")}}],
                         ids=["ipc", "num_eval", "seed", "precision", "epochs", "strategy"])
def test_whatever_changes_the_score_is_scored_anew(digits, trained, change):
    common = {"protocols": {"MLP": QUICK}}
    random(digits, **common)
    random(digits, **{**common, **change})
    assert trained == ["MLP", "MLP"]


def test_other_images_are_scored_anew(digits, trained):
    random(digits, {"MLP": QUICK})
    other = load_data("Digits")
    other.test_images = other.test_images.flip(3)
    random(other, {"MLP": QUICK})
    assert trained == ["MLP"] * 2


@pytest.mark.parametrize("name", ["training/train.py", "networks/mlp.py", "comparison/baselines.py", "data/real.py"])
def test_other_code_is_scored_anew_and_the_same_code_elsewhere_is_not(digits, trained, monkeypatch, tmp_path, name):
    random(digits, {"MLP": QUICK})
    copy = tmp_path / "elsewhere" / "condense"
    shutil.copytree(source_code.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source_code, "PACKAGE", copy)
    monkeypatch.setattr(baselines, "CODE", code_of_scores(*baselines.OWN_FILES))
    random(digits, {"MLP": QUICK})
    assert trained == ["MLP"]
    with open(copy / name, "a") as file:
        file.write("# a change\n")
    random(digits, {"MLP": QUICK})                         # of the code that runs, not of the file that changed
    assert trained == ["MLP"]
    monkeypatch.setattr(baselines, "CODE", code_of_scores(*baselines.OWN_FILES))
    random(digits, {"MLP": QUICK})
    assert trained == ["MLP"] * 2


def test_another_torch_and_another_version_of_a_library_are_scored_anew(digits, trained, monkeypatch):
    random(digits, {"MLP": QUICK})
    versions = source_code.library_versions
    with monkeypatch.context() as patch:
        patch.setattr("condense.evaluation.cache_key.library_versions",
                      lambda *names: {**versions(*names), "scikit-learn": "0"})
        random(digits, {"MLP": QUICK})
    monkeypatch.setattr(torch, "__version__", "2.9.0+cpu")
    random(digits, {"MLP": QUICK})
    assert trained == ["MLP"] * 3


def test_the_key_names_everything_that_decides(digits, own_cache):
    random(digits, {"MLP": QUICK})
    (path,) = own_cache.glob("*.json")
    key = json.loads(path.read_text())["key"]
    assert key["torch"] == torch.__version__ and len(key["code"]) == 64
    assert (key["device"], key["precision"], key["kind"], key["seed"]) == ("cpu", "fp32", "random", 0)


def test_random_and_full_do_not_meet(digits, trained, monkeypatch):
    monkeypatch.setattr(baselines, "FULL_DIGITS", {"epochs": 2, "batch_size": 64})
    full = full_data(digits, {"MLP": QUICK}, 2, Streams(0), Compute(), progress=False)
    assert random(digits, {"MLP": QUICK}) != full
    assert full_data(digits, {"MLP": QUICK}, 2, Streams(0), Compute(), progress=False) == full
    assert trained == ["MLP", "MLP"] and min(score.test_accuracy for score in full["MLP"]) > 0.5


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:-20], lambda text: "[1, 2]", lambda text: "{}",
                                    lambda text: text.replace('"ipc": 1', '"ipc": 7'),
                                    lambda text: text.replace('"test_accuracy": 0.', '"test_accuracy": "x'),
                                    lambda text: "\udcff"], ids=range(7))
def test_a_damaged_file_is_computed_again_and_mended(digits, trained, own_cache, damage):
    first = random(digits, {"MLP": QUICK})
    (path,) = own_cache.glob("*.json")
    path.write_bytes(damage(path.read_text()).encode(errors="surrogateescape"))
    assert random(digits, {"MLP": QUICK}) == first and len(trained) == 2
    assert random(digits, {"MLP": QUICK}) == first and len(trained) == 2


def test_without_a_place_to_keep_them_they_are_computed_and_one_line_says_so(digits, trained, monkeypatch, caplog):
    expected = random(digits, {"MLP": QUICK})
    monkeypatch.setenv("CONDENSE_CACHE", os.devnull + "/nowhere")
    assert random(digits, {"MLP": QUICK}) == expected
    (record,) = caplog.records
    assert "CONDENSE_CACHE" in record.getMessage() and len(trained) == 2


def test_who_asks_at_the_same_time_waits_for_the_first(digits, monkeypatch):
    calls = []

    def slow(*args):
        calls.append(args)
        time.sleep(0.3)
        return evaluate(*args)

    monkeypatch.setattr(baselines, "evaluate", slow)
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(lambda _: random(digits, {"MLP": QUICK}), range(2))
    assert one == other and len(calls) == 1


META = {"fingerprint": "f", "seed": 0, "protocols": {name: asdict(protocol) for name, protocol in POOL.items()},
        "options": {"ipc": 1, "precision": "fp32"}}


def test_saved_baselines_are_found_beside_their_result(digits, tmp_path):
    assert load_baselines(tmp_path / "res.pt", META) == {}
    scores = random(digits)
    save_baselines(tmp_path / "res.pt", META, scores)
    assert (tmp_path / "res_baselines.json").exists()
    loaded = load_baselines(tmp_path / "res.pt", META)
    assert loaded == {name: [score.test_accuracy for score in scores[name]] for name in POOL}


@pytest.mark.parametrize("change", [{"fingerprint": "g"}, {"seed": 1}, {"options": {"ipc": 2, "precision": "fp32"}},
                                    {"protocols": {**META["protocols"], "MLP": asdict(replace(QUICK, lr=1))}}],
                         ids=["fingerprint", "seed", "ipc", "protocol"])
def test_baselines_of_another_result_are_refused_with_the_mend(digits, tmp_path, change):
    save_baselines(tmp_path / "res.pt", META, random(digits))
    with pytest.raises(ValueError, match="does not belong to its result; make it again: python evaluate.py"):
        load_baselines(tmp_path / "res.pt", {**META, **change})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_saved_baselines_that_are_not_whole_are_refused(tmp_path, text):
    (tmp_path / "res_baselines.json").write_text(text)
    with pytest.raises(ValueError, match="make it again"):
        load_baselines(tmp_path / "res.pt", META)
