"""Images brought to another size: against interpolation written out in float64, in blocks, and in a run."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import main_DD
from condense.data import load_data, pixels
from condense.data.pixels import TIE, resized
from tests.conftest import Script


def random_pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def weights(length, target):
    """Return the (target, length) matrix of bilinear interpolation: a triangle as wide as what is left out."""
    scale = length / target
    reach, matrix = max(scale, 1), np.zeros((target, length))
    for i in range(target):
        for j in range(length):
            matrix[i, j] = max(0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / reach)
        matrix[i] /= matrix[i].sum()
    return matrix


def interpolated(images, side, how):
    """Return float64 (N, C, side, side), written out."""
    height, width = images.shape[2:]
    short = min(height, width)
    high, wide = (side, side) if how == "squash" else (side * height // short, side * width // short)
    found = np.einsum("ih,nchw,jw->ncij", weights(height, high), images.double().numpy(), weights(width, wide))
    top, left = round((high - side) / 2), round((wide - side) / 2)
    return found[:, :, top:top + side, left:left + side]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 24), st.sampled_from(["crop", "squash"]),
       st.integers(0, 2**32 - 1))
@example(6, 2, 1, "crop", 0)                               # one pixel wide, and higher than that before the cut
def test_pixels_are_those_of_bilinear_interpolation_with_antialiasing_rounded(height, width, side, how, seed):
    images = random_pixels(2, 3, height, width, seed=seed)
    found, expected = resized(images, side, how), interpolated(images, side, how)
    assert found.dtype == torch.uint8 and found.shape == (2, 3, side, side) and found.is_contiguous()
    fraction = expected - np.floor(expected)
    clear = np.abs(fraction - (0.5 - TIE)) > 1e-4          # else float32 may fall on either side
    assert (found.numpy() == np.floor(expected + 0.5 + TIE))[clear].all()
    assert np.abs(found.double().numpy() - expected).max() < 0.5 + 2 * TIE


def test_images_of_the_size_asked_for_are_returned_as_they_are():
    images = random_pixels(3, 1, 8, 8)
    assert resized(images, 8) is images and resized(images, 8, "squash") is images


def test_a_set_is_resized_block_by_block_to_the_same_pixels(monkeypatch):
    images = random_pixels(50, 3, 12, 9)
    whole, sizes, original = resized(images, 7), [], torch.nn.functional.interpolate
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 2 * 8 * 4 * 3 * 12 * 9)
    monkeypatch.setattr(pixels.F, "interpolate", lambda block, *how, **more: sizes.append(len(block)) or
                        original(block, *how, **more))
    assert torch.equal(resized(images, 7), whole) and sizes == [8] * 6 + [2]


def test_ties_are_rounded_up_wherever_they_are():
    images = torch.tensor([[0, 1], [0, 1]], dtype=torch.uint8).view(1, 1, 2, 2)
    assert resized(images, 1).item() == 1


def test_digits_of_another_size_have_a_mean_of_their_own():
    own, other = load_data("Digits"), load_data("Digits", im_size=28)
    assert other.im_size == (28, 28) and other.mean != own.mean and abs(other.mean[0] - own.mean[0]) < 0.01
    values = other.images.double() / 255
    assert other.mean[0] == pytest.approx(values.mean().item()) and other.std[0] == pytest.approx(
        values.std(correction=0).item())


@pytest.mark.parametrize("how, mend", [({"im_size": 0}, "--im_size must be at least 1"),
                                       ({"resize": "stretch"}, "choose one of: crop, squash")])
def test_a_size_that_cannot_be_is_refused(how, mend):
    with pytest.raises(ValueError, match=mend):
        load_data("Digits", **how)


def test_digits_at_28_pixels_train_lenet_and_are_scored_again_at_that_size(tmp_path, score, score_error):
    script = Script(main_DD)
    script.settings = ["--dataset", "Digits", "--im_size", "28", "--model", "LeNet", "--ipc", "1", "--distill_steps",
                       "1", "--batch_size", "256", "--Iteration", "2", "--eval_every", "0", "--num_eval", "1",
                       "--no-progress", "--device", "cpu"]
    result = script.run(tmp_path)
    assert result["data"][0][0].shape == (10, 1, 28, 28) and result["meta"]["dataset"] == "Digits"
    assert result["meta"]["options"]["im_size"] == 28
    (row,), _ = score(script.path(tmp_path), "--baselines", "none")
    assert row["accuracies"] == [result["accs_all_exps"]["LeNet"]]
    assert "im_size" in score_error(script.path(tmp_path), "--baselines", "none", "--dataset", "Digits")
