"""Shuffled passes over the real images, and the crops and flips that they come in."""

import torch
import torch.nn.functional as F

from condense.core.randomness import Streams
from condense.training.passes import Passes, crop_and_flip


def passes(digits, size=400):
    rng = Streams(0)
    return Passes(digits, size, lambda epoch: rng("data", 0, epoch))


def test_a_pass_sees_every_image_once_and_keeps_its_smaller_last_minibatch(digits):
    one = passes(digits)
    assert one.length == -(-len(digits) // 400)
    for epoch in range(2):
        rows = [one.batch(epoch * one.length + step).index for step in range(one.length)]
        assert [len(part) for part in rows] == [400] * (one.length - 1) + [len(digits) - 400 * (one.length - 1)]
        assert torch.cat(rows).sort().values.tolist() == list(range(len(digits)))


def test_passes_differ_and_any_step_can_be_asked_for_alone(digits):
    one, other = passes(digits), passes(digits)
    rows = [one.batch(step).index for step in range(2 * one.length)]
    assert not torch.equal(rows[0], rows[one.length])
    for step in (one.length + 1, 0, 2):
        assert torch.equal(other.batch(step).index, rows[step])


def test_a_pass_goes_through_images_in_no_order_of_their_classes(digits):
    assert len(passes(digits, 50).batch(0).labels.unique()) == 10


def test_crops_are_those_cut_from_the_mirrored_image_one_by_one():
    images = torch.randn(40, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    found, padded = crop_and_flip(images, Streams(0)("augmentation", 0)), F.pad(images, [4] * 4, mode="reflect")
    assert found.shape == images.shape
    seen = set()
    for image, source in zip(found, padded):
        places = [(top, left, flip) for top in range(9) for left in range(9) for flip in (False, True)
                  if torch.equal(image, cut(source, top, left, flip))]
        assert len(places) == 1
        seen.update(places)
    assert {flip for _, _, flip in seen} == {False, True}
    assert len({top for top, _, _ in seen}) > 5 and len({left for _, left, _ in seen}) > 5


def cut(padded, top, left, flip):
    crop = padded[:, top:top + 12, left:left + 10]
    return crop.flip(-1) if flip else crop


def test_crops_are_the_same_for_the_same_generator_and_others_for_another():
    images = torch.randn(8, 1, 8, 8)
    one, again, other = (crop_and_flip(images, Streams(0)("augmentation", key)) for key in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
