"""The space of pixels told by their statistics, or asked for where they do not decide: never a wrong answer."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from condense.data.space import SPACES
from condense.sharing import likeness
from condense.sharing.likeness import figures
from condense.sharing.spaces import space_of
from condense.sharing.stored import SetFile, StoredSet
from tests.sharing.real_pixels import chosen


def a_file(images, labels):
    return SetFile(Path("somewhere.pt"), "tensors", "made here", (StoredSet(images.float(), labels),))


def condensed(digits, space, space_of_digits, kind):
    """A set as condensation might leave it, in `space`."""
    pixels, labels = chosen(digits)
    images = space_of_digits[space].encode(pixels).float()
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    changed = {"real": images, "rough": images + 0.3 * images.std() * drawn, "half of it": images[::2]}
    return a_file(changed[kind], labels[::2] if kind == "half of it" else labels)


@pytest.mark.parametrize("kind", ["real", "rough", "half of it"])
@pytest.mark.parametrize("space", SPACES)
def test_statistics_tell_the_space_with_figures(digits, space_of_digits, spaces, space, kind):
    found, evidence = space_of(condensed(digits, space, space_of_digits, kind), spaces)
    assert found == space and evidence.startswith(f"{space}, by statistics: its pixels have mean ")
    assert evidence.count("correlation of neighbours") == 2 and evidence.count("spread") == 2


def unsure(file, spaces):
    with pytest.raises(ValueError, match="--space normalised, zca or raw") as caught:
        space_of(file, spaces)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_few_images_are_asked_about_whatever_they_look_like(digits, space_of_digits, spaces):
    pixels, labels = chosen(digits, 4)
    assert "40 images are too few" in unsure(a_file(pixels, labels), spaces) and spaces.loads == []
    several = SetFile(Path("x.pt"), "reference", "", (StoredSet(pixels.float(), labels),) * 2)
    assert space_of(several, spaces)[0] == "raw"           # experiments count together


@pytest.mark.parametrize("scale", [0.1, 0.5, 1, 2, 4])
def test_noise_is_asked_about(digits, spaces, scale):
    drawn = scale * torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert "spread" in unsure(a_file(drawn, torch.arange(10).repeat(20)), spaces)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("contrast", [0.35, 0.5, 2, 3, 4, 6, 8, 12])
@pytest.mark.parametrize("noise", [0, 0.35, 0.5, 1])
def test_an_answer_is_never_wrong_however_contrast_and_noise_are_changed(digits, space_of_digits, spaces, space,
                                                                         contrast, noise):
    images = space_of_digits[space].encode(chosen(digits)[0]).float()
    drawn = images.std() * torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    changed = contrast * (images - images.mean()) + images.mean() + noise * drawn
    try:
        assert space_of(a_file(changed, chosen(digits)[1]), spaces)[0] == space
    except ValueError as error:
        assert "--space" in str(error)


@pytest.mark.parametrize("space, contrast", [("normalised", 0.7), ("zca", 1.5), ("normalised", 4), ("raw", 4)])
def test_what_lies_between_two_spaces_or_far_from_all_is_asked_about(digits, space_of_digits, spaces, space, contrast):
    images = space_of_digits[space].encode(chosen(digits)[0]).float()
    unsure(a_file(contrast * (images - images.mean()) + images.mean(), chosen(digits)[1]), spaces)


def test_figures_are_what_their_names_say(white):
    images = torch.randn(7, 2, 8, 6, generator=torch.Generator().manual_seed(0)).double()
    found = figures(images)
    means = [images[:, c].mean() for c in range(2)]
    centred = torch.stack([images[:, c] - means[c] for c in range(2)], 1)
    values = centred.flatten()
    steps = [float(one[c, i, j + 1] - one[c, i, j]) for one in centred for c in range(2) for i in range(8)
             for j in range(5)]
    steps += [float(one[c, i + 1, j] - one[c, i, j]) for one in centred for c in range(2) for i in range(7)
              for j in range(6)]
    fine = (sum(step**2 for step in steps) / len(steps)) ** 0.5
    expected = SimpleNamespace(
        mean=sum(means) / 2, spread=values.square().mean().sqrt(), fine=fine,
        outside=sum(1 for value in images.flatten() if not 0 <= value <= 1) / images.numel(),
        neighbours=1 - fine**2 / (2 * values.square().mean()), coarse=centred.std(correction=0),
        brightness=centred.mean((1, 2, 3)).std(correction=0))
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(float(value), abs=1e-9), name
    assert found.slope is None
    blocks = torch.arange(16.).view(1, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert figures(blocks).coarse == pytest.approx(float(torch.arange(16.).std(correction=0)))


def test_slope_is_the_ratio_of_variances_along_leading_directions(digits, white):
    pixels = chosen(digits)[0]
    matrix = torch.from_numpy(np.cov(digits.images.flatten(1).double().numpy().T))
    values, vectors = torch.linalg.eigh(matrix)
    along = (pixels.flatten(1) @ vectors).var(0)
    expected = math.log2((along[-1] + along[-2]) / (along[-7] + along[-8]))
    assert figures(pixels, white.zca).slope == pytest.approx(expected, abs=1e-3)
    assert figures(3 * pixels + 1, white.zca).slope == pytest.approx(expected, abs=1e-3)


def test_pixels_within_0_and_1_are_raw_without_fitting_any_whitening(digits, spaces, monkeypatch):
    monkeypatch.setattr(likeness, "fitted_whitening", None)
    pixels, labels = chosen(digits)
    assert space_of(a_file((2 * pixels - 0.5).clamp(0, 1), labels), spaces)[0] == "raw"
    assert "raw" in unsure(a_file(pixels / 255, labels), spaces)                # of another scale altogether


def test_images_too_large_to_whiten_are_normalised_or_raw(monkeypatch, digits, spaces):
    monkeypatch.setattr(likeness, "LARGEST", 63)
    monkeypatch.setattr(likeness, "fitted_whitening", None)
    pixels, labels = chosen(digits)
    file = a_file(digits.normalise(pixels.mul(255).to(torch.uint8)), labels)
    assert space_of(file, spaces)[0] == "normalised"
    monkeypatch.setattr(likeness, "LARGEST", 64)
    monkeypatch.setattr(likeness, "FITTED", 63)            # now it could be whitened, but not be seen in a moment
    assert "take long" in unsure(file, spaces)


def test_of_large_images_some_are_looked_at(monkeypatch, digits, space_of_digits, spaces):
    monkeypatch.setattr(likeness, "VALUES", 60 * 64)
    seen = []
    monkeypatch.setattr(likeness, "figures", lambda images, whitening: seen.append(len(images)) or
                        figures(images, whitening))
    for space in SPACES:
        assert space_of(condensed(digits, space, space_of_digits, "real"), spaces)[0] == space
    assert max(seen) <= 60 and min(seen) >= 50


def test_the_answer_does_not_depend_on_the_global_generator(digits, space_of_digits, spaces):
    file, said = condensed(digits, "zca", space_of_digits, "rough"), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        said.append(space_of(file, spaces))
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(drawn, torch.rand(1))
    assert said[0] == said[1]
