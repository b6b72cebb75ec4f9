"""Baselines are computed once, are what computing them anew gives, and belong to their result."""

import json
import os
import runpy
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

import main_DM
from condense.data import load_data
from condense.device import Compute
from condense.evaluation import Protocol, TensorSet, baselines, evaluate
from condense.evaluation.baselines import full_data, load_baselines, random_real, save_baselines
from condense.options import parse
from condense.randomness import Streams

QUICK = Protocol(epochs=1, lr=0.05, batch_size=8, strategy="color_crop")
POOL = {"MLP": QUICK, "ConvNetD1": QUICK}
SCRIPT = str(Path(main_DM.__file__).parent / "scripts" / "baselines.py")


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


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


def test_other_images_and_another_recipe_are_scored_anew(digits, trained, monkeypatch):
    random(digits, {"MLP": QUICK})
    monkeypatch.setattr(baselines, "RECIPE_VERSION", baselines.RECIPE_VERSION + 1)
    random(digits, {"MLP": QUICK})
    other = load_data("Digits")
    other.test_images = other.test_images.flip(3)
    random(other, {"MLP": QUICK})
    assert trained == ["MLP"] * 3


def test_random_and_full_do_not_meet(digits, trained, monkeypatch):
    monkeypatch.setattr(baselines, "FULL_RECIPE_DIGITS", {"epochs": 2, "batch_size": 64})
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
    with pytest.raises(ValueError, match="does not belong to its result; make it again: python scripts/baselines.py"):
        load_baselines(tmp_path / "res.pt", {**META, **change})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_saved_baselines_that_are_not_whole_are_refused(tmp_path, text):
    (tmp_path / "res_baselines.json").write_text(text)
    with pytest.raises(ValueError, match="make it again"):
        load_baselines(tmp_path / "res.pt", META)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A result file of main_DM.py."""
    folder = tmp_path_factory.mktemp("result")
    main_DM.main(parse(main_DM.Config, ["--dataset", "Digits", "--ipc", "1", "--Iteration", "1", "--num_exp", "1",
                                        "--num_eval", "6", "--epoch_eval_train", "1", "--model", "MLP", "--batch_real",
                                        "4", "--save_path", str(folder), "--no-progress", "--device", "cpu"]))
    return folder / "res_DM_Digits_MLP_1ipc.pt"


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name="__main__")


def test_script_prints_the_comparison_and_saves_it(result, tmp_path, monkeypatch, capsys, trained):
    copy = shutil.copy(result, tmp_path)
    run_script(monkeypatch, copy)
    assert not list(tmp_path.glob("*.json"))
    first = capsys.readouterr().out
    assert "condensed (DM)" in first and "random real images" in first and "beat" in first
    run_script(monkeypatch, copy, "--save", "--device", "cpu")
    assert capsys.readouterr().out == first and trained == ["MLP"]
    saved = json.loads((tmp_path / "res_DM_Digits_MLP_1ipc_baselines.json").read_text())
    assert len(saved["random"]["MLP"]) == 6                # as many networks as the result was scored on, at least 5


def test_script_answers_a_missing_or_cut_off_result_by_one_line(result, tmp_path, monkeypatch, capsys):
    (tmp_path / "cut.pt").write_bytes(result.read_bytes()[:500])
    for name in ("absent.pt", "cut.pt"):
        with pytest.raises(SystemExit) as stop:
            run_script(monkeypatch, tmp_path / name)
        (line,) = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2 and line.startswith("error: ") and name in line
