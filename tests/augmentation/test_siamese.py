"""Siamese augmentation against loops over single pixels, and what a record promises about groups."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.augmentation import Strengths, default_strategy, draw_independent, draw_siamese, parse_strategy
from condense.augmentation.siamese import FULL_STRATEGY, OPERATORS, Record, one_operator_each, sample_bilinear

ALL = tuple(OPERATORS)
LAST = 1 - 2**-24                                          # the largest float32 below 1
PUBLISHED = Strengths()
unit = st.floats(0, 1, exclude_max=True, width=32)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(num=6, channel=3, height=8, width=8, seed=0):
    return torch.randn(num, channel, height, width, generator=seeded(seed), dtype=torch.float64) + 0.3


def uniforms(num, seed=1):
    return torch.rand(num, 3, generator=seeded(seed))


def apply(name, images, u):
    return OPERATORS[name](images, torch.as_tensor(u, dtype=torch.float64).view(-1, 3), PUBLISHED)


# One image (C, H, W) and three uniforms: the definitions, pixel by pixel.

def color_one(x, u):
    x = x + (u[0] - 0.5)
    out = np.empty_like(x)
    for i, j in np.ndindex(x.shape[1:]):
        mean = sum(x[:, i, j]) / len(x)
        for c in range(len(x)):
            out[c, i, j] = mean + (x[c, i, j] - mean) * 2 * u[1]
    mean = out.sum() / out.size
    return mean + (out - mean) * (u[2] + 0.5)


def crop_one(x, u):
    _, height, width = x.shape
    most_v, most_h = math.floor(0.125 * height + 0.5), math.floor(0.125 * width + 0.5)
    t_v, t_h = math.floor(u[0] * (2 * most_v + 1)) - most_v, math.floor(u[1] * (2 * most_h + 1)) - most_h
    out = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        if 0 <= i + t_v < height and 0 <= j + t_h < width:
            out[:, i, j] = x[:, i + t_v, j + t_h]
    return out


def cutout_one(x, u):
    out = x.copy()
    ends = []
    for side, value in zip(x.shape[1:], u):
        size = math.floor(0.5 * side + 0.5)
        centre = math.floor(value * (side - size % 2 + 1))
        ends.append((max(0, centre - size // 2), min(side - 1, centre - size // 2 + size - 1)))
    (top, bottom), (left, right) = ends
    out[:, top:bottom + 1, left:right + 1] = 0
    return out


def flip_one(x, u):
    return x[:, :, ::-1] if u[0] < 0.5 else x


def scale_one(x, u):
    s_x, s_y = (1 / 1.2 + value * (1.2 - 1 / 1.2) for value in u[:2])
    return warp_one(x, lambda p_x, p_y: (s_x * p_x, s_y * p_y))


def rotate_one(x, u):
    angle = math.radians(-15 + 30 * u[0])
    cos, sin = math.cos(angle), math.sin(angle)
    return warp_one(x, lambda p_x, p_y: (cos * p_x - sin * p_y, sin * p_x + cos * p_y))


def warp_one(x, source):
    """Bilinear with zeros outside; pixel centres are at odd multiples of 1/side in [-1, 1]."""
    _, height, width = x.shape
    out = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        s_x, s_y = source((2 * j + 1) / width - 1, (2 * i + 1) / height - 1)
        row, column = ((s_y + 1) * height - 1) / 2, ((s_x + 1) * width - 1) / 2
        for r in (math.floor(row), math.floor(row) + 1):
            for c in (math.floor(column), math.floor(column) + 1):
                if 0 <= r < height and 0 <= c < width:
                    out[:, i, j] += x[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return out


ONE = {"color": color_one, "crop": crop_one, "cutout": cutout_one, "flip": flip_one, "scale": scale_one,
       "rotate": rotate_one}


def by_hand(names, images, u):
    """Every image through its own operator and uniforms, one at a time."""
    rows = [ONE[name](image.numpy(), row.double().numpy()) for name, image, row in zip(names, images, u)]
    return torch.from_numpy(np.stack(rows))


def assert_close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


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


# Drawing

def operator_of(record):
    """Name of the operator of each group of a single-operator record."""
    names = [None] * record.num_groups
    for name, members, _ in record.stages[0]:
        for group in members:
            names[group] = name
    return names


def uniforms_of(record, stage=0):
    u = torch.full((record.num_groups, 3), torch.nan)
    for _, members, rows in record.stages[stage]:
        u[torch.from_numpy(members)] = rows
    return u


def assert_uniform_choice(counts, total):
    expected = total / len(ALL)
    assert set(counts) == set(ALL)
    for count in counts.values():
        assert abs(count - expected) < 5 * math.sqrt(expected * (1 - 1 / len(ALL)))


def test_every_operator_is_drawn_equally_often_for_classes():
    assert_uniform_choice(Counter(operator_of(draw_siamese(FULL_STRATEGY, 60000, seeded()))), 60000)


def test_every_operator_is_drawn_equally_often_for_minibatches():
    rng = seeded()
    drawn = Counter(draw_independent(FULL_STRATEGY, 2, rng).stages[0][0][0] for _ in range(3000))
    assert_uniform_choice(drawn, 3000)


def test_magnitudes_are_uniform_and_uncorrelated_with_each_other_and_the_operator():
    record = draw_siamese(FULL_STRATEGY, 50000, seeded(2))
    operators = torch.tensor([ALL.index(name) for name in operator_of(record)])
    columns = torch.column_stack((operators, uniforms_of(record)))
    correlation = torch.corrcoef(columns.T.double()) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(50000)
    assert columns[:, 1:].min() >= 0 and columns[:, 1:].max() < 1
    assert (columns[:, 1:].mean(0) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 50000)


@pytest.mark.parametrize("draw", [draw_siamese, draw_independent])
@pytest.mark.parametrize("mode", ["S", "M"])
def test_draws_depend_on_the_generator_alone(draw, mode):
    images = batch(20)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two, other = (draw(FULL_STRATEGY, 20, seeded(s), mode=mode)(images) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_one_is_used():
    torch.manual_seed(3)
    one = draw_siamese(FULL_STRATEGY, 5)(batch(5))
    torch.manual_seed(3)
    assert torch.equal(draw_siamese(FULL_STRATEGY, 5)(batch(5)), one)


def test_independent_draw_has_one_operator_with_magnitudes_per_image():
    record = draw_independent("scale", 9, seeded())
    (name, members, u), = record.stages[0]
    assert name == "scale" and list(members) == list(range(9)) and len(u.unique(dim=0)) == 9
    images = batch(9)
    assert_close(record(images), by_hand(["scale"] * 9, images, u))


@pytest.mark.parametrize("strategy", [None, "", "none", "None"])
@pytest.mark.parametrize("draw", [draw_siamese, draw_independent])
def test_empty_strategy_draws_the_identity(draw, strategy):
    images = batch(4)
    record = draw(strategy, 4, seeded())
    assert record.stages == () and record(images) is images


def test_unknown_operator_suggests_the_nearest_before_anything_is_drawn():
    with pytest.raises(ValueError, match="colour.*did you mean color"):
        draw_siamese("colour_crop", 3)
    with pytest.raises(ValueError, match="rotation.*did you mean rotate"):
        parse_strategy("crop_rotation")
    assert parse_strategy("flip_crop") == ("flip", "crop")


def test_digits_are_not_mirrored_by_default():
    for name in ("MNIST", "SVHN", "Digits"):
        assert set(parse_strategy(default_strategy(name))) == set(ALL) - {"flip"}
    for name in ("CIFAR10", "CIFAR100", "FashionMNIST", "TinyImageNet", "folder"):
        assert set(parse_strategy(default_strategy(name))) == set(ALL)


# Applying to groups

CLASSES = 12
COUNTS = [5, 1, 3, 7, 2, 4, 6, 1, 2, 3, 5, 4]


def class_record(mode="S"):
    record = draw_siamese(FULL_STRATEGY, CLASSES, seeded(3), mode=mode)
    if mode == "S":
        assert set(operator_of(record)) == set(ALL)        # the seed gives each operator to some class
    return record


def class_alone(record, c):
    """The record of class `c` as one of its own, with a single group."""
    stages = []
    for stage in record.stages:
        (name, members, u), = [entry for entry in stage if c in entry[1]]
        stages.append(((name, np.arange(1), u[list(members).index(c)][None]),))
    return Record(1, tuple(stages), record.strengths)


@pytest.mark.parametrize("mode", ["S", "M"])
@pytest.mark.parametrize("counts", [COUNTS, [2] * CLASSES, [1] * CLASSES])
def test_all_classes_in_one_call_equal_class_by_class(mode, counts):
    record, groups = class_record(mode), np.repeat(np.arange(CLASSES), counts)
    images = batch(len(groups), height=9, width=8)
    expected = torch.cat([class_alone(record, c)(images[groups == c]) for c in range(CLASSES)])
    assert_close(record(images, groups), expected)


def test_every_class_gets_its_own_operator_and_one_draw_for_all_its_images():
    record, groups = class_record(), np.repeat(np.arange(CLASSES), COUNTS)
    images, names = batch(len(groups)), operator_of(record)
    expected = by_hand([names[g] for g in groups], images, uniforms_of(record)[groups])
    assert_close(record(images, groups), expected)


def test_real_and_synthetic_images_get_the_same_treatment():
    record = class_record()
    synthetic_groups, real_groups = np.repeat(np.arange(CLASSES), 2), np.repeat(np.arange(CLASSES), 9)
    synthetic, real = batch(2 * CLASSES), batch(9 * CLASSES, seed=1)
    for c in range(CLASSES):                               # the first two real images of a class: synthetic
        real[9 * c:9 * c + 2] = synthetic[2 * c:2 * c + 2]
    treated = record(real, real_groups).view(CLASSES, 9, *real.shape[1:])[:, :2].flatten(0, 1)
    assert_close(treated, record(synthetic, synthetic_groups))


@settings(max_examples=30, deadline=None)
@given(groups=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=30), data=st.data())
def test_order_and_chunks_of_images_change_nothing(groups, data):
    record, images = class_record(), batch(len(groups))
    whole = record(images, groups)
    order = data.draw(st.permutations(range(len(groups))))
    assert_close(record(images[order], np.asarray(groups)[order]), whole[order])
    chunk = data.draw(st.integers(1, len(groups)))
    parts = [record(images[i:i + chunk], groups[i:i + chunk]) for i in range(0, len(groups), chunk)]
    assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize("num", [1, 2, 255, 256, 300])
def test_what_happens_to_an_image_does_not_depend_on_the_batch_size(num):
    images = batch(300)
    for name in ALL:
        record = draw_siamese(name, 1, seeded(3))
        assert_close(record(images[:num]), record(images)[:num])


def test_all_operators_apply_in_the_order_written():
    images = batch(4)
    for strategy in (FULL_STRATEGY, "rotate_cutout_color", "color_cutout_rotate", "crop_crop"):
        record, expected = draw_siamese(strategy, 4, seeded(2), mode="M"), images
        for stage, name in enumerate(parse_strategy(strategy)):
            expected = by_hand([name] * 4, expected, uniforms_of(record, stage))
        assert_close(record(images), expected)


def test_groups_that_a_stage_does_not_list_stay_as_they_are():
    record = Record(3, ((("cutout", np.array([1]), uniforms(1)),),))
    images = batch(6)
    out = record(images, [0, 1, 2, 0, 1, 2])
    untouched = [0, 2, 3, 5]
    assert torch.equal(out[untouched], images[untouched])
    assert_close(out[[1, 4]], by_hand(["cutout"] * 2, images[[1, 4]], record.stages[0][0][2].expand(2, 3)))


def test_one_operator_each_obeys_choice_and_uniforms_of_every_image():
    choice, u, images = [3, 0, 5, 1, 3, 2, 4, 0], uniforms(8), batch(8)
    names = [ALL[c] for c in choice]
    assert_close(one_operator_each(ALL, choice, u)(images), by_hand(names, images, u))


def test_a_record_can_be_replayed():
    record, groups, images = class_record(), np.arange(30) % CLASSES, batch(30)
    untouched = images.clone()
    assert torch.equal(record(images, groups), record(images, groups))
    assert torch.equal(images, untouched)


@pytest.mark.parametrize("mode", ["S", "M"])
def test_gradients_through_a_record_agree_with_finite_differences(mode):
    record, groups = class_record(mode), [3, 0, 1, 2, 3, 5, 7, 11]
    images = batch(len(groups), 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: record(x, groups), (images,))


def test_images_that_fit_no_group_are_refused():
    with pytest.raises(ValueError, match="5 images.*3 groups"):
        draw_siamese("crop", 3, seeded())(batch(5))


def test_strengths_are_obeyed():
    images, none = batch(3), Strengths(ratio_crop_pad=0, prob_flip=0, ratio_rotate=0, ratio_cutout=0)
    for name in ("crop", "flip", "rotate", "cutout"):
        assert_close(draw_siamese(name, 1, seeded(), strengths=none)(images), images)
