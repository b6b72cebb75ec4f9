"""Class means, and with them the step of distribution matching, against one image at a time in float64."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch

from condense.augmentation import draw_siamese
from condense.augmentation.siamese import FULL_STRATEGY, OPERATORS
from condense.data import load_data
from condense.matching.features import class_means
from condense.networks import ConvNet, reset
from condense.operators import Compute, can_compile
from condense.synthetic import build_synthetic

RAGGED_REAL, RAGGED_SYNTHETIC = [7, 3, 10, 1, 5], [2, 4, 1, 3, 3]
EVEN_REAL, EVEN_SYNTHETIC = [6] * 5, [3] * 5
COUNTS = [(RAGGED_REAL, RAGGED_SYNTHETIC), (EVEN_REAL, EVEN_SYNTHETIC)]
SIZE = (8, 8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass
class Batch:
    """Class-major images, as real batches and synthetic sets offer them."""

    tensor: torch.Tensor
    counts: list

    def images(self, index=None):
        return self.tensor if index is None else self.tensor[index]


def make(counts, seed=0, channel=3, size=SIZE, dtype=torch.float64):
    images = torch.randn(sum(counts), channel, *size, generator=seeded(seed), dtype=dtype)
    return Batch(images, counts)


def network(norm="instancenorm", channel=3, size=SIZE, layout=torch.channels_last, dtype=torch.float64):
    net = reset(ConvNet(channel, 5, 32, 2, "relu", norm, "avgpooling", im_size=size), seeded(1))
    return net.to(dtype).to(memory_format=layout).requires_grad_(False)


def record(classes=5, seed=4):
    return draw_siamese(FULL_STRATEGY, classes, seeded(seed))


def augment_one(drawn, image, c):
    """Apply class `c`'s operator of a single-operator record to one image (C, H, W)."""
    for name, members, uniforms in drawn.stages[0]:
        for row, member in enumerate(members):
            if member == c:
                return OPERATORS[name](image[None], uniforms[row:row + 1].double(), drawn.strengths)
    raise AssertionError(f"class {c} has no operator")


def means_by_loop(embed, batch, drawn=None):
    """Class by class and image by image; the mean is a sum divided at the end."""
    means, position = [], 0
    for c, count in enumerate(batch.counts):
        total = 0
        for _ in range(count):
            image = batch.tensor[position]
            total = total + embed(augment_one(drawn, image, c) if drawn else image[None])[0]
            position += 1
        means.append(total / count)
    return means


def distance(real, synthetic):
    """Sum over classes and features, number by number."""
    return sum(((a - b) * (a - b)).sum() for a, b in zip(real, synthetic))


def loss_and_gradient(means, real, synthetic):
    leaf = synthetic.tensor.detach().clone().requires_grad_()
    with torch.no_grad():
        target = means(real)
    loss = distance(target, means(Batch(leaf, synthetic.counts)))
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def assert_same(actual, expected, tolerance=1e-9):
    for a, b in zip(actual, expected):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(expected[1].abs().max()))


@pytest.mark.parametrize("real_counts, synthetic_counts", COUNTS)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("norm", ["instancenorm", "none", "layernorm"])
def test_step_equals_a_loop_over_single_images(norm, layout, real_counts, synthetic_counts):
    real, synthetic, drawn = make(real_counts), make(synthetic_counts, 1), record()
    net = network(norm, layout=layout)

    def embed(images):
        return net.embed(images.contiguous(memory_format=layout))

    actual = loss_and_gradient(lambda batch: class_means(embed, batch, drawn), real, synthetic)
    plain = network(norm, layout=torch.contiguous_format)
    expected = loss_and_gradient(lambda batch: means_by_loop(plain.embed, batch, drawn), real, synthetic)
    assert_same(actual, expected)
    assert actual[1].abs().amax((1, 2, 3)).min() > 0       # every image is moved


@pytest.mark.parametrize("norm", ["instancenorm", "none"])
@pytest.mark.parametrize("size", [(8, 12), (32, 32)])
def test_step_equals_the_loop_on_other_shapes(size, norm):
    real, synthetic, drawn = make([3, 2, 2, 3, 2], size=size), make([1] * 5, 1, size=size), record()
    embed = Compute().wrap(network(norm, size=size).embed)
    actual = loss_and_gradient(lambda batch: class_means(embed, batch, drawn, chunk=4), real, synthetic)
    plain = network(norm, size=size, layout=torch.contiguous_format)
    expected = loss_and_gradient(lambda batch: means_by_loop(plain.embed, batch, drawn), real, synthetic)
    assert_same(actual, expected)


@pytest.mark.parametrize("recompute", [None, False, True])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 7, 13, 26, 1000])
@pytest.mark.parametrize("real_counts, synthetic_counts", COUNTS)
def test_chunked_and_recomputed_forms_equal_one_pass(real_counts, synthetic_counts, chunk, recompute):
    real, synthetic, drawn = make(real_counts), make(synthetic_counts, 1), record()
    embed = Compute().wrap(network().embed)

    def means(batch):
        return class_means(embed, batch, drawn, chunk, recompute)

    whole = loss_and_gradient(lambda batch: class_means(embed, batch, drawn), real, synthetic)
    assert_same(loss_and_gradient(means, real, synthetic), whole, 1e-12)


def test_chunks_bound_what_the_network_sees_at_once():
    seen = []
    net = network()

    def embed(images):
        seen.append(len(images))
        return net.embed(images)

    class_means(embed, make(RAGGED_REAL), record(), chunk=4)
    assert max(seen) == 4 and sum(seen) == sum(RAGGED_REAL)


def test_recomputing_runs_the_forward_again_and_keeps_no_graph():
    calls = []
    net = network()

    def embed(images):
        calls.append(len(images))
        return net.embed(images)

    leaf = make(RAGGED_SYNTHETIC).tensor.requires_grad_()
    loss = class_means(embed, Batch(leaf, RAGGED_SYNTHETIC), record(), chunk=4, recompute=True).square().sum()
    forward = list(calls)
    loss.backward()
    assert sorted(calls) == sorted(forward * 2)


def test_graphs_beyond_the_limit_are_recomputed_by_default(monkeypatch):
    calls, net = [], network()
    monkeypatch.setattr("condense.matching.features.KEEP_BYTES", 1)
    leaf = make(EVEN_SYNTHETIC).tensor.requires_grad_()

    def embed(images):
        calls.append(len(images))
        return net.embed(images)

    class_means(embed, Batch(leaf, EVEN_SYNTHETIC), chunk=5).sum().backward()
    assert len(calls) == 6


def test_equal_sides_have_loss_zero():
    batch, drawn = make(EVEN_REAL), record()
    means = class_means(network().embed, batch, drawn)
    assert means.shape == (5, 32 * 2 * 2)
    assert distance(means, class_means(network().embed, batch, drawn, chunk=4)) < 1e-20


def test_without_augmentation_the_images_themselves_are_averaged():
    batch = make(RAGGED_REAL)
    means = class_means(lambda x: x.flatten(1), batch, chunk=3)
    position = 0
    for c, count in enumerate(RAGGED_REAL):
        torch.testing.assert_close(means[c], batch.tensor[position:position + count].flatten(1).mean(0))
        position += count


def test_gradient_agrees_with_finite_differences():
    drawn, net = record(2, seed=5), network("none", size=(4, 4))
    target = torch.randn(2, 32, generator=seeded(9), dtype=torch.float64)
    images = make([2, 1], size=(4, 4)).tensor.requires_grad_()

    def loss(x):
        return (class_means(net.embed, Batch(x, [2, 1]), drawn, chunk=2) - target).square().sum()

    assert torch.autograd.gradcheck(loss, (images,), eps=1e-7)


def embed_with_batch_statistics(net, images):
    """Features of a ConvNet with batch norm, statistics written out over the batch that is given."""
    for conv, norm, _, _ in net.blocks:
        images = torch.nn.functional.conv2d(images, conv.weight, conv.bias, padding=1)
        mean = images.mean((0, 2, 3), keepdim=True)
        variance = (images - mean).square().mean((0, 2, 3), keepdim=True)
        images = (images - mean) / torch.sqrt(variance + norm.eps) * norm.weight[:, None, None]
        images = torch.relu(images + norm.bias[:, None, None])
        images = images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    return images.flatten(1)


@pytest.mark.parametrize("real_counts, synthetic_counts", COUNTS)
def test_batch_norm_branch_equals_statistics_of_all_classes_together(real_counts, synthetic_counts):
    real, synthetic, drawn = make(real_counts), make(synthetic_counts, 1), record()
    net = network("batchnorm").train()

    def by_hand(batch):
        classes = [c for c, count in enumerate(batch.counts) for _ in range(count)]
        images = torch.cat([augment_one(drawn, x, c) for x, c in zip(batch.tensor, classes)])
        features = embed_with_batch_statistics(net, images)
        return [torch.stack([f for f, label in zip(features, classes) if label == c]).sum(0) / count
                for c, count in enumerate(batch.counts)]

    embed = Compute().wrap(net.embed)
    actual = loss_and_gradient(lambda batch: class_means(embed, batch, drawn), real, synthetic)
    assert_same(actual, loss_and_gradient(by_hand, real, synthetic))


def test_optimizer_step_on_pixels_is_momentum_on_the_gradient_of_the_loop():
    digits = load_data("Digits")
    synthetic = build_synthetic("pixels", digits, 2, "real", seeded(3)).double()
    optimizer = torch.optim.SGD(synthetic.param_groups(0.7, momentum=0.5))
    expected, velocity = synthetic.pixels.detach().clone(), 0
    for step in range(2):
        net, drawn = network(channel=1), record(10, seed=step)
        real = digits.sample(digits.classes, 6, seeded(step))
        real = Batch(real.images().double(), real.counts)
        plain = network(channel=1, layout=torch.contiguous_format)
        loss, gradient = loss_and_gradient(partial(means_by_loop, plain.embed, drawn=drawn), real,
                                           Batch(expected, synthetic.counts))
        velocity = 0.5 * velocity + gradient
        expected = expected - 0.7 * velocity

        embed = Compute().wrap(net.embed)
        with torch.no_grad():
            target = class_means(embed, real, drawn, chunk=16)
        ours = (target - class_means(embed, synthetic, drawn, chunk=7)).square().sum()
        optimizer.zero_grad()
        ours.backward()
        optimizer.step()
        torch.testing.assert_close(ours.detach(), loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(synthetic.pixels.detach(), expected, rtol=1e-9, atol=1e-10)


def test_compiled_features_equal_eager_ones_to_rounding():
    if not can_compile(torch.device("cpu")):
        pytest.skip("torch.compile finds no C++ compiler here")
    net, drawn = network(dtype=torch.float32), record()
    real, synthetic = make(EVEN_REAL, dtype=torch.float32), make([6] * 5, 1, dtype=torch.float32)
    eager, compiled = Compute().wrap(net.embed), Compute(compile=True).wrap(net.embed)
    try:
        results = [loss_and_gradient(partial(class_means, embed, augment=drawn, chunk=10), real, synthetic)
                   for embed in (compiled, eager)]
    finally:
        torch.compiler.reset()
    assert_same(*results, tolerance=2e-5)
