"""ZCA: the map against an independent one, and whitened sets."""


import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data import RealData, Whitening, load_data, zca
from condense.data.coresets import choose_coreset
from tests.data.whitened_by_hand import random_pixels, reference

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
