"""Siamese operators against loops over single pixels."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.augmentation import Strengths
from condense.augmentation.siamese import OPERATORS, sample_bilinear
from tests.augmentation.siamese_by_hand import assert_close, batch, by_hand, seeded, uniforms

ALL = tuple(OPERATORS)
LAST = 1 - 2**-24                                          # the largest float32 below 1
PUBLISHED = Strengths()
unit = st.floats(0, 1, exclude_max=True, width=32)


def apply(name, images, u):
    return OPERATORS[name](images, torch.as_tensor(u, dtype=torch.float64).view(-1, 3), PUBLISHED)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (12, 5)])
@pytest.mark.parametrize("channel", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_operator_equals_a_loop_over_pixels(name, channel, size):
    images, u = batch(8, channel, *size), uniforms(8)
    u[0], u[1] = 0, LAST
    assert_close(apply(name, images, u), by_hand([name] * 8, images, u))


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["crop", "cutout", "flip"]), u=st.tuples(unit, unit, unit),
       height=st.integers(1, 17), width=st.integers(1, 17))
def test_moves_of_whole_pixels_equal_the_loop_at_every_size(name, u, height, width):
    images = batch(1, 2, height, width)
    assert torch.equal(apply(name, images, u), by_hand([name], images, torch.tensor([u])))


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(["color", "scale", "rotate"]), u=st.tuples(unit, unit, unit),
       height=st.integers(2, 9), width=st.integers(2, 9))
def test_interpolating_operators_equal_the_loop_at_every_size(name, u, height, width):
    images = batch(1, 2, height, width)
    assert_close(apply(name, images, u), by_hand([name], images, torch.tensor([u], dtype=torch.float64)))


@pytest.mark.parametrize("name", ALL)
def test_float32_images_agree_with_float64(name):
    images, u = batch(5), uniforms(5)
    single = OPERATORS[name](images.float(), u, PUBLISHED)
    assert single.dtype == torch.float32
    assert_close(single.double(), apply(name, images, u), 2e-5)


@pytest.mark.parametrize("name", ALL)
def test_one_shared_row_of_uniforms_equals_the_same_row_for_every_image(name):
    images, u = batch(5), uniforms(1)
    assert_close(apply(name, images, u), apply(name, images, u.expand(5, 3)))


NEUTRAL = {"color": 0.5, "crop": 0.5, "flip": 0.5, "rotate": 0.5, "scale": (1 - 1 / 1.2) / (1.2 - 1 / 1.2)}


@pytest.mark.parametrize("name", NEUTRAL)
def test_operator_at_its_neutral_magnitude_is_the_identity(name):
    images = batch(height=9, width=8)
    assert_close(apply(name, images, [NEUTRAL[name]] * 3), images)


@pytest.mark.parametrize("side, most", [(28, 4), (32, 4), (64, 8)])
@pytest.mark.parametrize("sign, u", [(-1, 0), (1, LAST)])
def test_largest_crop_leaves_exactly_that_many_empty_rows_and_columns(side, most, sign, u):
    shifted = apply("crop", torch.ones(1, 1, side, side, dtype=torch.float64), [u, u, u])[0, 0]
    expected = torch.arange(side - most, side) if sign > 0 else torch.arange(most)    # positive: up and left
    for axis in (0, 1):
        assert torch.equal((shifted == 0).all(axis).nonzero().flatten(), expected)


@pytest.mark.parametrize("side, size", [(28, 14), (32, 16), (64, 32)])
def test_cutout_erases_between_a_quarter_and_all_of_its_square(side, size):
    centres = (torch.arange(side + 1, dtype=torch.float64) + 0.5) / (side + 1)           # 0..side inclusive
    u = torch.cartesian_prod(centres, centres, torch.zeros(1, dtype=torch.float64))
    erased = (apply("cutout", torch.ones(len(u), 1, side, side, dtype=torch.float64), u) == 0).sum((1, 2, 3))
    assert erased.min() == size**2 // 4 and erased.max() == size**2
    if side == 32:
        assert erased.double().mean() / side**2 == pytest.approx((13.818 / 32) ** 2, abs=1e-4)


def test_evenly_spread_uniforms_give_every_shift_and_every_centre_equally_often():
    spread = (torch.arange(33 * 9 * 4, dtype=torch.float64) + 0.5) / (33 * 9 * 4)
    u = torch.stack((spread, torch.full_like(spread, 0.5), spread), 1)
    ramp = torch.arange(1, 33, dtype=torch.float64).view(1, 1, 32, 1).expand(len(u), 1, 32, 32)
    shifts = Counter((apply("crop", ramp, u)[:, 0, 16, 16] - 17).tolist())
    assert shifts == {float(t): 33 * 4 for t in range(-4, 5)}
    first = Counter(tuple(row) for row in (apply("cutout", ramp, u)[:, 0, :, 16] == 0).tolist())
    assert len(first) == 33 and set(first.values()) == {9 * 4}


def test_positive_angles_turn_the_content_anticlockwise():
    image = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    image[0, 0, 16, 28] = 1                                # right of the centre
    row = apply("rotate", image, [LAST] * 3)[0, 0].sum(1).argmax()
    assert row < 16                                        # moves up


def test_scale_above_one_shrinks_each_axis_by_its_own_factor():
    ones = torch.ones(1, 1, 20, 20, dtype=torch.float64)
    wide = apply("scale", ones, [LAST, NEUTRAL["scale"], 0])[0, 0]
    assert (wide[10] < 0.5).sum() == 4 and (wide[:, 10] == 1).all()    # 20 / 1.2 = 16.7 columns


def test_saturation_does_nothing_to_one_channel():
    images = batch(channel=1)
    assert torch.equal(apply("color", images, [0.2, 0.0, 0.9]), apply("color", images, [0.2, 0.9, 0.9]))


@pytest.mark.parametrize("name", ALL)
def test_gradients_agree_with_finite_differences(name):
    images, u = batch(2, 2, 5, 6).requires_grad_(), uniforms(2, seed=3)
    assert torch.autograd.gradcheck(lambda x: apply(name, x, u), (images,))
    assert torch.autograd.grad(apply(name, images, u).sum(), images)[0].abs().max() > 0


@pytest.mark.parametrize("name", ["crop", "cutout"])
def test_gradient_is_zero_exactly_where_pixels_were_lost(name):
    images, u = batch(6, 2, 9, 12).requires_grad_(), uniforms(6)
    weights = torch.rand(images.shape, generator=seeded(4), dtype=torch.float64) + 1
    gradient, = torch.autograd.grad((apply(name, images, u) * weights).sum(), images)
    numbers = torch.arange(1.0, images.numel() + 1, dtype=torch.float64).view(images.shape)
    kept = torch.isin(numbers, apply(name, numbers, u))
    assert not kept.all()
    assert torch.equal(gradient != 0, kept)


@pytest.mark.parametrize("out", [(5, 4), (8, 6)])
def test_sample_bilinear_equals_grid_sample_with_its_gradients(out):
    images = batch(3, 2, 8, 6).requires_grad_()
    grid = (torch.rand(3, *out, 2, generator=seeded(5), dtype=torch.float64) * 2.6 - 1.3).requires_grad_()
    theirs = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    ours = sample_bilinear(images, grid)
    assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=seeded(6), dtype=torch.float64)
    for a, b in zip(torch.autograd.grad((ours * weights).sum(), (images, grid)),
                    torch.autograd.grad((theirs * weights).sum(), (images, grid))):
        assert_close(a, b, 1e-11)
