"""Sets of every layout are recognised and read as they are (image folders: test_image_tree.py)."""

import json

import numpy as np
import pytest
import torch

from condense.run.results import describe, save_result
from condense.sharing.layouts import read_set
from condense.synthetic import build_synthetic, stored_factors

CLASSES, IPC = 3, 2
LABELS = torch.arange(CLASSES).repeat_interleave(IPC)
ACCURACIES = {"ConvNet": [0.5, 0.25]}


def images(seed=0, n=CLASSES * IPC, raw=False):
    drawn = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return drawn.sigmoid() if raw else drawn


def saved(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def same(one, expected_images, expected_labels=LABELS):
    return torch.equal(one.images, expected_images) and torch.equal(one.labels, expected_labels)


def refusal(path, **options):
    """Return the line that `path` is refused with."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_set(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path if path.is_file() else path.parent) in message
    return message


# Result files: ours and the reference's

@pytest.fixture(scope="module")
def digits():
    from condense.data import load_data
    return load_data("Digits")


def meta_of(digits, **more):
    options = {"seed": 0, "dataset": "Digits", "model": "MLP", "ipc": 2}
    return describe(digits, "DM", options, {"floats": 1, "bytes": 4}, **more)


def test_our_result_comes_with_all_that_its_meta_says(tmp_path, digits):
    sets = [[images(0), LABELS], [images(1), LABELS]]
    meta = meta_of(digits, syn_lr=[0.5, 0.25], best=[{"syn_lr": 0.75}, {"syn_lr": 1.5}])
    save_result(tmp_path / "any name.pt", sets, ACCURACIES, meta, best=[[images(2), LABELS], [images(3), LABELS]])
    file = read_set(tmp_path / "any name.pt")
    assert (file.layout, file.dataset, file.method, file.model, file.ipc) == ("result", "Digits", "DM", "MLP", 2)
    assert file.accuracies == ACCURACIES and file.meta == meta
    assert (file.space, file.decode, file.zca) == ("normalised", 1, None)
    assert (file.mean, file.std) == (tuple(digits.mean), tuple(digits.std))
    assert file.class_names == tuple("0123456789")
    assert same(file.sets[0], images(0)) and same(file.sets[1], images(1)) and same(file.best[1], images(3))
    assert [one.lr for one in (*file.sets, *file.best)] == [0.5, 0.25, 0.75, 1.5]


def test_factors_alone_are_decoded_and_kept(tmp_path, digits):
    synthetic = build_synthetic("low_rank", digits, 2, "noise", torch.Generator().manual_seed(0), rank=2)
    factors = stored_factors(synthetic)
    save_result(tmp_path / "r.pt", [], ACCURACIES, meta_of(digits), factors=[factors])
    (one,) = read_set(tmp_path / "r.pt").sets
    assert torch.equal(one.images, synthetic.images().detach()) and torch.equal(one.labels, synthetic.labels)
    assert torch.equal(one.factors["a"], factors["a"])


def test_soft_labels_of_a_result_stay_probabilities(tmp_path, digits):
    soft = torch.rand(6, 10, generator=torch.Generator().manual_seed(0)).softmax(1)
    save_result(tmp_path / "r.pt", [[images(), soft]], {}, meta_of(digits))
    file = read_set(tmp_path / "r.pt")
    assert same(file.sets[0], images(), soft) and "logits" not in file.known_by


def test_a_result_of_whitened_images_brings_its_transform(tmp_path, digits):
    import copy

    from condense.data import Whitening
    white = copy.copy(digits)
    white.whiten(Whitening.fit(digits.images))
    save_result(tmp_path / "r.pt", [[images(), LABELS]], {}, meta_of(white))
    file = read_set(tmp_path / "r.pt")
    assert (file.space, file.mean, file.std) == ("zca", None, None)
    assert Whitening.from_state(file.zca).fingerprint == white.zca.fingerprint


@pytest.mark.parametrize("name, said", [
    ("res_DSA_CIFAR10_ConvNet_10ipc.pt", ("DSA", "CIFAR10", "ConvNet", 10)),
    ("res_DM_CIFAR100_ResNet18BN_AP_50ipc.pt", ("DM", "CIFAR100", "ResNet18BN_AP", 50)),
    ("my_own_new_10ipc.pt", (None, None, None, None)),
    ("somebody's set.pt", (None, None, None, None))])
def test_a_reference_file_is_read_with_what_its_name_says(tmp_path, name, said):
    scores = {"ConvNet": [np.float64(0.5), np.float64(0.25)]}
    path = saved(tmp_path / name, {"data": [[images(s), LABELS] for s in range(5)], "accs_all_exps": scores})
    file = read_set(path)
    assert (file.layout, file.space, file.meta) == ("reference", None, None)
    assert (file.method, file.dataset, file.model, file.ipc) == said
    assert file.accuracies == ACCURACIES and type(file.accuracies["ConvNet"][0]) is float
    assert [same(one, images(s)) for s, one in enumerate(file.sets)] == [True] * 5


@pytest.mark.parametrize("name", ["cl_DM_CIFAR100_ConvNet_20ipc_3steps_seed0.pt",
                                  "cl_res_DSA_CIFAR100_ConvNet_20ipc_3steps_seed4.pt", "memory.pt"])
def test_steps_of_continual_learning_are_told_from_experiments(tmp_path, name):
    steps = [[images(s, 2), torch.tensor([7 - s, 7 - s])] for s in range(3)]
    file = read_set(saved(tmp_path / name, {"data": steps}))
    assert file.layout == "steps" and [one.labels.tolist() for one in file.sets] == [[7, 7], [6, 6], [5, 5]]
    if name != "memory.pt":
        assert (file.method, file.ipc) == ("DSA" if "DSA" in name else "DM", 20)


# Trajectory matching

def run_folder(folder, tags=("best", "100", "1000"), **extra):
    for number, tag in enumerate(tags):
        saved(folder / f"images_{tag}.pt", images(number))
        saved(folder / f"labels_{tag}.pt", LABELS)
    for name, content in extra.items():
        saved(folder / f"{name}.pt", content)
    return folder


def test_of_a_run_the_best_set_is_taken_else_that_of_the_highest_number(tmp_path):
    file = read_set(run_folder(tmp_path / "a"))
    assert file.layout == "mtt" and same(file.sets[0], images(0)) and same(file.best[0], images(0))
    file = read_set(run_folder(tmp_path / "b", ("1000", "200")))
    assert file.path.name == "images_1000.pt" and same(file.sets[0], images(0)) and file.best == ()
    file = read_set(tmp_path / "a" / "images_100.pt")
    assert same(file.sets[0], images(1)) and file.space is None


def test_the_data_set_is_that_of_the_folder(tmp_path):
    folder = run_folder(tmp_path / "logged_files" / "CIFAR100" / "polar-sun-7")
    assert read_set(folder).dataset == "CIFAR100"
    assert read_set(run_folder(tmp_path / "Tiny" / "run")).dataset == "TinyImageNet"
    assert read_set(run_folder(tmp_path / "folder" / "run")).dataset is None


@pytest.mark.parametrize("name, value", [("lr_best", torch.tensor(0.5)), ("syn_lr_best", torch.tensor([0.5])),
                                         ("syn_lr", 0.5)])
def test_the_learned_step_size_is_found(tmp_path, name, value):
    folder = run_folder(tmp_path, **{name: value, "lr_1000": torch.tensor(7.0)})
    file = read_set(folder)
    assert file.sets[0].lr == 0.5 and f"{name}.pt" in file.known_by
    assert read_set(run_folder(tmp_path / "none")).sets[0].lr is None


def test_images_named_after_zca_are_pixels_taken_back(tmp_path):
    folder = run_folder(tmp_path, images_zca_best=images(9))
    file = read_set(folder / "images_zca_best.pt")
    assert file.space == "raw" and same(file.sets[0], images(9)) and "images_zca_" in file.said_by
    assert same(read_set(folder).sets[0], images(0))


def test_float_labels_are_probabilities_or_logits_by_their_rows(tmp_path):
    drawn = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    for labels, remark in ((drawn, "logits"), (drawn.abs(), "logits"), (drawn.softmax(1), "probabilities")):
        file = read_set(run_folder(tmp_path, labels_best=labels))
        expected = labels if remark == "probabilities" else labels.exp() / labels.exp().sum(1, keepdim=True)
        assert torch.allclose(file.sets[0].labels, expected, atol=1e-6) and remark in file.known_by


def test_labels_elsewhere_are_named(tmp_path):
    path = saved(tmp_path / "a" / "images_best.pt", images())
    assert "--labels" in refusal(path)
    elsewhere = saved(tmp_path / "b" / "y.pt", LABELS)
    assert same(read_set(path, elsewhere).sets[0], images())
    bare = saved(tmp_path / "x.pt", images())
    assert "--labels" in refusal(bare)
    assert same(read_set(bare, elsewhere).sets[0], images())
    pair = saved(tmp_path / "pair.pt", (images(), LABELS))
    assert "leave --labels" in refusal(pair, labels=elsewhere)
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_set(path, tmp_path / "absent.pt")


# Multi-formation

@pytest.mark.parametrize("place, factor", [
    ("conv3in_grad_mse_nd2000_cut_niter2000_factor2_lr0.005_ipc10/data_best.pt", 2), ("cifar10_f3/data.pt", 3),
    ("cifar10_ipc10_f2.pt", 2), ("run/data.pt", None), ("conv3in_lr0.005/data_best.pt", None),
    ("conv3in_f2_mse_nd500_cut_factor1_lr0.005_random_ipc10/data.pt", 1)])         # _f2 are the features matched
def test_mosaics_are_raw_not_decoded_and_their_factor_comes_from_the_path(tmp_path, place, factor):
    path = saved(tmp_path / place, [images(raw=True), LABELS])
    file = read_set(path)
    assert (file.layout, file.space, file.decode) == ("idc", "raw", factor)
    assert same(file.sets[0], images(raw=True)) and len(file.best) == (path.name == "data_best.pt")
    if path.name.startswith("data"):
        assert read_set(path.parent).path == path


PUBLISHED = "mnist-10/conv3in_grad_l1_nd500_niter2000_factor2_mix_ipc10/data.pt"


@pytest.mark.parametrize("place, factor", [(PUBLISHED, 2), ("run/data.pt", None), ("mine_f2.pt", 2)])
def test_raw_pixels_that_strayed_since_they_were_clamped_are_known_and_kept(tmp_path, place, factor):
    strayed = torch.linspace(-0.05, 1.04, 6 * 64).view(6, 1, 8, 8)
    strayed[0, 0, 0, 0] = -2                               # a single pixel that ran away changes nothing
    file = read_set(saved(tmp_path / place, [strayed, LABELS]))
    assert (file.layout, file.space, file.decode) == ("idc", "raw", factor)
    assert same(file.sets[0], strayed)


def sparse(mean, std):
    """Images of a black background with a fifth of white, normalised: nearer to raw pixels than photographs are."""
    white = torch.zeros(6, 1, 8, 8)
    white.view(-1)[::5] = 1
    return (white - mean) / std


@pytest.mark.parametrize("pixels", [images(), sparse(0.1307, 0.3081), sparse(0.4377, 0.198)])
def test_a_list_of_normalised_images_is_no_mosaic(tmp_path, pixels):
    for name in ("data.pt", "mine_f2.pt"):
        file = read_set(saved(tmp_path / name, [pixels, LABELS]))
        assert (file.layout, file.space, file.decode) == ("tensors", None, 1)


def test_where_name_and_path_are_those_of_mosaics_other_pixels_leave_the_space_open_and_nothing_else(tmp_path):
    file = read_set(saved(tmp_path / PUBLISHED, [images(), LABELS]))
    assert (file.layout, file.space, file.said_by, file.decode) == ("idc", None, None, 2)
    assert "raw" not in file.known_by and "its path says factor 2" in file.known_by


# Plain tensors, safetensors

@pytest.mark.parametrize("pair", [(images(), LABELS), [images(), LABELS], (images(), LABELS.float()),
                                  (images().double(), LABELS.to(torch.uint8)), (images(), LABELS[:, None])])
def test_a_pair_of_images_and_labels_is_a_set(tmp_path, pair):
    file = read_set(saved(tmp_path / "x.pt", pair))
    assert file.layout == "tensors" and same(file.sets[0], images())
    assert file.sets[0].images.dtype == torch.float32 and file.sets[0].labels.dtype == torch.int64


def test_bytes_are_raw_pixels(tmp_path):
    pixels = torch.arange(6 * 64).view(6, 1, 8, 8).remainder(256).to(torch.uint8)
    file = read_set(saved(tmp_path / "x.pt", (pixels, LABELS)))
    assert file.space == "raw" and torch.equal(file.sets[0].images, pixels.float() / 255)


SAID = {"space": "normalised", "mean": [0.5], "std": [0.25], "class_names": ["a", "b", "c"], "lr": 0.125,
        "dataset": "Digits", "method": "DM", "model": "MLP", "ipc": 2}


def is_what_was_said(file):
    assert (file.space, file.mean, file.std, file.class_names) == ("normalised", (0.5,), (0.25,), ("a", "b", "c"))
    assert (file.dataset, file.method, file.model, file.ipc) == ("Digits", "DM", "MLP", 2)
    return same(file.sets[0], images()) and file.sets[0].lr == 0.125


def test_a_dict_says_what_it_says(tmp_path):
    file = read_set(saved(tmp_path / "x.pt", {"images": images(), "labels": LABELS, **SAID}))
    assert file.layout == "tensors" and is_what_was_said(file)
    bare = read_set(saved(tmp_path / "y.pt", {"images": images(), "labels": LABELS}))
    assert (bare.space, bare.mean, bare.class_names, bare.sets[0].lr) == (None, None, None, None)


def test_safetensors_say_it_in_their_header(tmp_path):
    from safetensors.torch import save_file
    tensors = {"images": images(), "labels": LABELS}
    save_file(tensors, tmp_path / "x.safetensors", {"condense": json.dumps(SAID)})
    file = read_set(tmp_path / "x.safetensors")
    assert file.layout == "safetensors" and is_what_was_said(file)
    zca = {"mean": torch.zeros(64), "eigenvectors": torch.eye(64), "eigenvalues": torch.ones(64)}
    save_file({**tensors, **{f"zca.{name}": tensor for name, tensor in zca.items()}}, tmp_path / "z.safetensors",
              {"condense": json.dumps({"space": "zca", "zca": {"eps": 0.25}})})
    file = read_set(tmp_path / "z.safetensors")
    assert file.space == "zca" and file.zca["eps"] == 0.25 and torch.equal(file.zca["eigenvectors"], torch.eye(64))


def test_without_its_package_safetensors_name_it(tmp_path, monkeypatch):
    import sys
    (tmp_path / "x.safetensors").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "pip install safetensors" in refusal(tmp_path / "x.safetensors")


BAD_SAYINGS = {"space": "white", "mean": [0.1, 0.2], "std": "many", "class_names": 3, "lr": -1.0, "dataset": 3,
               "zca": [1], "ipc": "two"}


@pytest.mark.parametrize("name", BAD_SAYINGS)
def test_a_dict_that_says_nonsense_is_refused(tmp_path, name):
    content = {"images": images(), "labels": LABELS, name: BAD_SAYINGS[name]}
    assert len(refusal(saved(tmp_path / "x.pt", content))) < 300
