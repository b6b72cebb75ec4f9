"""IDC's composition of operators against applying them one after another to one image at a time."""

from collections import Counter

import numpy as np
import pytest
import torch

import augment
from condense.augmentation.composed import Composition, draw_composed
from condense.augmentation.siamese import FULL_STRATEGY
from tests.augmentation.siamese_by_hand import ONE, assert_close, batch, seeded


def composed_one(image, names, choice, uniforms):
    """One image (C, H, W): flip, colour, the choice, cutout, each where `names` lists it, by its row of `uniforms`."""
    rows, image = iter(uniforms.double().numpy()), image.numpy()
    for name in ("flip", "color"):
        image = ONE[name](image, next(rows)) if name in names else image
    others = [name for name in names if name in ("crop", "scale", "rotate")]
    image = ONE[others[choice]](image, next(rows)) if others else image
    return ONE["cutout"](image, next(rows)) if "cutout" in names else image


@pytest.mark.parametrize("strategy", [FULL_STRATEGY, "color_crop_cutout", "color_crop_scale_rotate", "cutout_flip",
                                      "rotate_crop", "color", "scale_color_flip"])
def test_images_go_through_the_operators_as_one_at_a_time_by_hand(strategy):
    composition, images, names = Composition.of(strategy), batch(), strategy.split("_")
    number = max(1, len(composition))
    uniforms = torch.rand(6, composition.num_stages, 3, generator=seeded(1))
    choices = [i % number for i in range(6)]
    record = composition.record(choices, uniforms)
    expected = [composed_one(*each) for each in zip(images, [names] * 6, choices, uniforms)]
    assert_close(record(images), torch.from_numpy(np.stack(expected)))


def test_the_order_of_the_words_says_nothing_but_which_choice_comes_first():
    assert Composition.of("cutout_crop_color_flip") == Composition.of("flip_color_cutout_crop")
    assert Composition.of("rotate_flip_crop").choices == ("rotate", "crop")


def test_an_empty_strategy_draws_the_identity():
    images = batch()
    assert torch.equal(draw_composed("none", 6, seeded())(images), images)


def test_an_unknown_operator_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean rotate"):
        Composition.of("color_rotat")


def stages(record):
    """Return the operators of each stage, as a set of names."""
    return [{name for name, _, _ in stage} for stage in record.stages]


def test_groups_draw_their_own_choice_and_training_minibatches_one_for_all():
    rng = seeded()
    own = [draw_composed(FULL_STRATEGY, 40, rng) for _ in range(3)]
    assert all(stages(record) == [{"flip"}, {"color"}, {"crop", "scale", "rotate"}, {"cutout"}] for record in own)
    same = Counter(next(iter(stages(draw_composed(FULL_STRATEGY, 5, rng, same_choice=True))[2])) for _ in range(300))
    assert set(same) == {"crop", "scale", "rotate"} and min(same.values()) > 60            # 100 expected of each


def test_magnitudes_differ_from_image_to_image_and_from_stage_to_stage():
    record = draw_composed(FULL_STRATEGY, 9, seeded(), same_choice=True)
    uniforms = torch.cat([drawn for stage in record.stages for _, _, drawn in stage])
    assert len(uniforms.unique(dim=0)) == 4 * 9


def test_one_record_does_the_same_to_real_and_synthetic_images_of_a_class():
    record, images = draw_composed(FULL_STRATEGY, 2, seeded()), batch(6)
    once = record(images, [0, 0, 0, 1, 1, 1])
    assert_close(record(images[[4, 0]], [1, 0]), once[[4, 0]])
    assert not torch.equal(once, images)


def test_a_joint_call_on_real_and_synthetic_images_is_the_record_replayed_on_each():
    """The published code augments both batches of a class in one call, so that they share every draw."""
    record = augment.draw_composed("color_crop_cutout_flip_scale_rotate", 3, seeded())
    real, synthetic, of_real, of_synthetic = batch(9), batch(6, seed=1), [0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 1, 1, 2, 2]
    joint = record(torch.cat((real, synthetic)), of_real + of_synthetic)
    assert_close(torch.cat((record(real, of_real), record(synthetic, of_synthetic))), joint)


def test_the_generator_alone_decides():
    images = batch(4)
    one, two, other = (draw_composed(FULL_STRATEGY, 4, seeded(seed))(images) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_gradients_reach_the_images():
    images = batch(3).requires_grad_()
    draw_composed("color_crop_flip_scale_rotate", 3, seeded())(images).sum().backward()
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()
