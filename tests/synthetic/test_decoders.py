"""Decoders: sizes and kernels for every image, numbers of parameters, all at once as one by one, the draw."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.synthetic.decoders import Decoders, architecture_for, num_layers, sizes
from condense.synthetic.latent_grades import GRADES
from tests.synthetic.latent_sets import seeded


@pytest.mark.parametrize("side, between", [
    (32, [4, 8, 16, 32]), (28, [4, 7, 14, 28]), (64, [4, 8, 16, 32, 64]), (128, [4, 8, 16, 32, 64, 128]),
    (224, [4, 7, 14, 28, 56, 112, 224]), (8, [2, 4, 8]), (16, [4, 8, 16]), (96, [3, 6, 12, 24, 48, 96]),
    (1, [1, 1, 1])])
def test_sides_double_from_four_or_the_nearest_that_is_there(side, between):
    assert sizes((side, side)) == [(s, s) for s in between]


@given(im_size=st.tuples(st.integers(1, 40), st.integers(1, 40)), channel=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_images_of_every_size_come_out(im_size, channel):
    depth = num_layers(im_size)
    architecture = architecture_for(channel, im_size, 2, (1,) * (depth - 1))
    decoders = Decoders(2, architecture)
    codes = torch.zeros(3, 2, 2, *architecture.code_size)
    assert decoders(codes).shape == (3, 2, channel, *im_size)
    assert set(sum(architecture.kernels, ())) <= {3, 4} and depth >= 2
    assert architecture.decoder_floats == sum(p.numel() for p in decoders.parameters()) / 2
    assert architecture.code_floats == codes[0, 0].numel()


@pytest.mark.parametrize("grade, channel, side, decoder, code", [
    ("XS", 3, 32, 3765, 192), ("S", 3, 32, 5531, 192), ("M", 3, 32, 21299, 384), ("B", 3, 32, 56523, 768),
    ("D1", 1, 28, 1021, 96), ("D10", 1, 28, 3353, 128), ("D50", 1, 28, 13105, 256), ("T1", 3, 64, 60567, 768),
    ("T10", 3, 64, 140147, 1536)])
def test_grades_have_the_numbers_of_the_reference_sheet(grade, channel, side, decoder, code):
    architecture = architecture_for(channel, (side, side), *GRADES[grade])
    assert (architecture.decoder_floats, architecture.code_floats) == (decoder, code)
    assert sum(p.numel() for p in Decoders(1, architecture).parameters()) == decoder


@pytest.mark.parametrize("im_size", [(32, 32), (28, 28), (8, 8), (20, 33)])
def test_drawn_decoders_make_images_of_about_unit_variance_and_no_two_are_equal(im_size):
    hidden = (64, 32, 32)[:num_layers(im_size) - 1]
    decoders = Decoders(4, architecture_for(3, im_size, 32, hidden))
    decoders.draw(seeded())
    codes = torch.randn(50, 1, 32, *decoders.architecture.code_size, generator=seeded(1)).expand(-1, 4, -1, -1, -1)
    with torch.no_grad():
        images = decoders(codes)
    assert 0.65 < images.std() < 1.25 and abs(images.mean()) < 0.2
    for one in range(4):
        for other in range(one):
            assert (images[:, one] - images[:, other]).std() > 0.5


def test_weights_are_drawn_for_a_quarter_of_the_kernel():
    architecture = architecture_for(1, (28, 28), 40, (50, 60))
    decoders = Decoders(2, architecture)
    decoders.draw(seeded())
    expected = [math.sqrt(2 / (40 * 2.25)), math.sqrt(2 / (50 * 4)), math.sqrt(1 / (60 * 4))]
    assert [w.std().item() for w in decoders.weights] == pytest.approx(expected, rel=0.05)
    assert all((bias == 0).all() for bias in decoders.biases)


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="unknown activation 'rely'; did you mean relu?"):
        Decoders(1, architecture_for(1, (8, 8), 1, (1,)), "rely")
