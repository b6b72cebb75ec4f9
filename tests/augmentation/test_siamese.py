"""What is drawn for siamese augmentation, and what a record promises about groups."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.augmentation import Strengths, default_strategy, draw_independent, draw_siamese, parse_strategy
from condense.augmentation.siamese import FULL_STRATEGY, OPERATORS, Record, one_operator_each
from tests.augmentation.siamese_by_hand import assert_close, batch, by_hand, seeded, uniforms

ALL = tuple(OPERATORS)


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
