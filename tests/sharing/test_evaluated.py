"""evaluate_set: one call from somebody's own code, to the numbers of evaluate.py."""

import json
from dataclasses import replace

import pytest
import torch

import evaluate
from condense import evaluate_set, load_synthetic_set
from condense.data import load_data
from condense.data.space import Space
from condense.run.results import describe, save_result
from condense.run.script import run_script
from tests.evaluated import normalised, real_pixels, write_layout

QUICK = {"networks": ("MLP", "ConvNetD1"), "epochs": 2, "num_eval": 2, "device": "cpu"}


def by_script(folder, path, *flags):
    """Return {network: [[accuracies] of each experiment]} of evaluate.py."""
    output = folder / "scores.json"
    run_script(evaluate.main, evaluate.Config, evaluate.__doc__,
               [str(path), "--baselines", "none", "--output", str(output), "--device", "cpu", "--no-progress", *flags])
    return {row["network"]: row["accuracies"] for row in json.loads(output.read_text())["rows"]}


@pytest.fixture(scope="module")
def own(dm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    dm.run(folder, "--num_exp", "2", "--eval_mode", "SS")
    return dm.path(folder)


def test_a_result_scores_as_its_run_and_the_script_score_it(own, tmp_path):
    expected = by_script(tmp_path, own)
    for experiment in range(2):
        ours = evaluate_set(own, experiment=experiment, device="cpu")
        assert ours == {network: listed[experiment] for network, listed in expected.items()}
        of_run = torch.load(own, weights_only=True)["accs_all_exps"]["ConvNetW32"]
        assert ours["ConvNetW32"] == of_run[2 * experiment:2 * experiment + 2]


@pytest.mark.parametrize("protocol", ["dc", "dsa", "idc", "rtp"])
def test_another_protocol_seed_and_networks_score_as_the_script_does(own, tmp_path, protocol):
    expected = by_script(tmp_path, own, "--protocol", protocol, "--seed", "3", "--pool", "MLP", "ConvNetD1",
                         "--epoch_eval_train", "2", "--num_eval", "2", "--experiment", "1")
    ours = evaluate_set(str(own), protocol=protocol, seed=3, experiment=1, **QUICK)
    assert ours == {network: listed for network, (listed,) in expected.items()} and list(ours) == ["MLP", "ConvNetD1"]


@pytest.mark.parametrize("layout", ["reference", "steps", "mtt", "idc", "folder"])
def test_foreign_files_score_as_the_script_does(tmp_path, layout):
    path, flags = write_layout(layout, tmp_path)
    expected = by_script(tmp_path, path, *flags, "--pool", "MLP", "--epoch_eval_train", "2", "--num_eval", "2")
    decode = {"decode": 1} if layout == "idc" else {}
    ours = evaluate_set(path, "Digits", "MLP", num_eval=2, epochs=2, device="cpu", **decode)
    assert [ours["MLP"]] == expected["MLP"]


def test_images_and_a_loaded_set_score_as_the_file_of_the_same_images(tmp_path, digits):
    pixels, labels = real_pixels()
    images = normalised(pixels)
    torch.save({"images": images, "labels": labels, "space": "normalised"}, tmp_path / "plain.pt")
    of_file = evaluate_set(tmp_path / "plain.pt", "Digits", **QUICK)
    assert evaluate_set((images, labels), digits, **QUICK) == of_file
    loaded = load_synthetic_set(tmp_path / "plain.pt", dataset="Digits")
    assert evaluate_set(loaded, "Digits", **QUICK) == of_file
    flipped = replace(loaded, labels=loaded.labels.flip(0))
    assert evaluate_set(flipped, "Digits", **QUICK) != of_file


def test_a_loaded_set_is_brought_to_the_constants_and_class_numbers_of_the_data(digits):
    pixels, labels = real_pixels()
    plain = load_of(normalised(pixels), labels, digits)
    other = replace(plain, images=(pixels - 0.5) / 0.25, labels=9 - labels,
                    space=Space("normalised", (0.5,), (0.25,)), class_names=tuple("9876543210"))
    longer = {**QUICK, "networks": "MLP", "epochs": 40, "lr": 0.05}
    (expected, brought, by_number) = (min(evaluate_set(one, "Digits", **longer)["MLP"])
                                      for one in (plain, other, replace(other, class_names=None)))
    assert brought == pytest.approx(expected, abs=0.03) and brought > 0.6 and by_number < 0.2


def load_of(images, labels, real):
    from condense.sharing.loading import LoadedSet
    return LoadedSet(images, labels, tuple(real.class_names), Space.of(real), None, "loaded.pt", "")


def test_a_whitened_set_is_scored_in_its_own_space(tmp_path):
    white = load_data("Digits", zca=True)
    batch = white.sample(white.classes, 6, torch.Generator().manual_seed(0))
    meta = describe(white, "DM", {"seed": 0, "dataset": "Digits", "model": "MLP", "ipc": 6, "num_eval": 2,
                                  "Iteration": 1}, {"floats": 1, "bytes": 4}, protocols={})
    save_result(tmp_path / "white.pt", [[batch.images(), batch.labels]], {"MLP": [0.5]}, meta)
    loaded = load_synthetic_set(tmp_path / "white.pt")
    (first, second) = evaluate_set(loaded, "Digits", "MLP", num_eval=2, epochs=30, lr=0.05, device="cpu")["MLP"]
    assert min(first, second) > 0.5
    with pytest.raises(ValueError, match="Digits is whitened already; load it without zca"):
        evaluate_set(loaded, white, **QUICK)


def test_every_view_that_a_loaded_set_holds_counts(digits):
    pixels, labels = real_pixels()
    one = load_of(normalised(pixels), labels, digits)
    assert evaluate_set(replace(one, views=5), "Digits", **QUICK) != evaluate_set(one, "Digits", **QUICK)


def test_the_callers_switches_of_torch_stay_as_they_were(own):
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.use_deterministic_algorithms(True)
        evaluate_set(own, **QUICK)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32" and torch.are_deterministic_algorithms_enabled()
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("change, mend", [({"experiment": 2}, "2 experiments"), ({"experiment": -1}, "2 experiments"),
                                          ({"precision": "fp8"}, "bf16"), ({"num_eval": 0}, "at least 1"),
                                          ({"which": "best"}, "best"), ({"protocol": "dsb"}, "dsa"),
                                          ({"networks": "ConvNetD9x"}, "ConvNetD"), ({"dataset": "Digitz"}, "Digits"),
                                          ({"device": "cuda:99"}, "cuda:99")],
                         ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "")
def test_what_cannot_be_is_refused_with_the_mend(own, change, mend):
    with pytest.raises(ValueError, match=mend):
        evaluate_set(own, **{**QUICK, **change})


def test_real_data_on_another_device_than_asked_for_are_refused(own, digits):
    with pytest.raises(ValueError, match="Digits is on cpu, not on mps"):
        evaluate_set(own, digits, device="mps")


@pytest.mark.parametrize("what", [3, torch.zeros(1, 1, 8, 8), (1, 2, 3)], ids=["number", "tensor", "triple"])
def test_what_is_no_set_is_refused(what):
    with pytest.raises(ValueError, match="a pair"):
        evaluate_set(what, "Digits", **QUICK)


def test_images_without_a_data_set_are_refused():
    with pytest.raises(ValueError, match="name it"):
        evaluate_set((torch.zeros(10, 1, 8, 8), torch.arange(10)), **QUICK)
