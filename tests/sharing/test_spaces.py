"""The space of a set's pixels: said or overridden; conversions between spaces, decoding, classes."""

import copy
import logging
from pathlib import Path

import pytest
import torch

from condense.data import RealData, Whitening
from condense.data.space import Space
from condense.sharing.loading import place
from condense.sharing.spaces import Spaces, space_of
from condense.sharing.stored import SetFile, StoredSet
from condense.synthetic.multi_formation import decode
from tests.sharing.real_pixels import chosen


def a_file(images, labels, **said):
    path, layout = said.pop("path", "somewhere.pt"), said.pop("layout", "tensors")
    return SetFile(Path(path), layout, "made here", (StoredSet(images.float(), labels),), **said)


def in_space(pixels, space):
    """Raw pixels as images of a `Space`, or of that of a `RealData`."""
    return getattr(space, "space", space).encode(pixels.double()).float()


# What a file says, and what --space says

def test_raw_and_normalised_versions_of_a_set_are_placed_alike_to_the_bit(digits, spaces):
    pixels, labels = chosen(digits)
    pixels = (2 * pixels - 0.3).float()
    raw = place(a_file(pixels, labels, space="raw", said_by="says"), spaces)
    normalised = place(a_file(in_space(pixels, digits), labels, space="normalised"), spaces)
    assert torch.equal(raw.sets[0].tensor, normalised.sets[0].tensor) and raw.sets[0].tensor.dtype == torch.float32
    assert (raw.space, normalised.space) == ("raw", "normalised") and raw.real.zca is None
    assert "constants" in raw.evidence and torch.equal(raw.sets[0].labels, labels)


def test_what_the_file_says_is_taken_and_space_overrides_it_and_says_so(digits, spaces):
    pixels, labels = chosen(digits)
    file = a_file(pixels, labels, space="normalised", said_by="its meta says so")
    assert space_of(file, spaces) == ("normalised", "normalised: its meta says so") and spaces.loads == []
    space, evidence = space_of(file, spaces, "raw")
    assert space == "raw" and "--space" in evidence and "normalised" in evidence
    placed = place(file, spaces, "raw")
    assert torch.equal(placed.sets[0].tensor, in_space(pixels.float(), digits))
    with pytest.raises(ValueError, match="unknown space 'normal'; did you mean normalised"):
        space_of(file, spaces, "normal")


def test_whitened_sets_live_with_data_whitened_by_their_own_transform(digits, spaces, caplog):
    other = Whitening.fit(digits.images[::2])
    images = torch.randn(100, 1, 8, 8)
    file = a_file(images, chosen(digits)[1], space="zca", said_by="its meta says so", zca=other.state())
    placed = place(file, spaces)
    assert torch.equal(placed.sets[0].tensor, images)
    assert placed.real.zca.fingerprint == other.fingerprint
    assert torch.equal(placed.real.images, other.whiten(digits.images.float() / 255))
    assert spaces.normalised.zca is None and spaces.normalised.images.dtype == torch.uint8
    assert place(file, spaces).real is placed.real and spaces.loads == [False] and caplog.text == ""


def test_without_their_transform_one_is_fitted_after_a_warning(digits, white, spaces, caplog):
    file = a_file(torch.randn(100, 1, 8, 8), chosen(digits)[1])
    with caplog.at_level(logging.WARNING, "condense"):
        placed = place(file, spaces, "zca")
    assert placed.real.zca.fingerprint == white.zca.fingerprint
    assert "fitted on the training images" in caplog.text
    assert spaces.whitened() is placed.real and spaces.loads == [False, True]


def test_sets_of_other_constants_are_brought_to_the_data_sets_own(digits, spaces):
    pixels, labels = chosen(digits)
    other = Space("normalised", (0.25,), (0.5,))
    file = a_file(in_space(pixels, other), labels, space="normalised", mean=other.mean, std=other.std)
    placed = place(file, spaces)
    assert torch.allclose(placed.sets[0].tensor, in_space(pixels, digits), atol=1e-6)
    assert "mean and std that it states" in placed.evidence
    own = a_file(torch.randn(100, 1, 8, 8), labels, space="normalised", mean=tuple(digits.mean), std=tuple(digits.std))
    assert place(own, spaces).sets[0].tensor is own.sets[0].images


@pytest.mark.parametrize("layout, name, path", [("mtt", "CIFAR100", None), ("mtt", "folder", "CIFAR100"),
                                                ("reference", "folder", "CIFAR10"), ("reference", "CIFAR100", None)])
def test_published_sets_are_taken_to_have_the_constants_of_their_code(layout, name, path):
    cifar10 = Space("normalised", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    mean, std = ([0.5071, 0.4866, 0.4409], [0.2673, 0.2564, 0.2762]) if name == "CIFAR100" else ([0.5] * 3, [0.1] * 3)
    pixels = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    bytes_, labels = (pixels * 255).to(torch.uint8), torch.tensor([0, 0, 1, 1])
    real = RealData(name, bytes_, labels, bytes_, labels, ["a", "b"], mean, std)
    stored = in_space(pixels, cifar10)
    placed = place(a_file(stored, labels, layout=layout, dataset=path), Spaces(lambda zca: real), "normalised")
    if (layout, name) == ("reference", "CIFAR100"):
        assert torch.equal(placed.sets[0].tensor, stored)
    else:
        assert torch.allclose(placed.sets[0].tensor, in_space(pixels, real), atol=1e-5)
        assert "CIFAR-10's mean and std" in placed.evidence or "published mean and std of CIFAR10" in placed.evidence


# Decoding

def test_mosaics_are_decoded_before_they_are_normalised(digits, spaces):
    pixels, labels = chosen(digits, 2)
    file = a_file(pixels, labels, layout="idc", space="raw", decode=3, said_by="so")
    placed = place(file, spaces)
    expected = in_space(decode(pixels.float().double(), 3), digits)
    assert torch.equal(placed.sets[0].tensor, expected) and len(expected) == 9 * 20
    assert torch.equal(placed.sets[0].labels, labels.repeat(9)) and placed.decode == 3
    assert place(file, spaces, decode=1).sets[0].tensor.shape == (20, 1, 8, 8)
    soft = torch.rand(20, 10).softmax(1)
    placed = place(a_file(pixels, soft, space="raw", said_by="so"), spaces, decode=2)
    assert torch.equal(placed.sets[0].labels, soft.repeat(4, 1))


def test_raw_pixels_outside_0_and_1_are_decoded_as_they_are(digits, spaces):
    pixels, labels = chosen(digits, 2)
    strayed = 1.09 * pixels.float() - 0.05
    placed = place(a_file(strayed, labels, layout="idc", space="raw", decode=2, said_by="so"), spaces)
    shown = decode(strayed.double(), 2)
    assert shown.min() < -0.04 and shown.max() > 1.03
    expected = (shown - digits.mean[0]) / digits.std[0]
    assert torch.allclose(placed.sets[0].tensor.double(), expected, atol=1e-6)


def test_mosaics_that_are_no_raw_pixels_are_asked_about_whatever_their_number(digits, spaces):
    for ipc in (1, 10):
        pixels, labels = chosen(digits, ipc)
        file = a_file(in_space(pixels, digits), labels, layout="idc", decode=2)
        with pytest.raises(ValueError, match="named as .* raw pixels, but these run from -0.81 to 1.85; give --space"):
            place(file, spaces)
        assert spaces.loads in ([], [False])               # no statistics of real images were taken
        placed = place(file, spaces, "normalised")
        assert len(placed.sets[0].labels) == 4 * len(labels) and placed.decode == 2


def test_what_says_that_it_is_decoded_is_not_decoded_again(digits, spaces):
    for decoded in (1, 2):
        file = a_file(*chosen(digits, 2), space="raw", said_by="so", decoded=decoded)
        assert place(file, spaces).decode == place(file, spaces, decode=1).decode == 1
        with pytest.raises(ValueError, match="decoded images already; leave --decode out"):
            place(file, spaces, decode=2)


def test_an_unknown_decode_factor_is_asked_for(digits, spaces):
    with pytest.raises(ValueError, match="give --decode 2"):
        place(a_file(*chosen(digits), layout="idc", space="raw", decode=None), spaces)


# Classes

NAMES = tuple("0123456789")


def test_classes_are_matched_by_name_else_by_order(digits, spaces):
    pixels, labels = chosen(digits)
    shuffled = a_file(pixels, 9 - labels, space="raw", said_by="so", class_names=NAMES[::-1])
    placed = place(shuffled, spaces)
    assert torch.equal(placed.sets[0].labels, labels) and "by name" in placed.evidence
    some = a_file(pixels[:20], labels[:20], space="raw", said_by="so", class_names=("7", "3"))
    assert place(some, spaces).sets[0].labels.tolist() == [7] * 10 + [3] * 10
    soft = a_file(pixels[:2], torch.tensor([[0.75, 0.25], [0, 1]]), space="raw", said_by="so", class_names=("7", "3"))
    row = place(soft, spaces).sets[0].labels[0].tolist()
    assert row[7] == 0.75 and row[3] == 0.25 and sum(row) == 1 and len(row) == 10
    others = a_file(pixels, labels, space="raw", said_by="so", class_names=tuple("abcdefghij"))
    placed = place(others, spaces)
    assert torch.equal(placed.sets[0].labels, labels) and "by their order" in placed.evidence


def test_names_that_are_numbers_are_those_classes(digits):
    real = copy.copy(digits)
    real.class_names = list("abcdefghij")
    pixels, labels = chosen(digits)
    some = a_file(pixels[:20], labels[:20], space="raw", said_by="so", class_names=("3", "07"))
    placed = place(some, Spaces(lambda zca: real))
    assert placed.sets[0].labels.tolist() == [3] * 10 + [7] * 10 and "by number" in placed.evidence
    beyond = a_file(pixels[:20], labels[:20], space="raw", said_by="so", class_names=("3", "10"))
    with pytest.raises(ValueError, match="has 2 classes"):
        place(beyond, Spaces(lambda zca: real))


def test_labels_beyond_the_names_are_refused(digits, spaces):
    pixels, labels = chosen(digits)
    with pytest.raises(ValueError, match="run to 9, it names 2 classes"):
        place(a_file(pixels, labels, space="raw", said_by="so", class_names=("3", "7")), spaces)


def test_sets_of_other_classes_or_sizes_are_refused(digits, spaces):
    pixels, labels = chosen(digits)
    for images, wrong, match in ((pixels, labels + 1, "run to 10"), (pixels[:50], labels[:50], "has 5 classes"),
                                 (pixels, torch.rand(100, 3).softmax(1), "for 3 classes"),
                                 (pixels[:, :, :6], labels, "1x6x8, those of Digits 1x8x8")):
        with pytest.raises(ValueError, match=match) as caught:
            place(a_file(images, wrong, space="raw", said_by="so"), spaces)
        assert "--dataset" in str(caught.value) and "\n" not in str(caught.value)
    steps = a_file(pixels[:50], labels[:50], space="raw", said_by="so", layout="steps")
    assert place(steps, spaces).sets[0].labels.max() == 4
