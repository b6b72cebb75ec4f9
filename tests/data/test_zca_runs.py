"""ZCA where it is kept and used: the cache, the result file, and whole runs."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from condense.data import Whitening, load_data, zca
from condense.run.results import describe, load_result, save_result
from tests.data.whitened_by_hand import reference

RESULT = "res_DM_Digits_ConvNetW32_2ipc.pt"


# The cache

def test_fitting_is_announced_once_and_then_read(own_cache, caplog, monkeypatch, white):
    with caplog.at_level(logging.INFO, "condense"):
        first = load_data("Digits", zca=True)
        with monkeypatch.context() as patch:
            patch.setattr(Whitening, "fit", None)
            second = load_data("Digits", zca=True)
    assert [r.getMessage() for r in caplog.records] == ["fitting ZCA on 1,438 images (64 pixels each)"]
    assert torch.equal(first.images, second.images) and first.zca.fingerprint == second.zca.fingerprint
    assert first.zca.fingerprint == white.zca.fingerprint


@pytest.mark.parametrize("where, name", [(zca, "CODE"), (torch, "__version__")], ids=["code", "torch"])
def test_other_code_and_another_torch_fit_their_own(own_cache, monkeypatch, where, name):
    load_data("Digits", zca=True)
    monkeypatch.setattr(where, name, "0")
    load_data("Digits", zca=True)
    assert len(list(own_cache.glob("*.zca"))) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "header", "bracket", "mean", "vectors", "fingerprint"])
def test_a_damaged_cache_file_is_fitted_again_and_replaced(own_cache, caplog, damage):
    sound = load_data("Digits", zca=True)
    (path,) = own_cache.glob("*.zca")
    content = path.read_bytes()
    place = {"header": 30, "mean": 140, "vectors": len(content) // 2, "fingerprint": len(content) - 5}.get(damage, 0)
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]
    bracket = content[:100] + b"(" + content[101:]        # in the padding of the first header
    contents = {"cut": content[:-1000], "empty": b"", "text": b"no numbers", "bracket": bracket}
    path.write_bytes(contents.get(damage, flipped))
    caplog.clear()
    with caplog.at_level(logging.INFO, "condense"):
        again = load_data("Digits", zca=True)
    assert torch.equal(again.images, sound.images) and path.read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "fitting again: the cache file" in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch, caplog, white):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "file"))
    assert torch.equal(load_data("Digits", zca=True).images, white.images)
    assert "set CONDENSE_CACHE" in caplog.text


# The result file, and runs

def test_a_result_holds_what_restores_its_images(tmp_path, plain, white):
    batch = white.sample(white.classes, 2, torch.Generator().manual_seed(0))
    meta = describe(white, "DM", {"seed": 0, "zca": True}, {})
    save_result(tmp_path / "r.pt", [[batch.images(), batch.labels]], {}, meta)
    loaded = load_result(tmp_path / "r.pt")
    whitening = Whitening.from_state(loaded["meta"]["zca"])
    assert whitening.fingerprint == white.zca.fingerprint
    restored = whitening.restore(loaded["data"][0][0])
    assert (restored * 255 - plain.images[batch.index]).abs().max() < 0.01
    assert loaded["meta"]["mean"] is None and loaded["meta"]["std"] is None
    assert (tmp_path / "r.pt").stat().st_size < 4 * 64 * 66 + 20 * 64 * 4 + 8000       # one matrix, not three
    meta = describe(plain, "DM", {"seed": 0, "zca": False}, {})
    assert meta["zca"] is None and meta["mean"] == plain.mean


@pytest.mark.parametrize("change", [{"mean": torch.zeros(3)}, {"eigenvectors": torch.zeros(64, 3)}, {"eps": None},
                                    {"eigenvalues": "many"}, {"mean": torch.zeros(64).double()}], ids=repr)
def test_a_state_that_is_not_whole_is_refused(white, change):
    with pytest.raises(ValueError, match="whitening"):
        Whitening.from_state({**white.zca.state(), **change})
    with pytest.raises(ValueError, match="no ZCA whitening: KeyError"):
        Whitening.from_state({"eps": 0.1})


def test_dm_condenses_in_whitened_space_and_says_so(dm, tmp_path, white):
    result = dm.run(tmp_path, "--zca")
    assert result["meta"]["options"]["zca"] is True and result["meta"]["fingerprint"] == white.fingerprint
    assert Whitening.from_state(result["meta"]["zca"]).fingerprint == white.zca.fingerprint
    with Image.open(tmp_path / "vis_DM_Digits_ConvNetW32_2ipc_exp0_iter6.png") as picture:
        shown = np.asarray(picture.convert("L"))[2:34:4, 2:34:4]             # the first image, enlarged four times
    restored = white.denormalise(result["data"][0][0][0])[0]
    assert abs(shown / 255 - restored.numpy()).max() < 0.01


def test_a_zca_run_starts_from_whitened_real_images(dm, tmp_path, white):
    started = dm.run(tmp_path, "--zca", "--Iteration", "0")
    start = started["data"][0][0]
    apart = torch.cdist(start.flatten(1), white.images.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert apart.min(1).values.max() == 0


def test_a_fresh_and_a_cached_whitening_give_the_same_bytes(dm, tmp_path, own_cache, monkeypatch):
    dm.run(tmp_path / "a", "--zca")
    monkeypatch.setattr(Whitening, "fit", None)
    dm.run(tmp_path / "b", "--zca")
    assert (tmp_path / "a" / RESULT).read_bytes() == (tmp_path / "b" / RESULT).read_bytes()


def test_whitened_images_are_learned_from(dm, tmp_path):
    flags = ["--model", "MLP", "--Iteration", "0", "--ipc", "20", "--epoch_eval_train", "40", "--batch_train", "32"]
    (accuracies,) = dm.run(tmp_path, "--zca", *flags)["accs_all_exps"].values()
    assert min(accuracies) > 0.65                         # 0.1 is chance


def test_a_plain_result_is_not_replaced_by_a_whitened_one(dm, tmp_path, capsys):
    dm.run(tmp_path)
    code, line = dm.error_line(capsys, tmp_path, "--zca")
    assert code == 2 and "--zca was False, is True" in line


def test_dc_runs_in_whitened_space(dc, tmp_path):
    result = dc.run(tmp_path, "--zca")
    assert result["data"][0][0].isfinite().all() and result["meta"]["zca"]["eps"] == 0.1


def test_baselines_of_a_whitened_result_are_scored_on_whitened_images(dm, tmp_path, score):
    dm.run(tmp_path, "--zca", "--Iteration", "0")
    rows, printed = score(tmp_path / RESULT, "--stored", "--beside")
    saved = json.loads((tmp_path / RESULT.replace(".pt", "_baselines.json")).read_text())
    whitened = load_data("Digits", zca=True).fingerprint
    assert saved["fingerprint"] == rows[1]["data"]["fingerprint"] == whitened and "random real images" in printed


# Real data

def test_mnist_whitens_as_numpy_does(mnist_folder):
    plain, white = (load_data("MNIST", mnist_folder, zca=zca) for zca in (False, True))
    _, mean, values, forward, _ = reference(plain.images)
    sample = plain.test_images[:500].flatten(1).double().numpy() / 255
    np.testing.assert_allclose(white.test_images[:500].flatten(1).numpy(), (sample - mean) @ forward, atol=1e-4)
    np.testing.assert_allclose(white.zca.eigenvalues.flip(0).numpy(), values, rtol=0, atol=1e-5)
    assert (white.denormalise(white.test_images[:500]) * 255 - plain.test_images[:500]).abs().max() < 0.05
