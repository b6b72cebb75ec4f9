"""The reference's augmentation calls: shared and independent draws, strengths, operators by definition."""

import math

import numpy as np
import pytest
import torch

from condense.compat import (
    AUGMENT_FNS,
    DiffAugment,
    ParamDiffAug,
    augment,
    augmentation,
    get_daparam,
    rand_brightness,
    rand_contrast,
    rand_crop,
    rand_cutout,
    rand_flip,
    rand_rotate,
    rand_saturation,
    rand_scale,
    set_seed_DiffAug,
)

FULL = "color_crop_cutout_flip_scale_rotate"
OPERATORS = FULL.split("_")
SIDE = 16


def pictures(num=5, channel=3, seed=0):
    return torch.randn(num, channel, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) + 0.3


def param_with(**attributes):
    param = ParamDiffAug()
    vars(param).update(attributes)
    return param


def shared(function, x, seed, **attributes):
    """Call a rand_ function the way the reference does inside a seeded DiffAugment."""
    return function(x, param_with(Siamese=True, latestseed=seed, **attributes))


# The Siamese property

@pytest.mark.parametrize("mode", "SM")
@pytest.mark.parametrize("strategy", [*OPERATORS, FULL])
def test_a_seed_means_the_same_augmentation_in_batches_of_any_size(strategy, mode):
    x, param = pictures(), param_with(aug_mode=mode)
    for seed in (0, 1, 7, 12345, 99999):
        whole = DiffAugment(x, strategy, seed=seed, param=param)
        for size in (1, 3):
            part = DiffAugment(x[:size], strategy, seed=seed, param=param)
            torch.testing.assert_close(part, whole[:size], rtol=0, atol=1e-6)


@pytest.mark.parametrize("strategy", OPERATORS)
def test_with_a_seed_all_images_share_one_draw_and_without_they_differ(strategy):
    x = pictures(1).expand(6, -1, -1, -1)
    together = DiffAugment(x, strategy, seed=3, param=ParamDiffAug())
    assert torch.allclose(together, together[:1].expand_as(together), atol=1e-6)
    torch.manual_seed(0)
    alone = DiffAugment(x, strategy, param=ParamDiffAug())
    assert not torch.allclose(alone, alone[:1].expand_as(alone), atol=1e-3)


@pytest.mark.parametrize("seed", [0, 42, np.int64(7)])
def test_a_seeded_call_leaves_the_global_generator_alone(seed):
    before = torch.get_rng_state()
    DiffAugment(pictures(), FULL, seed=seed, param=param_with(aug_mode="M"))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unseeded_call_draws_from_the_global_generator():
    x, outputs = pictures(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(DiffAugment(x, FULL, param=param_with(aug_mode="M")))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def test_use_is_noted_in_the_parameters():
    param = ParamDiffAug()
    DiffAugment(pictures(), "crop", seed=5, param=param)
    assert param.Siamese is True and param.latestseed > 5
    DiffAugment(pictures(), "crop", param=param)
    assert param.Siamese is False and param.latestseed == -1


def test_set_seed_seeds_and_advances_unless_there_is_no_seed():
    param = param_with(latestseed=11)
    set_seed_DiffAug(param)
    drawn = torch.rand(3)
    assert param.latestseed == 12
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(11)))
    param.latestseed, before = -1, torch.get_rng_state()
    set_seed_DiffAug(param)
    assert param.latestseed == -1 and torch.equal(torch.get_rng_state(), before)


# Choosing and combining operators

@pytest.mark.parametrize("strategy", ["", "none", "None", None])
def test_no_strategy_returns_the_images_themselves(strategy):
    x = pictures()
    assert DiffAugment(x, strategy, seed=1, param=ParamDiffAug()) is x


def test_single_mode_chooses_uniformly_also_among_a_scripts_own_operators(monkeypatch):
    for number, name in enumerate("abc"):
        monkeypatch.setitem(AUGMENT_FNS, name, [lambda x, param, number=number: x + number])
    x, param = torch.zeros(1, 1, 2, 2), ParamDiffAug()
    chosen = [int(DiffAugment(x, "a_b_c", seed=seed, param=param).max()) for seed in range(1500)]
    assert np.abs(np.bincount(chosen) / 1500 - 1 / 3).max() < 0.06


def test_multiple_mode_applies_all_operators_in_the_order_written():
    x = pictures()
    for seed in range(10):
        param = param_with(Siamese=True, latestseed=seed)
        by_hand = rand_crop(rand_contrast(rand_saturation(rand_brightness(x, param), param), param), param)
        assert torch.equal(DiffAugment(x, "color_crop", seed=seed, param=param_with(aug_mode="M")), by_hand)


@pytest.mark.parametrize("strategy, attributes, message", [
    ("color_crop_rotat", {}, "did you mean rotate"), ("crop", {"aug_mode": "X"}, "aug_mode 'X'")])
def test_what_does_not_exist_is_refused_before_anything_is_drawn(strategy, attributes, message):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        DiffAugment(pictures(), strategy, param=param_with(**attributes))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("strategy", OPERATORS)
def test_gradients_reach_the_images(strategy):
    x = pictures().requires_grad_()
    (DiffAugment(x, strategy, seed=4, param=ParamDiffAug()) ** 2).sum().backward()
    assert x.grad.isfinite().all() and (x.grad.flatten(1).abs().sum(1) > 0).all()


def test_no_gradient_reaches_erased_pixels():
    x = pictures().requires_grad_()
    out = DiffAugment(x, "cutout", seed=4, param=ParamDiffAug())
    (out ** 2).sum().backward()
    assert torch.equal(x.grad == 0, out == 0) and (out == 0).any()


# Strengths

def test_parameters_are_the_published_ones_as_plain_attributes():
    assert vars(ParamDiffAug()) == {
        "aug_mode": "S", "prob_flip": 0.5, "ratio_scale": 1.2, "ratio_rotate": 15.0, "ratio_crop_pad": 0.125,
        "ratio_cutout": 0.5, "brightness": 1.0, "saturation": 2.0, "contrast": 0.5}


@pytest.mark.parametrize("function, attributes", [
    (rand_brightness, {"brightness": 0.0}), (rand_crop, {"ratio_crop_pad": 0.0}),
    (rand_cutout, {"ratio_cutout": 0.0}), (rand_flip, {"prob_flip": 0.0}),
    (rand_scale, {"ratio_scale": 1.0}), (rand_rotate, {"ratio_rotate": 0.0})])
def test_an_operator_of_no_strength_changes_nothing(function, attributes):
    x = pictures()
    torch.testing.assert_close(function(x, param_with(**attributes)), x, rtol=0, atol=1e-5)


def test_no_saturation_is_grey_and_certain_flips_mirror():
    x = pictures()
    grey = rand_saturation(x, param_with(saturation=0.0))
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    assert torch.equal(rand_flip(x, param_with(prob_flip=1.0)), x.flip(3))


# Each operator against its definition; the draw is read off the result, not off the implementation

def test_brightness_adds_one_offset_within_half_its_strength():
    x = pictures()
    offsets = []
    for seed in range(200):
        change = shared(rand_brightness, x, seed, brightness=3.0) - x
        assert change.max() - change.min() < 1e-5
        offsets.append(float(change.mean()))
    assert -1.5 <= min(offsets) < -1.3 and 1.3 < max(offsets) < 1.5


@pytest.mark.parametrize("function, axes, lowest, highest", [
    (rand_saturation, (1,), 0.0, 2.0), (rand_contrast, (1, 2, 3), 0.5, 1.5)])
def test_saturation_and_contrast_stretch_around_a_mean(function, axes, lowest, highest):
    x, factors = pictures(), []
    mean = x.mean(axes, keepdim=True)
    deviation = x - mean
    for seed in range(200):
        out = shared(function, x, seed)
        factors.append(float(((out - mean) * deviation).sum() / deviation.square().sum()))
        torch.testing.assert_close(out, mean + factors[-1] * deviation, rtol=0, atol=1e-4)
    width = highest - lowest
    assert lowest - 1e-5 <= min(factors) < lowest + 0.1 * width
    assert highest - 0.1 * width < max(factors) <= highest + 1e-5


def test_saturation_does_nothing_to_one_channel():
    x = pictures(channel=1)
    torch.testing.assert_close(rand_saturation(x, ParamDiffAug()), x)


def test_crop_shifts_by_every_whole_number_up_to_an_eighth():
    x, most, seen = pictures(2), 2, set()
    padded = torch.nn.functional.pad(x, (most,) * 4)
    windows = {(i, j): padded[:, :, i:i + SIDE, j:j + SIDE] for i in range(5) for j in range(5)}
    for seed in range(400):
        out = shared(rand_crop, x, seed)
        seen.update(shift for shift, window in windows.items() if torch.equal(out, window))
    assert seen == set(windows)


def test_cutout_erases_a_rectangle_around_every_centre():
    x, size, seen = pictures(2), 8, set()
    for seed in range(1500):
        erased = (shared(rand_cutout, x, seed) == 0)[0, 0]
        sides = []
        for hit in (erased.any(1), erased.any(0)):
            at = hit.nonzero().flatten().tolist()
            assert at == list(range(at[0], at[-1] + 1)) and size // 2 <= len(at) <= size
            sides.append(at[0] + size // 2 if at[0] else at[-1] + 1 - size // 2)     # the centre, 0..SIDE
        assert erased.sum() == erased.any(1).sum() * erased.any(0).sum()
        seen.add(tuple(sides))
    centres = set(range(SIDE + 1))
    assert {row for row, _ in seen} == centres and {column for _, column in seen} == centres


def test_flip_mirrors_about_half_of_the_time():
    x = pictures(2)
    flipped = sum(torch.equal(shared(rand_flip, x, seed), x.flip(3)) for seed in range(400))
    assert 150 < flipped < 250
    assert sum(torch.equal(shared(rand_flip, x, seed), x) for seed in range(400)) == 400 - flipped


def sampled_by_hand(image, matrix):
    """Sample (C, SIDE, SIDE) bilinearly at `matrix` times each pixel's centred (x, y), zero outside."""
    out, half = np.zeros(image.shape), (SIDE - 1) / 2
    for i in range(SIDE):
        for j in range(SIDE):
            x, y = matrix @ np.array([j - half, i - half]) + half
            for r in (math.floor(y), math.floor(y) + 1):
                for c in (math.floor(x), math.floor(x) + 1):
                    if 0 <= r < SIDE and 0 <= c < SIDE:
                        out[:, i, j] += (1 - abs(y - r)) * (1 - abs(x - c)) * image[:, r, c]
    return out


def matrix_of(function, seed):
    """Recover the matrix of a warp from what it does to ramps, in the middle where no border is seen."""
    ramp = torch.arange(SIDE) - (SIDE - 1) / 2
    ramps = torch.stack((ramp.expand(SIDE, SIDE), ramp[:, None].expand(SIDE, SIDE)))[None]    # x and y
    inner = slice(4, SIDE - 4)
    before, after = (both[0, :, inner, inner].flatten(1).double().numpy()
                     for both in (ramps, shared(function, ramps, seed)))
    return np.linalg.lstsq(before.T, after.T, rcond=None)[0].T


@pytest.mark.parametrize("seed", range(6))
def test_scale_samples_each_axis_at_its_own_factor(seed):
    matrix = matrix_of(rand_scale, seed)
    (s_x, off), (off_too, s_y) = matrix
    assert abs(off) < 1e-5 and abs(off_too) < 1e-5
    assert min(s_x, s_y) >= 1 / 1.2 - 1e-5 and max(s_x, s_y) < 1.2 + 1e-5
    x = pictures(1)
    by_hand = torch.from_numpy(sampled_by_hand(x[0].numpy(), matrix)).float()
    torch.testing.assert_close(shared(rand_scale, x, seed)[0], by_hand, rtol=0, atol=1e-4)


def test_the_two_factors_of_scale_are_independent():
    factors = np.array([np.diag(matrix_of(rand_scale, seed)) for seed in range(300)])
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.2               # 3.5 standard errors
    assert (factors.max(0) > 1.18).all() and (factors.min(0) < 0.85).all()


@pytest.mark.parametrize("seed", range(6))
def test_rotate_samples_along_turned_axes(seed):
    matrix = matrix_of(rand_rotate, seed)
    angle = math.atan2(matrix[1, 0], matrix[0, 0])
    expected = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    np.testing.assert_allclose(matrix, expected, atol=1e-5)
    assert abs(math.degrees(angle)) <= 15
    x = pictures(1)
    by_hand = torch.from_numpy(sampled_by_hand(x[0].numpy(), matrix)).float()
    torch.testing.assert_close(shared(rand_rotate, x, seed)[0], by_hand, rtol=0, atol=1e-4)


def test_every_operator_of_the_strategy_has_its_functions():
    assert list(AUGMENT_FNS) == OPERATORS
    assert AUGMENT_FNS["color"] == [rand_brightness, rand_saturation, rand_contrast]
    assert all(AUGMENT_FNS[name] == [getattr(augmentation, f"rand_{name}")] for name in OPERATORS[1:])


# DC's augmentation

@pytest.mark.parametrize("dataset, model_eval, strategy", [
    ("CIFAR10", "ConvNet", "none"), ("FashionMNIST", "ConvNet", "none"), ("CIFAR10", "ResNet18BN", "none"),
    ("MNIST", "ConvNet", "crop_scale_rotate"), ("MNIST", "ConvNetBN", "crop_noise"),
    ("SVHN", "ConvNetBN", "crop_noise")])
def test_daparam_depends_on_dataset_and_evaluated_model(dataset, model_eval, strategy):
    expected = {"crop": 4, "scale": 0.2, "rotate": 45, "noise": 0.001, "strategy": strategy}
    assert get_daparam(dataset, "ConvNet", model_eval, 10) == expected


@pytest.mark.parametrize("param", [None, get_daparam("CIFAR10", "ConvNet", "ConvNet", 1)])
def test_classic_augmentation_without_a_strategy_changes_nothing(param):
    x = pictures()
    assert torch.equal(augment(x, param, "cpu"), x)


def test_classic_augmentation_follows_its_parameters_and_spares_its_input():
    x, param = pictures(), get_daparam("MNIST", "ConvNet", "ConvNet", 1)
    kept = x.clone()
    torch.manual_seed(0)
    out = augment(x, param, "cpu")
    assert torch.equal(x, kept) and not torch.equal(out, x) and out.shape == x.shape
    still = {**param, "strategy": "crop_rotate", "crop": 0, "rotate": 0}
    torch.testing.assert_close(augment(x, still, "cpu"), x)
