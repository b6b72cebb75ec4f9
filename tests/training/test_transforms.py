"""Augmentations on pixels: the way there and back, torchvision's draws under our seeds, and IDC's for ImageNet."""

import math
from functools import partial

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from condense.core.randomness import Streams
from condense.data import RealData, Whitening, load_data
from condense.data.space import Space
from condense.evaluation import Scorer, evaluate
from condense.evaluation import score as score_module
from condense.evaluation.selection import SelectionImages
from condense.networks import get_network
from condense.operators import Compute
from condense.synthetic import build_synthetic
from condense.training import Protocol, TensorSet
from condense.training.train import train_network, train_stacked
from condense.training.transforms import (
    PER_MINIBATCH,
    PIXEL_KINDS,
    _boxes,
    augment_imagenet,
    augment_pixels,
    jitter,
    lighting,
    resized_crops,
)
from tests.training.training_by_hand import PLAIN, seeded

STRATEGIES = {"autoaugment": "cifar10"}
GREY, COLOUR = (0.3,), (0.5, 0.4, 0.3)


def space(channels=3):
    return Space("normalised", *((GREY, (0.25,)) if channels == 1 else (COLOUR, (0.2, 0.25, 0.3))))


def levels(number=5, channels=3, side=8, seed=0):
    return torch.randint(256, (number, channels, side, side), generator=seeded(seed), dtype=torch.uint8)


def augmented(images, kind, strategy=None, seed=0, pixels=None):
    rng = seeded(seed)
    return augment_pixels(images, kind, strategy or STRATEGIES.get(kind, "none"), pixels or space(images.shape[1]), rng,
                          rng)


def as_levels(images, pixels=None):
    return (pixels or space(images.shape[1])).decode(images).mul(255)


def normalised(number=5, channels=3, side=8, seed=0):
    return space(channels).encode(levels(number, channels, side, seed).double() / 255)


@pytest.fixture(scope="module")
def whitened():
    real = load_data("Digits")
    real.whiten(Whitening.fit(real.images))
    return real


def test_a_space_goes_where_the_data_goes_and_back(digits, whitened):
    for real in (digits, whitened):
        pixels = levels(4, 1)
        own = Space.of(real)
        torch.testing.assert_close(own.encode(pixels / 255), real.normalise(pixels), rtol=1e-4, atol=1e-4)
        images = real.normalise(pixels)
        torch.testing.assert_close(own.decode(images).clamp(0, 1), real.denormalise(images), rtol=1e-4, atol=1e-4)
        assert own.decode(100 * torch.ones(1, 1, 8, 8)).max() > 1                  # nothing is clamped on the way


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", PER_MINIBATCH)
def test_minibatches_are_what_torchvision_makes_of_the_same_bytes_under_the_drawn_seed(kind, channels):
    transform = {"autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10), "randaugment": v2.RandAugment(1),
                 "jitter": v2.Compose([v2.RandomCrop(8, padding=4), v2.RandomHorizontalFlip(),
                                       v2.ColorJitter(0.4, 0.4, 0.4, 0.2)]),
                 "cifar": v2.Compose([v2.RandomCrop(8, padding=4), v2.RandomHorizontalFlip()])}[kind]
    changed = 0
    for seed in range(8):
        result = as_levels(augmented(normalised(5, channels), kind, seed=seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(seed))))
            expected = transform(levels(5, channels))
        torch.testing.assert_close(result, expected.double(), rtol=0, atol=1e-6)
        changed += not torch.equal(expected, levels(5, channels))
    assert changed > 3


def test_crops_and_flips_are_one_of_all_there_are_and_the_same_for_the_whole_minibatch():
    pixels = levels(3, 1)
    padded = torch.nn.functional.pad(pixels, (4, 4, 4, 4))
    found = set()
    for seed in range(60):
        result = as_levels(augmented(normalised(3, 1), "cifar", seed=seed)).round().to(torch.uint8)
        places = [(top, left, flip) for top in range(9) for left in range(9) for flip in (False, True)
                  if torch.equal((lambda x, f=flip: x.flip(3) if f else x)(
                      padded[:, :, top:top + 8, left:left + 8]), result)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 40 and {flip for _, _, flip in found} == {False, True}


def test_jitter_gives_all_images_of_a_minibatch_the_same_colours():
    images = normalised(1).expand(4, -1, -1, -1)
    result = augmented(images, "jitter", seed=3)
    assert torch.equal(result[0], result[3]) and not torch.equal(result[0], images[0])


def test_the_hole_of_cifar_has_the_mean_colour_and_is_the_same_in_all_images():
    sizes = set()
    for seed in range(40):
        with_hole, without = (augmented(normalised(3, side=40), "cifar", strategy, seed) for strategy in
                              ("cutout", "none"))
        hole = (with_hole == 0).all(1)                          # (N, H, W)
        assert torch.equal(hole[0], hole[1]) and torch.equal(hole[0], hole[2])
        assert torch.equal(with_hole[~hole[:, None].expand_as(with_hole)],
                           without[~hole[:, None].expand_as(without)])
        rows, columns = hole[0].any(1).nonzero().flatten(), hole[0].any(0).nonzero().flatten()
        assert int(hole[0].sum()) == len(rows) * len(columns)
        sizes |= {len(rows), len(columns)}
    assert max(sizes) == 16 and min(sizes) >= 8


def test_pixels_are_rounded_to_eight_bits_and_cut_at_black_and_white():
    images = space().encode(torch.full((2, 3, 8, 8), 1.7).double())
    result = as_levels(augmented(images, "randaugment", seed=1))
    assert result.max() <= 255 + 1e-6
    torch.testing.assert_close(result, result.round(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", PIXEL_KINDS)
def test_the_generator_alone_decides_and_the_global_one_is_left_alone(kind):
    before, images = torch.get_rng_state(), normalised(6)
    results = [augmented(images, kind, seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(results[0], results[1])
    assert any(not torch.equal(results[0], other) for other in results[2:])
    assert results[0].dtype == images.dtype


def test_autoaugment_goes_by_the_policy_that_is_named():
    images = normalised(4)
    one, two = ([augmented(images, "autoaugment", policy, seed) for seed in range(6)] for policy in
                ("cifar10", "imagenet"))
    assert any(not torch.equal(a, b) for a, b in zip(one, two))


def test_augmentations_on_pixels_ask_for_the_space(digits):
    data, net = digits.sample(digits.classes, 1, seeded()), get_network("MLP", *digits.spec, rng=seeded())
    protocol = Protocol(1, augmentation="randaugment")
    for train in (lambda: train_network(net, data, protocol, seeded()),
                  lambda: train_stacked([net], [data], protocol, [seeded()])):
        with pytest.raises(ValueError, match="augmentation randaugment works on pixels; give their space with pixels="):
            train()


def test_imagenet_is_refused_for_grey_images(digits):
    with pytest.raises(ValueError, match="imagenet is for colour images; choose none"):
        score(digits, "imagenet")


def score(real, kind, tested=None):
    data = real.sample(real.classes, 2, seeded())
    protocol = Protocol(4, 0.05, 8, augmentation=kind, strategy=STRATEGIES.get(kind, "none"))
    return evaluate(TensorSet(data.images(), data.labels), tested or real, {"MLP": protocol}, 1,
                    partial(Streams(0), "evaluation"), Compute(), progress=False)["MLP"]


@pytest.mark.parametrize("together", [1, 2])
def test_the_time_that_scoring_takes_is_estimated_for_them_too(digits, monkeypatch, together):
    monkeypatch.setattr(score_module, "_networks_together", lambda *_: together)
    protocol = Protocol(4, 0.05, 8, augmentation="cifar", schedule="idc", cutmix=0.5)
    scorer = Scorer(digits, {"MLP": protocol}, 2, Compute(), Streams(0), progress=False)
    before = torch.get_rng_state()
    assert 0 < scorer.estimate(build_synthetic("pixels", digits, 1, "real", seeded())) < 10
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", PER_MINIBATCH)
def test_grey_digits_are_scored_normalised_and_whitened(digits, whitened, kind):
    for real in (digits, whitened):
        assert score(real, kind) == score(real, kind)
        assert score(real, kind)[0].train_loss != score(real, "none")[0].train_loss


def test_images_kept_for_selection_have_the_space_of_their_data(digits):
    kept = score(digits, "cifar", SelectionImages(digits, seeded()))
    assert kept[0].train_loss == score(digits, "cifar")[0].train_loss


def test_colour_images_are_scored_with_the_augmentation_of_imagenet():
    images, labels = levels(40, side=8), torch.arange(40) % 10
    real = RealData("colours", images, labels, images.clone(), labels, range(10))
    assert score(real, "imagenet") == score(real, "imagenet") != score(real, "none")


# IDC's, for ImageNet

def test_crops_are_enlarged_as_torchvision_does_it_one_by_one():
    pixels = torch.rand(5, 3, 12, 16, generator=seeded(), dtype=torch.float64)
    top, left, height, width = (torch.tensor(side, dtype=torch.float64) for side in
                                ([0, 2, 5, 0, 11], [0, 3, 0, 9, 15], [12, 7, 7, 12, 1], [16, 10, 16, 7, 1]))
    expected = [tv.resized_crop(image, int(t), int(x), int(h), int(w), (12, 16), antialias=False)
                for image, t, x, h, w in zip(pixels, top, left, height, width)]
    torch.testing.assert_close(resized_crops(pixels, top, left, height, width), torch.stack(expected))


def box_by_hand(high, wide, attempts, places):
    """The first attempt whose sides fit, at the place that the two uniforms say; else the largest box, centred."""
    for u, v in attempts:
        area = high * wide * (0.5 + 0.5 * u)
        ratio = math.exp(math.log(3 / 4) + v * (math.log(4 / 3) - math.log(3 / 4)))
        height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if height <= high and width <= wide:
            return int(places[0] * (high - height + 1)), int(places[1] * (wide - width + 1)), height, width
    height, width = high, wide
    if wide / high < 3 / 4:
        height = round(wide / (3 / 4))
    elif wide / high > 4 / 3:
        width = round(high * 4 / 3)
    return (high - height) // 2, (wide - width) // 2, height, width


@pytest.mark.parametrize("im_size", [(32, 32), (8, 20), (20, 8), (30, 40)])
def test_boxes_are_the_first_that_fit_as_by_hand(im_size):
    attempts = torch.rand(300, 10, 2, generator=seeded(), dtype=torch.float64)
    places = torch.rand(300, 2, generator=seeded(1), dtype=torch.float64)
    boxes = torch.stack(_boxes(im_size, attempts, places), 1).tolist()
    assert boxes == [list(box_by_hand(*im_size, *each)) for each in zip(attempts.tolist(), places.tolist())]
    assert len({tuple(box) for box in boxes}) > (100 if im_size == (32, 32) else 0)


def jittered_one(image, factors, order):
    """One image (3, H, W): brightness, contrast and saturation in the order given."""
    for operation in order:
        grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        pole = [torch.zeros_like(grey), torch.full_like(grey, grey.mean().item()), grey][operation]
        image = pole + factors[operation] * (image - pole)
    return image


def test_colours_are_jittered_in_each_images_own_order_as_one_by_one():
    pixels = torch.rand(6, 3, 5, 4, generator=seeded(), dtype=torch.float64) * 1.4 - 0.2
    factors = 0.6 + 0.8 * torch.rand(6, 3, generator=seeded(1), dtype=torch.float64)
    order = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    expected = [jittered_one(*each) for each in zip(pixels, factors.tolist(), order.tolist())]
    torch.testing.assert_close(jitter(pixels, factors, order), torch.stack(expected))


def test_jitter_agrees_with_torchvision_where_nothing_leaves_the_range():
    pixels = 0.4 + 0.1 * torch.rand(1, 3, 6, 6, generator=seeded(), dtype=torch.float64)
    order, factors = torch.tensor([[2, 0, 1]]), torch.tensor([[0.8, 1.3, 0.7]], dtype=torch.float64)
    expected = tv.adjust_contrast(tv.adjust_brightness(tv.adjust_saturation(pixels, 0.7), 0.8), 1.3)
    torch.testing.assert_close(jitter(pixels, factors, order), expected, rtol=0, atol=1e-3)      # its 0.299 is 0.2989


def test_lighting_adds_steps_along_the_axes_of_the_colours():
    colours = lighting(torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 2.0]], dtype=torch.float64))
    expected = [[0.2175 * value for value in (-0.5675, -0.5808, -0.5836)],
                [0.0188 * value for value in (0.7192, -0.0045, -0.6948)],
                [0.0090 * value for value in (0.4009, -0.8140, 0.4203)]]
    torch.testing.assert_close(colours, torch.tensor(expected, dtype=torch.float64))


def test_images_of_a_minibatch_are_augmented_each_its_own_way():
    pixels = torch.rand(1, 3, 16, 16, generator=seeded(), dtype=torch.float64).expand(200, -1, -1, -1)
    result = augment_imagenet(pixels, seeded(1))
    assert len(result.flatten(1).unique(dim=0)) == 200
    bright = result.mean((1, 2, 3)) / pixels[0].mean()
    assert 0.9 < bright.mean() < 1.1 and 0.5 < bright.min() < 0.75 and 1.3 < bright.max() < 1.6


def test_training_and_its_space_go_together_in_float64(digits):
    data = digits.sample(digits.classes, 2, seeded())
    double = TensorSet(data.images().double(), data.labels)
    net = get_network("MLP", *digits.spec, rng=seeded()).double()
    seen = []
    train_network(net, double, PLAIN.__class__(1, 0.05, 8, augmentation="cifar"), seeded(),
                  lambda images: seen.append(images) or net(images), pixels=Space.of(digits))
    assert {images.dtype for images in seen} == {torch.float64}
