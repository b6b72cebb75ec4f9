"""Cards: what they say is true of the file, and the code on them runs."""

import hashlib
import importlib
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import main_DM
from condense.cli import parse, with_forms
from condense.methods import METHODS
from condense.sharing.card import card, command, small_picture, write_card
from condense.sharing.card_scores import load_scores
from condense.sharing.export import Choice
from condense.synthetic import PARAMETERIZATIONS
from tests.sharing.export_sets import NAME, drawn, foreign_result, low_rank_result, own_result, soft_labels, source_of

REPOSITORY = Path(main_DM.__file__).parent
HARD = torch.arange(10).repeat_interleave(2)


def row(text, name):
    """The second cell of the card's row `name`."""
    return re.search(rf"^\| {name} \| (.*) \|$", text, re.MULTILINE)[1]


def run_code(text, folder):
    """Run the Python on the card in the folder of the set; returns its names."""
    code, = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.strip().splitlines()) <= 5
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(code, names)
    return names


def test_code_of_a_result_is_plain_torch_and_loads_the_set(tmp_path):
    path, real, sets = own_result(tmp_path)
    text = card(source_of(path))
    names = run_code(text, tmp_path)
    assert torch.equal(names["images"], sets[0][0]) and torch.equal(names["labels"], HARD)
    expected = (sets[0][0].double() * real.std[0] + real.mean[0]).clamp(0, 1)
    torch.testing.assert_close(names["pixels"].double(), expected, rtol=0, atol=1e-6)
    assert "PYTHONPATH" not in text and "condense." not in text


@pytest.mark.parametrize("kind", ["zca", "factors", "foreign", "soft"])
def test_code_loads_sets_that_plain_torch_alone_does_not_make_sense_of(tmp_path, kind):
    if kind == "zca":
        path, real, sets = own_result(tmp_path, zca=True)
        images, pixels = sets[0][0], real.denormalise(sets[0][0])
    elif kind == "factors":
        path, images = low_rank_result(tmp_path)
        pixels = None
    else:
        images = drawn(20, 1, 28, 28)
        path = foreign_result(tmp_path, images, soft_labels() if kind == "soft" else HARD)
        pixels = (images * 0.3081 + 0.1307).clamp(0, 1)
    names = run_code(card(source_of(path, space="normalised" if kind in ("foreign", "soft") else None)), tmp_path)
    assert torch.equal(names["images"], images)
    assert names["labels"].shape == ((20, 10) if kind == "soft" else (20,))
    if pixels is not None:
        torch.testing.assert_close(names["pixels"].float(), pixels, rtol=0, atol=1e-4)


def test_card_says_what_the_set_is_in_figures_that_hold(tmp_path):
    path, real, _ = own_result(tmp_path)
    text = card(source_of(path))
    assert text.startswith("# DM of Digits, 2 images per class\n")
    assert row(text, "method") == 'DM (Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023)'
    assert row(text, "holds") == "20 images in each of 2 experiments" and row(text, "images").startswith("1x8x8")
    assert row(text, "condensed with") == "ConvNetD1" and row(text, "form") == "pixels"
    assert "1,280 of 1,280 floats (5,120 of 5,120 bytes), decoded to 2 images per class" in row(text, "stored")
    assert row(text, "file") == f"`{NAME}`, {path.stat().st_size:,} bytes"
    assert row(text, "sha256") == f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"
    assert f"mean {real.mean[0]:.4g}, std {real.std[0]:.4g}" in row(text, "space")
    assert "licence" in text.split("## Licence")[1] and len(text.splitlines()) < 70


def test_images_that_show_one_base_are_told_where_there_are_any(tmp_path):
    path, _, _ = own_result(tmp_path)
    plain = card(source_of(path))
    content = torch.load(path, weights_only=True)
    content["meta"]["options"] |= {"parameterization": "hallucinator", "n_style": 2}
    torch.save(content, path)
    text = card(source_of(path))
    assert row(text, "views") == "every 2 images in a row show one base, of which an epoch sees one"
    content["meta"]["options"]["n_style"] = 1
    torch.save(content, path)
    assert all("| views |" not in text and "base;" not in text for text in (plain, card(source_of(path))))


def test_scores_are_mean_and_population_std_over_all_networks(tmp_path):
    path, _, _ = own_result(tmp_path, best=True)
    text = card(source_of(path))
    last = [0.5, 0.625, 0.75, 0.875]
    figures = f"{100 * np.mean(last):.2f} ± {100 * np.std(last):.2f} %"
    protocol = "epochs 30, lr 0.01, batch 256, no augmentation"
    assert f"| last iteration | ConvNetD1 | {protocol} | {figures} | 4 |" in text
    assert f"| chosen iteration | ConvNetD1 | {protocol} | 50.00 ± 25.00 % | 4 |" in text
    assert "Chosen iteration: seen by its experts." in text


def test_further_scores_are_those_of_this_very_file(tmp_path):
    path, _, _ = own_result(tmp_path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ours = {"name": "DM", "set": "elsewhere.pt", "sha256": sha256, "network": "MLP", "protocol": "dsa", "mean": 0.625,
            "std": 0.0125, "networks": 5, "recipe": {"epochs": 7, "lr": 0.01, "batch_size": 64}}
    rows = [ours, {**ours, "sha256": "0" * 64, "network": "LeNet"}]
    (tmp_path / "scores.json").write_text(json.dumps({"rows": rows}))
    text = card(source_of(path), load_scores(tmp_path / "scores.json"))
    assert "| DM | MLP | dsa: epochs 7, lr 0.01, batch 64, no augmentation | 62.50 ± 1.25 % | 5 |" in text
    assert "LeNet" not in text


def test_networks_that_were_not_trained_are_not_scored(tmp_path):
    path, _, _ = own_result(tmp_path, best=True)
    content = torch.load(path, weights_only=True)
    content["meta"]["protocols"]["ConvNetD1"]["epochs"] = 0
    torch.save(content, path)
    row = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "network": "MLP", "mean": 0.625, "std": 0.0125,
           "networks": 5, "recipe": {"epochs": 0, "lr": 0.01}}
    text = card(source_of(path), [row, {**row, "recipe": {"epochs": 1}}])
    for words in ("last iteration", "chosen iteration"):
        assert f"| {words} | ConvNetD1 | epochs 0, lr 0.01, batch 256, no augmentation | not scored | – |" in text
    assert "| scored anew | MLP | epochs 0, lr 0.01, no augmentation | not scored | – |" in text
    assert re.findall(r"\d\d\.\d\d ± .*? %", text) == ["62.50 ± 1.25 %"]


@pytest.mark.parametrize("content, error, mend", [
    (None, FileNotFoundError, "no file .*evaluate.py writes files of scores"),
    ("[1]", ValueError, "holds no rows of scores"),
    ('{"rows": [{"network": "MLP"}]}', ValueError, "give a file that evaluate.py wrote"),
])
def test_a_file_that_holds_no_scores_is_one_line(tmp_path, content, error, mend):
    if content:
        (tmp_path / "scores.json").write_text(content)
    with pytest.raises(error, match=mend):
        load_scores(tmp_path / "scores.json")


@pytest.mark.parametrize("flags", [[], ["--zca", "--im_size", "8", "--dsa_strategy", "none", "--lr_img", "0.5"],
                                   ["--parameterization", "low_rank", "--rank", "3", "--device", "cuda:1"],
                                   ["--parameterization", "latent_decoder", "--latent_hidden", "8", "4"]],
                         ids=" ".join)
def test_command_on_the_card_gives_the_same_options(flags):
    config = with_forms(main_DM.Config, PARAMETERIZATIONS)
    options = parse(config, ["--dataset", "Digits", "--subset", "a b", *flags]).identity()
    words = shlex.split(command({"method": "DM", "options": options}).replace("\\\n", " "))
    assert words[:2] == ["python", "main_DM.py"]
    assert parse(config, words[2:]).identity() == options


@pytest.mark.parametrize("method", METHODS)
def test_command_gives_the_defaults_of_every_script_under_every_form_again(method):
    script = METHODS[method].script
    config = with_forms(importlib.import_module(script.removesuffix(".py")).Config, PARAMETERIZATIONS)
    forms = next((field.metadata["choices"] for field in fields(config) if field.name == "parameterization"), (None,))
    for form in forms:                                     # coresets have none
        options = parse(config, ["--parameterization", form] if form else []).identity()
        words = shlex.split(command({"method": method, "options": options}).replace("\\\n", " "))
        assert words[:2] == ["python", script] and parse(config, words[2:]).identity() == options, form


def test_every_method_names_a_script_that_is_there():
    for row in METHODS.values():
        assert (REPOSITORY / row.script).is_file()
        assert all(re.search(r" (19|20)\d\d$", paper) for paper in row.papers)


def test_sets_of_others_have_no_recipe_but_a_sha256_and_scores(tmp_path):
    path = foreign_result(tmp_path, drawn(20, 1, 28, 28), HARD)
    text = card(source_of(path, space="normalised"))
    assert "## Make it again" not in text and "DSA of MNIST, 2 images per class" in text
    assert "| last iteration | ConvNet | not said by the file | 62.50 ± 12.50 % | 2 |" in text
    assert row(text, "stored") == "15,680 floats (62,720 bytes)"


def test_picture_shows_ten_images_of_ten_classes_in_their_colours(tmp_path):
    labels = torch.arange(12).repeat(3)                    # class 0, 1, ..., 11, 0, 1, ...: not class-major
    images = torch.rand(36, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.save({"images": images, "labels": labels, "space": "raw"}, tmp_path / "some.pt")
    source = source_of(tmp_path / "some.pt")
    pixels, number = small_picture(source)
    assert number == 3
    expected = torch.stack([images[label + 12 * i] for label in range(10) for i in range(3)])
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-7)
    write_card(tmp_path / "some.card.md", source, Choice())
    shown = np.asarray(Image.open(tmp_path / "some.card.png"))
    assert shown.shape == (10 * 30 + 2, 3 * 30 + 2, 3)
    assert abs(int(shown[2, 2, 0]) - 255 * float(images[0, 0, 0, 0])) <= 1
    assert "(some.card.png)" in (tmp_path / "some.card.md").read_text(encoding="utf-8")


def test_no_picture_is_made_or_linked_unless_wanted(tmp_path):
    path, _, _ = own_result(tmp_path)
    write_card(tmp_path / "a.card.md", source_of(path), Choice(picture=False))
    assert "![" not in (tmp_path / "a.card.md").read_text(encoding="utf-8") and not list(tmp_path.glob("*.png"))
