"""Spaces of images: the arithmetic that every reader, trainer and writer shares, to the bit, and its refusals."""

import pytest
import torch

from condense.data import load_data
from condense.data.constants import PUBLISHED
from condense.data.space import SPACES, Space, converted

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


@pytest.fixture(scope="module")
def white():
    return load_data("Digits", zca=True)


@pytest.fixture(scope="module")
def spaces(digits, white):
    return {name: Space(name, tuple(digits.mean), tuple(digits.std), white.zca) for name in SPACES}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def levels(number=20, channels=3, side=8):
    return torch.randint(256, (number, channels, side, side), generator=seeded(), dtype=torch.uint8)


def per_channel(values, dtype):
    return torch.tensor(values, dtype=dtype)[:, None, None]


@pytest.mark.parametrize("name", SPACES)
def test_conversion_there_and_back_is_the_identity(digits, spaces, name):
    pixels = 3 * (digits.images[:100].double() / 255) - 1                      # nothing is clamped
    there = spaces[name].encode(pixels)
    assert there.dtype == torch.float64
    torch.testing.assert_close(spaces[name].decode(there), pixels, rtol=0, atol=1e-6)     # vectors are float32
    rounded = spaces[name].encode(pixels.float())
    assert rounded.dtype == torch.float32 and spaces[name].decode(rounded, torch.float64).dtype == torch.float64
    assert torch.allclose(spaces[name].decode(rounded, torch.float64), pixels, atol=1e-5)


def test_pixels_are_normalised_by_the_plain_formula_in_their_own_type():
    space, pixels = Space("normalised", MEAN, STD), levels() / 255
    for dtype in (torch.float32, torch.float64):
        mean, std = per_channel(MEAN, dtype), per_channel(STD, dtype)
        assert torch.equal(space.encode(pixels, dtype), (pixels.to(dtype) - mean) / std)
    images = torch.randn(5, 3, 8, 8, generator=seeded())
    mean, std = per_channel(MEAN, torch.float64), per_channel(STD, torch.float64)
    assert torch.equal(space.decode(images, torch.float64), images.double() * std + mean)
    assert torch.equal(space.decode(images), torch.addcmul(mean.float(), images, std.float()))


def test_bytes_are_normalised_by_one_multiply_add():
    space, mean, std = Space("normalised", MEAN, STD), per_channel(MEAN, torch.float64), per_channel(STD, torch.float64)
    found = space.encode_levels(levels())
    assert torch.equal(found, torch.addcmul((-mean / std).float(), levels(), (1 / (255 * std)).float()))
    assert torch.allclose(found, space.encode(levels() / 255), atol=1e-6)
    assert torch.equal(space.encode_levels(levels().float()), found)


def test_conversions_are_what_the_real_data_do_to_their_own_pixels(digits, white, spaces):
    pixels = digits.images[:100].double() / 255
    assert torch.allclose(spaces["normalised"].encode(pixels).float(), digits.normalise(digits.images[:100]), atol=1e-6)
    assert torch.allclose(spaces["zca"].encode(pixels).float(), white.images[:100], atol=1e-5)
    assert Space.of(white).zca is white.zca and Space.of(white) == white.space
    assert Space.of(digits) == digits.space == Space("normalised", tuple(digits.mean), tuple(digits.std))


def test_whitening_in_float64_is_the_product_with_its_eigenvectors(white, digits):
    zca, rows = white.zca, digits.images[:50].double().flatten(1) / 255
    vectors = zca.eigenvectors.double()
    scale = (zca.eigenvalues.double() + zca.eps) ** -0.5
    expected = ((rows - zca.mean.double()) @ vectors * scale) @ vectors.T
    assert torch.equal(white.space.encode(rows.view(50, 1, 8, 8)).flatten(1), expected)
    assert torch.equal(white.space.encode(rows.float().view(50, 1, 8, 8)), zca.whiten(rows.float().view(50, 1, 8, 8)))


def test_whitened_to_normalised_and_back_keeps_the_images(spaces):
    images = 5 * torch.randn(50, 1, 8, 8, generator=seeded())
    there = converted(images, spaces["zca"], spaces["normalised"])
    assert there.dtype == torch.float32
    assert float((converted(there, spaces["normalised"], spaces["zca"]) - images).abs().max()) < 1e-4


def test_what_lies_between_sees_raw_pixels_in_float64(spaces):
    images, seen = torch.randn(4, 1, 8, 8, generator=seeded()), []
    doubled = converted(images, spaces["normalised"], spaces["raw"], lambda pixels: seen.append(pixels) or pixels * 2)
    assert torch.equal(seen[0], spaces["normalised"].decode(images.double()))
    assert torch.equal(doubled, (2 * seen[0]).float())


def test_what_makes_a_space_must_be_there_and_fit():
    images = torch.zeros(1, 1, 8, 8)
    for space in (Space("zca"), Space("normalised"), Space("normalised", (0, 0), (1, 1))):
        for convert in (space.encode, space.decode):
            with pytest.raises(ValueError, match="data set"):
                convert(images)
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="64 values"):
            load_data("Digits", zca=True).space.encode(torch.zeros(1, 1, 9, 9), dtype)
    with pytest.raises(ValueError, match="unknown space 'normal'; did you mean normalised"):
        Space("normal")


def test_constants_of_known_data_sets_are_those_that_loading_gives():
    assert PUBLISHED["CIFAR10"] == Space("normalised", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert {"MNIST", "CIFAR100", "TinyImageNet", "ImageNet"} <= PUBLISHED.keys()
