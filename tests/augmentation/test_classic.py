"""The vectorised augmentation against one image at a time, written from the definition with SciPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from condense.augmentation.classic import (
    CLASSIC_DEFAULTS,
    apply_classic,
    augment_classic,
    classic_strategy,
    draw_classic,
    parse_classic,
)

ALL = "crop_scale_rotate_noise"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(num=64, channel=3, height=28, width=28, seed=0):
    return torch.randn(num, channel, height, width, generator=seeded(seed)) + 0.5


def crop_one(image, means, down, right):
    """Pad with the channel means and cut the window whose corner is (p + down, p + right)."""
    pad, (channel, height, width) = 4, image.shape
    padded = np.empty((channel, height + 2 * pad, width + 2 * pad), np.float32)
    padded[:] = means[:, None, None]
    padded[:, pad:pad + height, pad:pad + width] = image
    return padded[:, pad + down:pad + down + height, pad + right:pad + right + width]


def scale_one(image, means, new_height, new_width):
    """Resize by nearest neighbour, paste centred on a zero square, cut the central window."""
    channel, height, width = image.shape
    size = int(new_height), int(new_width)
    resized = torch.nn.functional.interpolate(torch.from_numpy(image)[None], size)[0]
    side = max(new_height, new_width, height, width)
    canvas = np.zeros((channel, side, side), np.float32)
    row, column = int((side - new_height) / 2), int((side - new_width) / 2)
    canvas[:, row:row + new_height, column:column + new_width] = resized.numpy()
    row, column = int((side - height) / 2), int((side - width) / 2)
    return canvas[:, row:row + height, column:column + width]


def rotate_one(image, means, angle):
    """Rotate on a canvas that grows with the angle, cut the central window."""
    _, height, width = image.shape
    turned = ndimage.rotate(image, angle=float(angle), axes=(-2, -1), order=3, cval=means.mean())
    row, column = int((turned.shape[-2] - height) / 2), int((turned.shape[-1] - width) / 2)
    return turned[:, row:row + height, column:column + width]


ONE = {"crop": crop_one, "scale": scale_one, "rotate": rotate_one}


def one_by_one(images, record):
    images = images.numpy()
    means, result = images.mean((0, 2, 3)), images.copy()
    for operation, index, magnitudes in record.steps:
        for i, *own in zip(index.tolist(), *(m.numpy() for m in magnitudes), strict=True):
            result[i] = ONE[operation](images[i], means, *own)
    return torch.from_numpy(result)


@pytest.mark.parametrize("strategy", ["crop", "scale", "rotate", "crop_scale_rotate"])
@pytest.mark.parametrize("channel, side", [(1, 28), (3, 32), (1, 8), (3, 17)])
def test_equals_the_definition_image_by_image(strategy, channel, side):
    images = batch(100, channel, side, side)
    record = draw_classic(strategy, 100, (side, side), seeded(side))
    assert torch.allclose(apply_classic(images, record), one_by_one(images, record), atol=1e-4)


def test_crop_and_small_rotations_equal_the_definition_on_oblong_images():
    images = batch(30, 3, 20, 32)
    for strategy, param in (("crop", {}), ("rotate", {"rotate": 15})):
        record = draw_classic(strategy, 30, (20, 32), seeded(1), param)
        assert torch.allclose(apply_classic(images, record), one_by_one(images, record), atol=1e-4)


@pytest.mark.parametrize("size", [(28, 28), (17, 17), (24, 32)])
def test_every_angle_equals_scipy(size):
    angles = torch.arange(-45, 45)
    images = batch(90, 2, *size)
    record = draw_classic("rotate", 90, size, seeded())
    record = replace(record, steps=(("rotate", torch.arange(90), (angles,)),))
    rotated, expected = apply_classic(images, record), one_by_one(images, record)
    assert torch.allclose(rotated, expected, atol=1e-4)
    assert torch.allclose(rotated[45], images[45], atol=1e-5)            # 0 degrees


@pytest.mark.parametrize("side", [8, 28, 32, 33, 64])
def test_every_resized_side_equals_pytorch_nearest(side):
    images = batch(1, 1, side, side)
    for size in range(int(0.8 * side), int(1.2 * side) + 1):
        record = draw_classic("scale", 1, (side, side), seeded())
        step = ("scale", torch.tensor([0]), (torch.tensor([size]), torch.tensor([side])))
        record = replace(record, steps=(step,))
        assert torch.equal(apply_classic(images, record), one_by_one(images, record))


def test_operations_are_chosen_per_image_and_equally_often():
    record = draw_classic(ALL, 40_000, (4, 4), seeded())
    counts = [len(index) for _, index, _ in record.steps]
    assert torch.cat([index for _, index, _ in record.steps]).sort().values.equal(torch.arange(40_000))
    assert all(abs(count - 10_000) < 5 * (40_000 * 3 / 16) ** 0.5 for count in counts)


def test_magnitudes_fill_their_ranges():
    (_, _, shifts), = draw_classic("crop", 20_000, (28, 28), seeded()).steps
    assert all(sorted(set(shift.tolist())) == list(range(-4, 4)) for shift in shifts)
    (_, _, sizes), = draw_classic("scale", 20_000, (28, 28), seeded()).steps
    assert all(sorted(set(size.tolist())) == list(range(22, 34)) for size in sizes)
    (_, _, (angles,)), = draw_classic("rotate", 20_000, (28, 28), seeded()).steps
    assert sorted(set(angles.tolist())) == list(range(-45, 45))
    assert all(abs(np.corrcoef(*pair)[0, 1]) < 0.03 for pair in (shifts.numpy(), sizes.numpy()))


def test_width_is_scaled_from_the_height_as_published():
    (_, _, (heights, widths)), = draw_classic("scale", 5000, (20, 100), seeded()).steps
    assert 16 <= heights.min() and heights.max() < 24
    assert 16 <= widths.min() and widths.max() < 24


def test_noise_is_gaussian_and_small():
    images = batch(50)
    noise = augment_classic(images, "noise", seeded()) - images
    assert noise.std().item() == pytest.approx(0.001, rel=0.02) and abs(noise.mean()) < 1e-5
    assert not torch.equal(noise[0], noise[1])


def test_input_is_untouched_and_the_result_has_no_graph():
    images = batch(40).requires_grad_(True)
    before = images.detach().clone()
    for strategy in (ALL, "none"):
        result = augment_classic(images, strategy, seeded())
        assert torch.equal(images.detach(), before)
        assert result.data_ptr() != images.data_ptr() and not result.requires_grad
    assert torch.equal(result, before)                                   # "none" changes nothing


def test_same_generator_same_result_and_records_replay():
    images, before = batch(40), torch.get_rng_state()
    one = augment_classic(images, ALL, seeded(3))
    assert torch.equal(one, augment_classic(images, ALL, seeded(3)))
    assert not torch.equal(one, augment_classic(images, ALL, seeded(4)))
    record = draw_classic(ALL, 40, (28, 28), seeded(3))
    assert torch.equal(apply_classic(images, record), one)
    assert torch.equal(apply_classic(images, record), one)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_one_decides():
    images = batch(40)
    torch.manual_seed(0)
    one, two = augment_classic(images, ALL), augment_classic(images, ALL)
    torch.manual_seed(0)
    assert torch.equal(augment_classic(images, ALL), one) and not torch.equal(one, two)


def test_fills_are_channel_means_zero_and_one_mean_of_all():
    images = batch(30, 3, 16, 16) + torch.tensor([0.0, 10.0, 20.0]).view(3, 1, 1)
    means = images.mean((0, 2, 3))

    def only(strategy, *magnitudes):
        record = draw_classic(strategy, 30, (16, 16), seeded())
        record = replace(record, steps=((strategy, torch.tensor([0]), magnitudes),))
        return apply_classic(images, record)[0]

    cropped = only("crop", torch.tensor([-4]), torch.tensor([0]))
    assert torch.equal(cropped[:, :4, 0], means[:, None].expand(3, 4))
    assert torch.equal(only("scale", torch.tensor([12]), torch.tensor([12]))[:, 0, 0], torch.zeros(3))
    assert torch.allclose(only("rotate", torch.tensor([44]))[:, 0, 0], means.mean().expand(3))


def test_strategies_are_checked_before_anything_is_drawn():
    assert parse_classic("crop_scale_rotate") == ("crop", "scale", "rotate")
    assert parse_classic("none") == parse_classic("None") == parse_classic("") == parse_classic(None) == ()
    with pytest.raises(ValueError, match="did you mean rotate.*crop, scale, rotate, noise"):
        parse_classic("crop_rotat")
    assert parse_classic(CLASSIC_DEFAULTS["strategy"]) == ()


@pytest.mark.parametrize("dataset, model, expected", [
    ("MNIST", "ConvNet", "crop_scale_rotate"), ("MNIST", "ConvNetBN", "crop_noise"),
    ("CIFAR10", "ConvNetBN", "crop_noise"), ("CIFAR10", "ConvNet", "none"), ("FashionMNIST", "MLP", "none"),
    ("CIFAR10", "ConvNetASwishBN", "none")])
def test_the_strategy_follows_dataset_and_model(dataset, model, expected):
    assert classic_strategy(dataset, model) == expected


def test_parameters_can_be_changed():
    images = batch(20)
    still = {"crop": 0, "scale": 0.0, "rotate": 0, "noise": 0.0}
    assert torch.allclose(augment_classic(images, ALL, seeded(), still), images, atol=1e-5)


def test_a_record_for_another_batch_is_refused():
    record = draw_classic("crop", 8, (28, 28), seeded())
    with pytest.raises(ValueError, match="the record is for 8 images"):
        apply_classic(batch(9), record)


@pytest.mark.parametrize("num", [0, 1])
def test_tiny_batches_work(num):
    assert augment_classic(batch(num), ALL, seeded()).shape == (num, 3, 28, 28)
