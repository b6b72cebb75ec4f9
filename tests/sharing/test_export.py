"""Exported sets: what is written is what was there, in the space asked for, and reads back."""

import json

import numpy as np
import pytest
import torch

from condense.data import Whitening, load_data
from condense.data.constants import PUBLISHED
from condense.run.results import load_result
from condense.sharing.export import (
    Choice,
    metadata_path,
    write_folder,
    write_reference,
    write_safetensors,
    write_tensors,
)
from condense.sharing.formats import FORMATS
from condense.sharing.layouts import read_set
from condense.synthetic.multi_formation import decode
from tests.sharing.export_sets import (
    drawn,
    foreign_result,
    low_rank_result,
    nothing_to_load,
    own_result,
    soft_labels,
    source_of,
)

WRITERS = {"tensors": (write_tensors, "out.pt"), "safetensors": (write_safetensors, "out.safetensors")}


def exported(source, folder, name, **choice):
    """Write `source` as format `name`; returns (the set read back, the lines said)."""
    write, file = WRITERS[name]
    said = write(folder / file, source, Choice(**choice))
    return read_set(folder / file), said


def raw_by_hand(images, real):
    """Pixels of normalised images, in float64."""
    mean, std = (np.array(values).reshape(-1, 1, 1) for values in (real.mean, real.std))
    return images.double().numpy() * std + mean


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("zca", [False, True], ids=["normalised", "zca"])
def test_own_space_is_kept_to_the_bit_with_all_that_is_known(tmp_path, name, zca):
    path, real, sets = own_result(tmp_path, zca, syn_lr=[0.25, 0.125])
    back, _ = exported(source_of(path), tmp_path, name, experiment=1)
    assert torch.equal(back.sets[0].images, sets[1][0]) and torch.equal(back.sets[0].labels, sets[1][1])
    assert back.space == ("zca" if zca else "normalised") and back.layout == name
    assert back.sets[0].lr == 0.125 and back.class_names == tuple("0123456789")
    assert (back.dataset, back.method, back.model, back.ipc) == ("Digits", "DM", "ConvNetD1", 2)
    assert back.accuracies == {"ConvNetD1": [0.75, 0.875]}                   # of that experiment alone
    if zca:
        assert Whitening.from_state(back.zca).fingerprint == real.zca.fingerprint and back.mean is None
    else:
        assert back.mean == tuple(real.mean) and back.std == tuple(real.std) and back.zca is None


@pytest.mark.parametrize("name", WRITERS)
def test_raw_pixels_are_float32_and_not_clamped(tmp_path, name):
    path, real, sets = own_result(tmp_path)
    back, _ = exported(source_of(path), tmp_path, name, space="raw")
    expected = raw_by_hand(sets[0][0], real)
    assert back.space == "raw" and expected.min() < 0 and expected.max() > 1
    assert np.array_equal(back.sets[0].images.numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("space", ["raw", "normalised"])
def test_whitened_sets_lead_back_to_the_pixels_they_were_made_from(tmp_path, space):
    path, real, sets = own_result(tmp_path, zca=True)
    plain = load_data("Digits")
    back, _ = exported(source_of(path, lambda zca: plain), tmp_path, "tensors", space=space)
    state = real.zca.state()
    vectors, scale = state["eigenvectors"].double(), (state["eigenvalues"].double() + state["eps"]).sqrt()
    pixels = sets[0][0].double().flatten(1) @ (vectors * scale) @ vectors.T + state["mean"].double()
    pixels = pixels.view(20, 1, 8, 8)
    expected = pixels if space == "raw" else (pixels - plain.mean[0]) / plain.std[0]
    torch.testing.assert_close(back.sets[0].images.double(), expected, rtol=1e-5, atol=1e-6)
    assert back.space == space and back.zca is None
    if space == "normalised":
        assert back.mean == tuple(plain.mean) and back.std == tuple(plain.std)


def test_what_a_file_and_the_known_constants_say_needs_no_real_data(tmp_path):
    path = foreign_result(tmp_path, drawn(20, 1, 28, 28), torch.arange(10).repeat_interleave(2))
    source = source_of(path, nothing_to_load, space="normalised")
    back, _ = exported(source, tmp_path, "tensors", space="raw")
    expected = drawn(20, 1, 28, 28).double() * 0.3081 + 0.1307
    assert torch.equal(back.sets[0].images, expected.float())
    assert back.mean == (0.1307,) and back.std == (0.3081,) and back.class_names == tuple("0123456789")


def test_data_are_loaded_where_nothing_else_says_what_normalises(tmp_path):
    path = foreign_result(tmp_path, drawn(20, 1, 8, 8), torch.arange(10).repeat_interleave(2), "set_of_mine.pt")
    real = load_data("Digits")
    source = source_of(path, lambda zca: real, space="raw", dataset="Digits")
    back, _ = exported(source, tmp_path, "tensors", space="normalised")
    expected = (drawn(20, 1, 8, 8).double() - real.mean[0]) / real.std[0]
    assert torch.equal(back.sets[0].images, expected.float()) and back.mean == tuple(real.mean)


def test_raw_sets_of_unknown_data_are_exported_as_they_are(tmp_path):
    images = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.save({"images": images, "labels": torch.tensor([0, 0, 1, 1]), "space": "raw"}, tmp_path / "some.pt")
    back, _ = exported(source_of(tmp_path / "some.pt"), tmp_path, "safetensors")
    assert torch.equal(back.sets[0].images, images) and back.space == "raw" and back.mean is None


def test_mosaics_are_decoded_and_labels_follow(tmp_path):
    images = torch.rand(4, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    torch.save([images, torch.tensor([0, 0, 1, 1])], tmp_path / "data.pt")
    source = source_of(tmp_path / "data.pt", decode=2)
    back, _ = exported(source, tmp_path, "tensors")
    assert torch.equal(back.sets[0].images, decode(images.double(), 2).float()) and back.decode == 1
    assert back.sets[0].labels.tolist() == [0, 0, 1, 1] * 4
    with pytest.raises(ValueError, match="--decode"):
        source_of(tmp_path / "data.pt").bundle()


def test_factors_alone_are_written_dense(tmp_path):
    path, images = low_rank_result(tmp_path)
    for name in WRITERS:
        back, _ = exported(source_of(path), tmp_path, name)
        assert torch.equal(back.sets[0].images, images) and back.sets[0].factors is None


@pytest.mark.parametrize("name", WRITERS)
def test_soft_labels_stay_and_the_best_iteration_can_be_chosen(tmp_path, name):
    path, _, sets = own_result(tmp_path, labels=soft_labels(), best=True)
    back, _ = exported(source_of(path), tmp_path, name, which="best", experiment=1)
    assert torch.equal(back.sets[0].images, -sets[1][0]) and torch.equal(back.sets[0].labels, soft_labels())
    assert back.sets[0].lr == 0.5 and back.accuracies == {"ConvNetD1": [0.75, 0.25]}


def test_tensors_take_two_lines_of_plain_torch(tmp_path):
    path, real, sets = own_result(tmp_path)
    write_tensors(tmp_path / "out.pt", source_of(path), Choice())
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    images, labels = content["images"], content["labels"]
    assert torch.equal(images, sets[0][0]) and labels.dtype == torch.int64
    assert content["mean"] == list(real.mean) and content["source"] == path.name and content["experiment"] == 0


def test_safetensors_carry_one_json_in_the_header_and_beside(tmp_path):
    from safetensors import safe_open

    path, real, _ = own_result(tmp_path, syn_lr=[0.25, 0.125])
    write_safetensors(tmp_path / "out.safetensors", source_of(path), Choice())
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        header = json.loads(file.metadata()["condense"])
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}                # noqa: SIM118
    assert header == json.loads(metadata_path(tmp_path / "out.safetensors").read_text(encoding="utf-8"))
    assert kinds == {"images": torch.float32, "labels": torch.int64, "lr": torch.float32}
    assert header["space"] == "normalised" and header["mean"] == list(real.mean) and header["lr"] == 0.25
    assert len(header["source_sha256"]) == 64 and header["class_names"] == list("0123456789")


def test_missing_safetensors_is_one_line_with_the_mend(tmp_path, monkeypatch):
    path, _, _ = own_result(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    with pytest.raises(ValueError, match="pip install safetensors"):
        write_safetensors(tmp_path / "out.safetensors", source_of(path), Choice())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_folder_holds_the_pixels_to_half_a_grey_level_and_says_what_it_lost(tmp_path):
    path, real, sets = own_result(tmp_path, labels=soft_labels())
    said = write_folder(tmp_path / "png", source_of(path), Choice(experiment=1))
    back, expected = read_set(tmp_path / "png"), raw_by_hand(sets[1][0], real)
    outside = int(((expected < 0) | (expected > 1)).sum())
    assert np.abs(back.sets[0].images.numpy() - expected.clip(0, 1)).max() <= 1 / 510 + 1e-6
    assert torch.equal(back.sets[0].labels, soft_labels().argmax(1)) and back.class_names == tuple("0123456789")
    assert f"{outside:,} of 1,280 values outside [0, 1] clamped" in said[0] and "most probable" in said[1]


def test_reference_layout_has_dense_sets_of_all_experiments_and_plain_accuracies(tmp_path):
    path, _, sets = own_result(tmp_path)
    write_reference(tmp_path / "out.pt", source_of(path), Choice())
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    assert list(content) == ["data", "accs_all_exps"] and type(content["data"][0]) is list
    for (images, labels), (expected, classes) in zip(content["data"], sets, strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, classes) and labels.dtype == torch.int64
    assert content["accs_all_exps"] == {"ConvNetD1": [0.5, 0.625, 0.75, 0.875]}
    assert all(type(value) is float for value in content["accs_all_exps"]["ConvNetD1"])
    assert len(load_result(tmp_path / "out.pt")["data"]) == 2
    back = read_set(tmp_path / "out.pt")
    assert back.layout == "reference" and torch.equal(back.sets[1].images, sets[1][0])


def test_reference_layout_of_factors_and_of_the_best_iteration(tmp_path):
    path, images = low_rank_result(tmp_path)
    write_reference(tmp_path / "out.pt", source_of(path), Choice())
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True)["data"][0][0], images)
    path, _, sets = own_result(tmp_path, best=True)
    write_reference(tmp_path / "best.pt", source_of(path), Choice(which="best"))
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    assert torch.equal(content["data"][1][0], -sets[1][0])
    assert content["accs_all_exps"] == {"ConvNetD1": [0.75, 0.25, 0.75, 0.25]}


def test_reference_layout_says_what_it_cannot_hold(tmp_path):
    path, _, _ = own_result(tmp_path, zca=True, labels=soft_labels(), syn_lr=[0.25, 0.125])
    said = "\n".join(write_reference(tmp_path / "out.pt", source_of(path), Choice()))
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True)["data"][0][1], soft_labels())
    for words in ("zca images of 2 experiments", "--space normalised", "probabilities (n, K)", "0.25, 0.125"):
        assert words in said


def test_layouts_that_cannot_hold_views_say_so_and_the_others_bring_them_back(tmp_path):
    path, _, _ = own_result(tmp_path)
    silent = [*write_reference(tmp_path / "plain.pt", source_of(path), Choice()),
              *write_folder(tmp_path / "plain", source_of(path), Choice())]
    assert not any("base" in line for line in silent)
    content = torch.load(path, weights_only=True)
    content["meta"]["options"] |= {"parameterization": "hallucinator", "n_style": 2}
    torch.save(content, path)
    told = "every 2 images in a row show one base, of which an epoch sees one"
    said = write_reference(tmp_path / "reference.pt", source_of(path), Choice())
    assert said[-1] == f"left out: that {told}; --format tensors says it"
    said = write_folder(tmp_path / "png", source_of(path), Choice())
    assert said[-1] == f"folders do not say that {told}; --format tensors does"
    for name in WRITERS:
        assert exported(source_of(path), tmp_path, name)[0].views == 2
    assert read_set(tmp_path / "reference.pt").views == 1


def test_reference_layout_has_the_data_sets_own_constants(tmp_path):
    images, other = drawn(20, 3, 8, 8), PUBLISHED["CIFAR10"]
    content = {"images": images, "labels": torch.arange(20) % 10, "space": "normalised", "dataset": "CIFAR100",
               "mean": other.mean, "std": other.std}
    torch.save(content, tmp_path / "some.pt")
    write_reference(tmp_path / "out.pt", source_of(tmp_path / "some.pt"), Choice())
    found = torch.load(tmp_path / "out.pt", weights_only=True)["data"][0][0]
    mean, std, own_mean, own_std = (np.array(values).reshape(3, 1, 1) for values in
                                    (other.mean, other.std, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)))
    expected = (images.double().numpy() * std + mean - own_mean) / own_std
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)
    kept, _ = exported(source_of(tmp_path / "some.pt"), tmp_path, "tensors")
    assert torch.equal(kept.sets[0].images, images) and kept.mean == other.mean          # which says so itself


def test_trajectory_matchings_cifar100_leaves_the_constants_of_cifar10_behind(tmp_path):
    images, folder = drawn(6, 3, 8, 8), tmp_path / "CIFAR100"
    folder.mkdir()
    torch.save(images, folder / "images_best.pt")
    torch.save(torch.arange(6), folder / "labels_best.pt")
    source = source_of(folder, space="normalised")
    raw, _ = exported(source, tmp_path, "tensors", space="raw")
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in
                 ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    assert torch.equal(raw.sets[0].images, (images.double() * std + mean).float())
    assert raw.mean == (0.5071, 0.4866, 0.4409)            # what to normalise them with, as the data set is
    kept, _ = exported(source, tmp_path, "tensors")
    assert torch.equal(kept.sets[0].images, images) and kept.mean == (0.4914, 0.4822, 0.4465)


@pytest.mark.parametrize("name", ["tensors", "safetensors", "reference"])
def test_equal_exports_are_equal_bytes(tmp_path, name):
    path, _, _ = own_result(tmp_path)
    write, ending = FORMATS[name].write, FORMATS[name].ending
    files = [tmp_path / f"{i}{ending}" for i in range(2)]
    for file in files:
        write(file, source_of(path), Choice())
    assert files[0].read_bytes() == files[1].read_bytes()
