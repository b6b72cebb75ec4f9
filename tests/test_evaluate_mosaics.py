"""evaluate.py and export.py on multi-formation's mosaics: those of its published code, of other makers and of ours."""

from types import SimpleNamespace

import pytest
import torch

import export
from condense.comparison.scored_set import Changes, ScoredSet
from condense.data import RealData, load_data
from condense.run.results import describe, save_result
from condense.run.script import run_script
from condense.sharing.layouts import read_set
from condense.sharing.loading import load_synthetic_set, place
from condense.sharing.spaces import Spaces
from tests.evaluated import QUICK, real_pixels

PUBLISHED = "mnist-10/conv3in_grad_l1_nd500_niter2000_factor2_mix_ipc10"
FORM = ["--parameterization", "multi_formation", "--factor", "2", "--ipc", "1", "--num_eval", "1", "--Iteration", "0",
        "--model", "ConvNetD1", "--epoch_eval_train", "1"]


def published(folder, number=1):
    """Write data.pt as multi-formation's code does, its pixels from -0.05 to 1.04; returns (path, pixels, labels)."""
    pixels, labels = real_pixels(number)
    pixels = -0.05 + 1.09 * pixels
    path = folder / PUBLISHED / "data.pt"
    path.parent.mkdir(parents=True)
    torch.save([pixels, labels], path)
    return path, pixels, labels


def recipe(row):
    return [row["recipe"][name] for name in ("schedule", "batch_size", "augmentation", "cutmix")]


IDC = ["idc", 64, "composed", 0.5]


@pytest.mark.parametrize("flags", [[], ["--space", "raw"]])
def test_a_published_set_of_ten_images_whose_pixels_strayed_is_decoded_and_scored_as_published(score, tmp_path, flags):
    path, pixels, labels = published(tmp_path)
    assert (pixels.min(), pixels.max()) == (pytest.approx(-0.05), pytest.approx(1.04))
    (row,), printed = score(path, "--dataset", "Digits", *QUICK, *flags)
    assert (row["protocol"], row["decode"], row["images"], row["space"]) == ("idc", 2, 40, "raw")
    assert recipe(row) == IDC and "its path says factor 2" in printed
    torch.save({"images": pixels, "labels": labels, "space": "raw", "decode": 2}, tmp_path / "said.pt")
    (same,), _ = score(tmp_path / "said.pt", "--dataset", "Digits", *QUICK, output=tmp_path / "said.json")
    assert (same["accuracies"], same["tensors_sha256"]) == (row["accuracies"], row["tensors_sha256"])


def test_sets_of_others_that_are_decoded_go_by_the_protocol_of_mosaics_and_the_rest_by_dsa(score, tmp_path):
    torch.save(real_pixels(1), tmp_path / "pair.pt")
    flags = ["--dataset", "Digits", "--space", "raw", *QUICK]
    said = [score(tmp_path / "pair.pt", *flags, *more, output=tmp_path / f"{i}.json")[0][0]
            for i, more in enumerate((["--decode", "2"], ["--decode", "1"], [], ["--decode", "2", "--protocol", "dc"]))]
    assert [(row["protocol"], row["images"]) for row in said] == [("idc", 40), ("dsa", 10), ("dsa", 10), ("dc", 40)]
    assert recipe(said[0]) == IDC


def test_mosaics_that_are_no_raw_pixels_ask_for_the_space_and_know_the_rest(score, score_error, tmp_path):
    path, pixels, labels = published(tmp_path)
    torch.save([3 * pixels - 1, labels], path)
    line = score_error(path, "--dataset", "Digits", *QUICK)
    assert "these run from -1.15 to 2.12; give --space normalised, zca or raw" in line and "too few" not in line
    (row,), _ = score(path, "--dataset", "Digits", "--space", "normalised", *QUICK)
    assert (row["protocol"], row["decode"], row["images"], row["space"]) == ("idc", 2, 40, "normalised")


# The protocol of mosaics follows data, network and number of images

def scored_set(file, name):
    """Return the `ScoredSet` of a file whose real data are called `name`."""
    images = torch.zeros(10, *file.sets[0].images.shape[1:], dtype=torch.uint8)
    channel = images.shape[1]
    real = RealData(name, images, torch.arange(10), images, torch.arange(10), list(map(str, range(10))),
                    [0.5] * channel, [0.25] * channel)
    return ScoredSet(file, place(file, Spaces(lambda zca: real)))


def foreign(folder, number, factor):
    path = folder / f"conv3in_factor{factor}_ipc{number}" / "data.pt"
    path.parent.mkdir()
    torch.save([torch.rand(10 * number, 1, 8, 8), torch.arange(10).repeat_interleave(number)], path)
    return read_set(path)


@pytest.mark.parametrize("name, factor, cutmix, strategy", [
    ("MNIST", 2, 0.0, "color_crop_scale_rotate"), ("MNIST", 3, 0.0, "color_crop_scale_rotate"),
    ("MNIST", 1, 0.5, "color_crop_scale_rotate"), ("FashionMNIST", 2, 0.5, "color_crop_flip_scale_rotate")])
def test_mosaics_of_mnist_are_scored_without_cutmix(tmp_path, name, factor, cutmix, strategy):
    (protocol,) = scored_set(foreign(tmp_path, 1, factor), name).protocols(["ConvNetD1"], Changes()).values()
    assert (protocol.cutmix, protocol.strategy, protocol.epochs) == (cutmix, strategy, 1000)


@pytest.mark.parametrize("number, factor, epochs", [(50, 2, 400), (49, 2, 1000), (50, 1, 1000)])
def test_densenet_trains_for_400_epochs_on_fifty_mosaics_of_a_class(tmp_path, number, factor, epochs):
    protocols = scored_set(foreign(tmp_path, number, factor), "CIFAR10").protocols(["ConvNetD1", "DenseNet"], Changes())
    assert [protocol.epochs for protocol in protocols.values()] == [1000, epochs]


def own_mosaics(folder, number, asked):
    """Write a result as main_IDC.py does, `number` mosaics of a class, scored for `asked` epochs; returns its path."""
    real = load_data("Digits")
    told = {"epochs": 1000 if asked == "auto" else asked, "lr": 0.02, "batch_size": 64, "schedule": "idc",
            "augmentation": "composed", "strategy": "crop", "cutmix": 0.5}
    options = {"seed": 0, "dataset": "Digits", "model": "ConvNetD1", "ipc": number, "num_eval": 1, "factor": 2,
               "parameterization": "multi_formation", "epoch_eval_train": asked, "Iteration": 0}
    meta = describe(real, "IDC", options, {"floats": 1, "bytes": 4}, protocols={"ConvNetD1": told})
    save_result(folder / "r.pt", [[torch.rand(40 * number, 1, 8, 8), torch.arange(10).repeat_interleave(4 * number)]],
                {"ConvNetD1": [0.5]}, meta)
    return folder / "r.pt"


@pytest.mark.parametrize("number, asked, epochs", [(50, "auto", [1000, 400]), (10, "auto", [1000, 1000]),
                                                   (50, 7, [7, 7])])
def test_networks_that_our_run_did_not_score_get_the_epochs_it_would_have_given_them(tmp_path, number, asked, epochs):
    scored = scored_set(read_set(own_mosaics(tmp_path, number, asked)), "Digits")
    found = list(scored.protocols(["ConvNetD1", "DenseNet"], Changes()).values())
    assert [protocol.epochs for protocol in found] == epochs
    assert {(protocol.lr, protocol.strategy) for protocol in found} == {(0.02, "crop")}    # as the run was told to
    named = scored_set(read_set(own_mosaics(tmp_path, 1, asked)), "MNIST").protocols(["ConvNetD1"], Changes("idc"))
    assert named["ConvNetD1"].cutmix == 0                  # mosaics, though they are decoded already


# What is decoded already

def exported(path, folder, *flags):
    """Export the set at `path`; returns {format: what was written}."""
    run_script(export.main, export.Config, export.__doc__,
               [str(path), "--format", "tensors", "safetensors", "folder", "--to", str(folder), "--no-progress",
                *map(str, flags)])
    endings = {"tensors": ".tensors.pt", "safetensors": ".safetensors", "folder": "_png"}
    return {name: next(each for each in folder.iterdir() if each.name.endswith(ending))
            for name, ending in endings.items()}


def test_results_of_ours_and_what_is_exported_are_not_decoded_again(score, score_error, dm, tmp_path, capsys):
    dm.run(tmp_path, *FORM)
    own = dm.path(tmp_path)
    for path in (own, *exported(own, tmp_path / "out").values()):
        line = score_error(path, "--dataset", "Digits", *QUICK, "--decode", "2")
        assert line.endswith(f"{path} holds decoded images already; leave --decode out")
        with pytest.raises(ValueError, match="leave --decode out"):
            load_synthetic_set(path, decode=2)
        with pytest.raises(SystemExit) as stop:
            exported(path, tmp_path / "again", "--decode", "2")
        assert stop.value.code == 2 and "leave --decode out" in capsys.readouterr().err
        assert not (tmp_path / "again").exists() and not (tmp_path / "scores.json").exists()
    (row,), _ = score(own, *QUICK, "--decode", "1")
    assert (row["images"], row["decode"]) == (40, 1)


def test_what_is_exported_of_a_published_set_keeps_its_protocol(tmp_path, capsys):
    path, _, _ = published(tmp_path)
    written = exported(path, tmp_path / "out", "--dataset", "Digits")
    for each in written.values():
        file = read_set(each)
        assert (file.decode, file.decoded, len(file.sets[0].images)) == (1, 2, 40)
        assert ScoredSet(file, place(file, Spaces(lambda zca: load_data("Digits")))).protocol_name(Changes()) == "idc"


def test_the_script_scores_by_the_number_of_images_in_the_place_of_one(monkeypatch, tmp_path):
    import main_IDC
    from tests.idc_runs import script
    handed = SimpleNamespace()

    def stop(real, protocols, *args):
        handed.protocols = protocols
        raise ValueError("enough")

    monkeypatch.setattr(main_IDC, "Scorer", stop)
    monkeypatch.setattr(main_IDC, "eval_pool", lambda mode, model: ("ConvNetD1", "DenseNet"))
    for factor, ipc, epochs in ((2, 50, 400), (2, 49, 1000), (1, 50, 1000)):
        with pytest.raises((ValueError, SystemExit)):
            script("--ipc", str(ipc), "--epoch_eval_train", "auto").run(tmp_path, "--factor", str(factor))
        assert [protocol.epochs for protocol in handed.protocols.values()] == [1000, epochs]
