"""ZCA: the map against an independent one, whitened sets, the cache, the result file, and whole runs."""

import json
import logging
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import main_DM
from condense.coresets import choose_coreset
from condense.data import RealData, Whitening, load_data, zca
from condense.results import describe, load_result, save_result

RESULT = "res_DM_Digits_ConvNetW32_2ipc.pt"


def random_pixels(count, channels=3, side=4, seed=0):
    """Neighbouring pixels are alike, as in images, and one is constant."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=rng)
    pixels[..., 1:] = (pixels[..., 1:] + 3 * pixels[..., :-1]) // 4
    pixels[:, 0, 0, 0] = 77
    return pixels.to(torch.uint8)


def reference(pixels, eps=0.1):
    """(rows in [0, 1], mean, eigenvalues, T, T_inv) in float64, by NumPy's covariance and SVD."""
    rows = pixels.numpy().reshape(len(pixels), -1).astype(np.float64) / 255
    vectors, values, _ = np.linalg.svd(np.cov(rows, rowvar=False))
    return (rows, rows.mean(0), values, vectors @ np.diag((values + eps) ** -0.5) @ vectors.T,
            vectors @ np.diag((values + eps) ** 0.5) @ vectors.T)


@pytest.fixture(scope="module")
def plain():
    return load_data("Digits")


@pytest.fixture(scope="module")
def white():
    return load_data("Digits", zca=True)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "zca"


@pytest.fixture
def no_fit(monkeypatch):
    """From here on nothing may be fitted."""
    def refuse(*args):
        raise AssertionError("fitted again")
    monkeypatch.setattr(Whitening, "fit", refuse)


# The map

@pytest.mark.parametrize("kind", ["Digits", "many", "wide", "few"])
def test_whitening_and_its_inverse_equal_numpys_in_float64(plain, kind):
    """'many' takes several blocks of images, 'wide' several panels of the covariance, 'few' has no full rank."""
    pixels = {"Digits": lambda: plain.images, "many": lambda: random_pixels(2 * zca.EXACT_ROWS + 7),
              "wide": lambda: random_pixels(900, side=14), "few": lambda: random_pixels(5, side=6)}[kind]()
    rows, mean, values, forward, inverse = reference(pixels)
    whitening = Whitening.fit(pixels)
    whitened = whitening.whiten(pixels.float() / 255)
    assert whitened.dtype == torch.float32 and whitened.shape == pixels.shape
    expected = (rows - mean) @ forward
    np.testing.assert_allclose(whitened.flatten(1).numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(whitening.eigenvalues.flip(0).numpy(), values, rtol=0, atol=1e-6)
    restored = whitening.restore(torch.from_numpy(expected).float().view(pixels.shape))
    np.testing.assert_allclose(restored.flatten(1).numpy(), expected @ inverse + mean, rtol=0, atol=1e-5)


def test_covariance_of_whitened_training_images_has_eigenvalues_s_over_s_plus_a_tenth(plain, white):
    values = reference(plain.images)[2]
    covariance = np.cov(white.images.flatten(1).double().numpy(), rowvar=False)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance)[::-1], values / (values + 0.1), rtol=0, atol=1e-5)
    assert abs(white.images.mean(0)).max() < 1e-5


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 40), channels=st.integers(1, 3), side=st.integers(1, 5), seed=st.integers(0, 999))
def test_restore_undoes_whiten_for_any_images_however_few_were_fitted(count, channels, side, seed):
    whitening = Whitening.fit(random_pixels(count, channels, side, seed))
    images = 3 * torch.rand(6, channels, side, side, generator=torch.Generator().manual_seed(seed)) - 1
    assert (whitening.restore(whitening.whiten(images)) - images).abs().max() < 1e-4


@settings(deadline=None, max_examples=25)
@given(count=st.integers(2, 60), seed=st.integers(0, 999))
def test_covariance_is_that_of_whole_numbers_to_the_bit_whatever_the_order_of_images(count, seed):
    pixels = random_pixels(count, side=3, seed=seed)
    rows = pixels.flatten(1).long()
    exact = count * rows.T @ rows - rows.sum(0)[:, None] * rows.sum(0)
    covariance, mean = zca._upper_covariance(pixels)
    assert torch.equal(covariance.triu(), (exact.double() / (count * (count - 1) * 255**2)).triu())
    np.testing.assert_allclose(mean.numpy(), rows.double().mean(0).numpy() / 255, rtol=1e-14)
    shuffled = pixels[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]
    assert Whitening.fit(shuffled).fingerprint == Whitening.fit(pixels).fingerprint


def test_gradients_of_both_ways_are_the_matrices():
    pixels = random_pixels(50, channels=1, side=3)
    *_, forward, inverse = reference(pixels)
    whitening, images = Whitening.fit(pixels), torch.rand(1, 3, 3)
    for way, matrix in ((whitening.whiten, forward), (whitening.restore, inverse)):
        jacobian = torch.autograd.functional.jacobian(way, images).view(9, 9)
        np.testing.assert_allclose(jacobian.numpy(), matrix.T, atol=1e-5)


def test_batches_of_any_shape_are_mapped_alike():
    whitening, images = Whitening.fit(random_pixels(50)), torch.rand(2, 5, 3, 4, 4)
    for way in (whitening.whiten, whitening.restore):
        together = way(images)
        assert together.shape == images.shape
        torch.testing.assert_close(way(images[1, 2]), together[1, 2], rtol=0, atol=1e-5)
        torch.testing.assert_close(way(images.to(memory_format=torch.contiguous_format)[0]), together[0])


def test_arithmetic_of_the_networks_leaves_whitening_in_full_precision():
    whitening, images = Whitening.fit(random_pixels(50)), torch.rand(5, 3, 4, 4)
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            whitened = whitening.whiten(images)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert torch.equal(whitened, Whitening.fit(random_pixels(50)).whiten(images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_fits_and_whitens_as_a_cpu_does(white):
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        pixels = load_data("Digits").images
        assert torch.equal(zca._upper_covariance(pixels.cuda())[0].cpu(), zca._upper_covariance(pixels)[0])
        whitening = Whitening.fit(pixels.cuda())
        whitened = whitening.whiten(pixels.cuda().float() / 255)
        torch.testing.assert_close(whitened.cpu(), white.images, rtol=0, atol=1e-4)
        torch.testing.assert_close(whitening.restore(whitened).cpu(), pixels.float() / 255, rtol=0, atol=1e-4)
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def test_images_of_another_size_are_refused_with_the_mend():
    whitening = Whitening.fit(random_pixels(9))
    with pytest.raises(ValueError, match=r"for images of 48 values, not \(2, 3, 8, 8\); take the one fitted on"):
        whitening.whiten(torch.zeros(2, 3, 8, 8))


def test_a_matrix_beyond_reach_is_refused_with_the_mend_and_64x64_is_not():
    zca.require_practical(3, 64, 64)
    with pytest.raises(ValueError, match=r"49,152 x 49,152 numbers \(9.7 GB\); leave --zca out, or .*--im_size 73"):
        Whitening.fit(torch.zeros(2, 3, 128, 128, dtype=torch.uint8))


@pytest.mark.parametrize("name, side", [("ImageNet", None), ("folder", 160)])
def test_what_is_too_large_is_refused_before_anything_is_read(tmp_path, name, side):
    with pytest.raises(ValueError, match="leave --zca out"):
        load_data(name, tmp_path / "absent", im_size=side, zca=True)


# Whitened sets

def test_both_parts_are_whitened_by_the_training_part(plain, white):
    _, mean, _, forward, _ = reference(plain.images)
    for pixels, images in ((plain.images, white.images), (plain.test_images, white.test_images)):
        expected = (pixels.flatten(1).double().numpy() / 255 - mean) @ forward
        np.testing.assert_allclose(images.flatten(1).numpy(), expected, rtol=0, atol=1e-5)
    assert white.images.dtype == white.test_images.dtype == torch.float32
    assert torch.equal(plain.labels, white.labels) and (plain.mean, plain.std) == (white.mean, white.std)
    assert white.spec == plain.spec and "whitened" in repr(white) and "whitened" not in repr(plain)


def test_every_way_to_images_gives_the_same_whitened_ones(plain, white):
    ours, theirs = (real.sample(real.classes, 5, torch.Generator().manual_seed(1)) for real in (white, plain))
    assert torch.equal(ours.index, theirs.index)
    assert torch.equal(ours.images(), white.images[ours.index])
    assert torch.equal(ours.images(slice(3, 9)), ours.images()[3:9])
    assert torch.equal(white.batch_of([7, 3]).images(), white.images[[7, 3]])
    assert torch.equal(torch.cat([images for images, _ in white.test_batches(100)]), white.test_images)
    assert torch.equal(torch.cat([labels for _, labels in white.test_batches(100)]), plain.test_labels)
    torch.testing.assert_close(white.normalise(plain.images), white.images, rtol=0, atol=1e-5)
    assert torch.equal(white.normalise(white.images[4]), white.images[4])


def test_denormalise_gives_the_pixels_back_and_clamps(plain, white):
    assert (white.denormalise(white.images) * 255 - plain.images).abs().max() < 0.01
    extreme = white.denormalise(50 * white.images[:20])
    assert (extreme.min(), extreme.max()) == (0, 1)
    images = white.images[:2].clone().requires_grad_()
    white.denormalise(images).sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().max() > 0


def test_coresets_are_chosen_among_whitened_images(white):
    rows = choose_coreset(white, "herding", 2, torch.nn.Flatten(), 64, None)
    members = white.images[white.labels == 4].flatten(1)
    first = (members - members.mean(0)).norm(dim=1).argmin()
    assert rows[8] == white.class_starts[4] + first and len(rows) == 20


def test_fingerprint_is_the_same_each_time_and_another_than_of_the_plain_set(plain, white):
    assert load_data("Digits", zca=True).fingerprint == white.fingerprint != plain.fingerprint
    assert load_data("Digits").fingerprint == plain.fingerprint
    other, weaker = load_data("Digits"), white.zca.state()
    other.whiten(Whitening.from_state({**weaker, "eps": 0.2}))
    assert other.fingerprint != white.fingerprint


def test_a_set_is_whitened_once(white):
    with pytest.raises(ValueError, match="Digits is whitened already"):
        white.whiten(white.zca)


def test_classes_in_any_order_whiten_alike():
    pixels, labels = random_pixels(40), torch.arange(40) % 4
    sets = [RealData("toy", pixels[order].clone(), labels[order], pixels[:4], labels[:4], list("abcd"))
            for order in (torch.arange(40), torch.arange(40).flip(0))]
    first, second = (Whitening.fit(real.images) for real in sets)
    assert first.fingerprint == second.fingerprint


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


def test_baselines_of_a_whitened_result_are_scored_on_whitened_images(dm, tmp_path, monkeypatch, capsys):
    dm.run(tmp_path, "--zca", "--Iteration", "0")
    script = Path(main_DM.__file__).parent / "scripts" / "baselines.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / RESULT), "--save", "--device", "cpu"])
    runpy.run_path(str(script), run_name="__main__")
    saved = json.loads((tmp_path / RESULT.replace(".pt", "_baselines.json")).read_text())
    assert saved["fingerprint"] == load_data("Digits", zca=True).fingerprint and "random real images" in \
        capsys.readouterr().out


# Real data

def test_mnist_whitens_as_numpy_does(mnist_folder):
    plain, white = (load_data("MNIST", mnist_folder, zca=zca) for zca in (False, True))
    _, mean, values, forward, _ = reference(plain.images)
    sample = plain.test_images[:500].flatten(1).double().numpy() / 255
    np.testing.assert_allclose(white.test_images[:500].flatten(1).numpy(), (sample - mean) @ forward, atol=1e-4)
    np.testing.assert_allclose(white.zca.eigenvalues.flip(0).numpy(), values, rtol=0, atol=1e-5)
    assert (white.denormalise(white.test_images[:500]) * 255 - plain.test_images[:500]).abs().max() < 0.05
