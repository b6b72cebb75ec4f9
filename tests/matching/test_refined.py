"""IDC's distances of gradients against plain loops in float64, the part of a set that is matched, and its step size."""

from functools import partial
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from condense.matching.class_gradients import PerClass, matching_over_classes
from condense.matching.refined import (
    REFINED_METRICS,
    DrawnPart,
    image_step,
    is_matched,
    part_of_each,
    refined_defaults,
    refined_distances,
)
from condense.networks.convnet import ConvNet
from condense.operators import Compute
from condense.synthetic.pixels import Pixels

# two convolutions, a bias, a norm's scale, a linear weight and its bias
SHAPES = [(4, 3, 2, 2), (4,), (4,), (3, 4, 2, 1), (5, 6), (5,)]
CLASSES = 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gradients(seed, shapes=SHAPES):
    rng = seeded(seed)
    return [torch.randn((CLASSES, *shape), generator=rng, dtype=torch.float64) for shape in shapes]


def distance_by_loops(real, synthetic, metric, bias, fc):
    """The definition for one class, channel by channel and number by number."""
    total = 0.0
    for a, b in zip(real, synthetic, strict=True):
        if (a.dim() == 1 and not bias) or (a.dim() == 2 and not fc):
            continue
        for channel in range(len(a)):
            r, s = a[channel].flatten().tolist(), b[channel].flatten().tolist()
            if metric == "mse":
                total += sum((x - y) ** 2 for x, y in zip(r, s))
            elif metric == "l1":
                total += sum(abs(x - y) for x, y in zip(r, s))
            elif metric == "l1_mean":
                total += sum(abs(x - y) for x, y in zip(r, s)) / len(r)
            else:
                norms = sqrt(sum(x * x for x in r)) * sqrt(sum(y * y for y in s))
                total += 1 - sum(x * y for x, y in zip(r, s)) / (norms + 1e-6)
    return total


@pytest.mark.parametrize("bias, fc", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("metric", REFINED_METRICS)
def test_distance_of_every_class_equals_a_loop_over_channels_and_entries(metric, bias, fc):
    real, synthetic = gradients(0), gradients(1)
    found = refined_distances(real, synthetic, metric, bias, fc)
    expected = [distance_by_loops([g[c] for g in real], [g[c] for g in synthetic], metric, bias, fc)
                for c in range(CLASSES)]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", REFINED_METRICS)
def test_equal_gradients_have_no_distance(metric):
    assert refined_distances(gradients(0), gradients(0), metric, True, True).tolist() == pytest.approx(
        [0] * CLASSES, abs=1e-3)                             # for tiny biases the epsilon of the cosine counts


@pytest.mark.parametrize("metric", REFINED_METRICS)
def test_biases_norms_and_linear_layers_are_heard_only_where_they_are_asked_for(metric):
    real, synthetic, other = gradients(0), gradients(1), gradients(2)
    for number, shape in enumerate(SHAPES):
        changed = [*synthetic[:number], other[number], *synthetic[number + 1:]]
        for bias, fc in ((False, False), (True, False), (False, True)):
            heard = len(shape) > 2 or (bias and len(shape) == 1) or (fc and len(shape) == 2)
            before, after = (refined_distances(real, side, metric, bias, fc) for side in (synthetic, changed))
            assert torch.equal(before, after) != heard and is_matched(shape, bias, fc) == heard


def test_lengths_count_in_all_metrics_but_the_cosine():
    real = gradients(0)
    longer = [3 * g for g in real]
    for metric in REFINED_METRICS:
        assert bool((refined_distances(real, longer, metric) > 1e-3).all()) == (metric != "cos")


def test_a_channel_without_gradient_costs_one_in_cos_and_breaks_nothing():
    real, synthetic = gradients(0, [(2, 3, 2, 2)]), [torch.zeros(CLASSES, 2, 3, 2, 2, dtype=torch.float64)]
    synthetic[0].requires_grad_()
    distance = refined_distances(real, synthetic, "cos")
    distance.sum().backward()
    assert distance.tolist() == [2.0] * CLASSES and synthetic[0].grad.isfinite().all()


def test_unknown_metrics_and_networks_without_convolutions_are_refused():
    with pytest.raises(ValueError, match="unknown distance metric 'l2'; choose one of: mse, l1, l1_mean, cos"):
        refined_distances(gradients(0), gradients(1), "l2")
    with pytest.raises(ValueError, match="give --fc True"):
        refined_distances(gradients(0, [(5, 6), (5,)]), gradients(1, [(5, 6), (5,)]))


# As a loss of images

class Batch:
    def __init__(self, pixels, counts):
        self.pixels, self.counts = pixels, counts

    @property
    def labels(self):
        return torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))

    def images(self, index=None):
        return self.pixels if index is None else self.pixels[index]


def drawn(number, seed):
    return torch.randn(number, 1, 8, 8, generator=seeded(seed), dtype=torch.float64)


def smooth_net():
    net = ConvNet(1, CLASSES, 6, 2, "swish", "instancenorm", "avgpooling", im_size=(8, 8))
    rng = seeded(3)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) / 2
    return net.double()


def loss_of(net, pixels, metric, index=None):
    """The loss of IDC over all classes of a set with 3 images of each class, or of a part of it."""
    whole, real = Batch(pixels, [3] * CLASSES), Batch(drawn(12, 1), [4] * CLASSES)
    part = whole if index is None else DrawnPart(whole, index, [len(index) // CLASSES] * CLASSES)

    def distance(a, b):
        return refined_distances(a, b, metric).sum()

    return matching_over_classes(distance, PerClass(net, Compute(), 2), real, part)


@pytest.mark.parametrize("metric", REFINED_METRICS)
def test_loss_of_images_is_the_distance_of_mean_gradients_class_by_class(metric):
    net, pixels, real = smooth_net(), drawn(9, 2), drawn(12, 1)
    expected = 0
    for c in range(CLASSES):
        sides = [torch.autograd.grad(F.cross_entropy(net(images), torch.full((len(images),), c)), net.parameters())
                 for images in (real[4 * c:4 * c + 4], pixels[3 * c:3 * c + 3])]
        expected += distance_by_loops(*sides, metric, False, False)
    assert loss_of(net, pixels.requires_grad_(), metric).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("part", [None, [0, 2, 3, 4, 8, 6]])
@pytest.mark.parametrize("metric", REFINED_METRICS)
def test_image_gradient_agrees_with_central_differences(metric, part):
    net, pixels = smooth_net(), drawn(9, 2).requires_grad_()
    index = None if part is None else torch.tensor(part)
    slope, = torch.autograd.grad(loss_of(net, pixels, metric, index), pixels)
    step = 1e-6
    for seed in range(3):
        along = drawn(9, 10 + seed)
        sides = [loss_of(net, (pixels + sign * step * along).detach().requires_grad_(), metric, index)
                 for sign in (1, -1)]
        difference = float((sides[0] - sides[1]).detach()) / (2 * step)
        assert float((slope * along).sum()) == pytest.approx(difference, rel=1e-4, abs=1e-6 * float(slope.norm()))
    if part is not None:
        left_out = sorted(set(range(9)) - set(part))
        assert slope[left_out].abs().max() == 0 < slope[part].abs().amax((1, 2, 3)).min()


# The part that is matched

@given(number=st.integers(1, 4), count=st.integers(1, 7), most=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_a_part_holds_as_many_images_of_each_class_as_asked_for_and_none_twice(number, count, most, seed):
    whole = Pixels(number, count, 1, (2, 2))
    whole.pixels.data = torch.arange(whole.pixels.numel()).view(whole.pixels.shape).float()
    part = part_of_each(whole, most, seeded(seed))
    assert (part is whole) == (count <= most)
    taken = min(count, most)
    assert part.counts == [taken] * number
    assert part.labels.tolist() == [c for c in range(number) for _ in range(taken)]
    positions = (part.images()[:, 0, 0, 0] / 4).long().tolist()
    assert len(set(positions)) == len(positions)
    assert [position // count for position in positions] == part.labels.tolist()
    assert torch.equal(part.images(slice(0, taken)), part.images()[:taken])


def test_a_part_is_drawn_anew_by_another_seed_and_reaches_every_image():
    whole = Pixels(2, 6, 1, (2, 2))
    parts = [part_of_each(whole, 2, seeded(seed)).index.tolist() for seed in range(40)]
    assert parts[0] == part_of_each(whole, 2, seeded(0)).index.tolist() != parts[1]
    assert {position for part in parts for position in part} == set(range(12))


# Settings and step size

@pytest.mark.parametrize("dataset, channel, classes, large, expected", [
    ("CIFAR10", 3, 10, False, (2000, "mse", 5e-3, 2000, 0)), ("CIFAR100", 3, 100, False, (2000, "mse", 5e-3, 2000, 0)),
    ("SVHN", 3, 10, False, (2000, "mse", 5e-3, 500, 0)), ("MNIST", 1, 10, False, (2000, "l1", 1e-4, 500, 0)),
    ("FashionMNIST", 1, 10, False, (2000, "l1", 1e-4, 500, 0)),
    ("ImageNet", 3, 10, True, (500, "l1", 3e-3, 500, 10)), ("ImageNet", 3, 100, True, (500, "l1", 1e-3, 500, 10)),
    ("folder", 1, 10, False, (2000, "l1", 1e-4, 500, 0)), ("TinyImageNet", 3, 200, False, (2000, "mse", 5e-3, 500, 0)),
    ("Digits", 1, 10, False, (10, "l1", 1.0, 500, 0)),
])
def test_settings_are_those_published_for_the_data_or_for_what_is_most_like_it(
        dataset, channel, classes, large, expected):
    found = refined_defaults(dataset, channel, classes, large)
    assert (found.niter, found.metric, found.lr_img, found.n_data, found.early) == expected


@pytest.mark.parametrize("dataset, side, lr_img, by_ipc", [
    ("CIFAR10", 32, 5e-3, {1: 5e-4, 10: 5e-3, 20: 1e-2, 50: 2.5e-2}),
    ("MNIST", 28, 1e-4, {1: 1e-5, 10: 1e-4, 50: 5e-4}),
    ("FashionMNIST", 28, 1e-4, {1: 7.7e-6, 10: 7.7e-5, 50: 3.8e-4}),
    ("ImageNet", 224, 3e-3, {1: 3e-4, 10: 3e-3, 20: 6e-3}),
])
def test_step_sizes_on_raw_pixels_are_those_published_for_the_ipc(dataset, side, lr_img, by_ipc):
    for ipc, expected in by_ipc.items():
        found = image_step(lr_img, ipc, dataset, (side, side), [1.0], side > 64)
        assert found == pytest.approx(expected, rel=0.01)


def test_a_step_on_normalised_pixels_moves_as_the_published_one_on_raw_pixels():
    weights, raw, mean, std = drawn(4, 5), drawn(4, 6), 0.13, 0.31

    def slope(pixels):
        pixels = pixels.detach().requires_grad_()
        return torch.autograd.grad((((pixels - mean) / std) * weights).square().sum(), pixels)[0]

    normalised = ((raw - mean) / std).requires_grad_()
    own = torch.autograd.grad((normalised * weights).square().sum(), normalised)[0]
    lr = partial(image_step, 1e-3, 10, "CIFAR10", (32, 32), large=False)
    moved = (normalised - lr([std]) * own) * std + mean
    torch.testing.assert_close(moved, raw - lr([1.0]) * slope(raw))
