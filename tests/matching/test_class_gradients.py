"""Gradients of classes and their distance as a loss: against whole graphs, central differences and one another."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from condense.augmentation import FULL_STRATEGY, draw_siamese
from condense.matching.class_gradients import PerClass, Vectorised, matching_over_classes, mean_gradients
from condense.matching.gradients import METRICS, class_distances, gradient_distance
from condense.networks import get_network
from condense.networks.batchnorm import freeze_batchnorm, has_batchnorm
from condense.networks.convnet import ConvNet
from condense.operators import Compute

COUNTS_REAL, COUNTS_SYN = [5, 5, 3], [2, 2, 2]
FORMS = [(PerClass, 1), (PerClass, 2), (PerClass, 100), (Vectorised, 1), (Vectorised, 16), (Vectorised, 100)]


@dataclass
class Batch:
    """Class-major images, as real batches and synthetic sets offer them."""

    pixels: torch.Tensor
    counts: list

    @property
    def labels(self):
        return torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))

    def images(self, index=None):
        return self.pixels if index is None else self.pixels[index]


class Contiguous(Compute):
    """A policy that leaves the layout alone, so that PyTorch's own norm kernels are on the path as on a GPU."""

    def wrap(self, function, compiled=True, twice=False):
        return self.wrap_stacked(function, compiled, twice)


def drawn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def real_batch(size=8, counts=COUNTS_REAL):
    return Batch(drawn((sum(counts), 1, size, size), 1), counts)


def synthetic_batch(size=8, counts=COUNTS_SYN):
    return Batch(drawn((sum(counts), 1, size, size), 2).requires_grad_(), counts)


def small_net(norm="instancenorm", act="swish", classes=3):
    net = ConvNet(1, classes, 8, 2, act, norm, "avgpooling", im_size=(8, 8))
    rng = torch.Generator().manual_seed(3)
    for parameter in net.parameters():                   # the bounds of fresh networks leave gradients tiny
        parameter.data = torch.randn(parameter.shape, generator=rng) / 2
    return net.double()


def total(real, synthetic, metric="ours"):
    return class_distances(real, synthetic, metric).sum()


def by_definition(net, real, synthetic, augment, metric):
    """The loss as the paper writes it: one graph, class by class, no chunks."""
    loss, images = 0, synthetic.images()
    for c in range(len(real.counts)):
        sides = []
        for batch, pixels in ((real, real.images()), (synthetic, images)):
            mine = batch.labels == c
            shown = augment(pixels[mine], [c] * int(mine.sum())) if augment else pixels[mine]
            error = F.cross_entropy(net(shown), batch.labels[mine])
            sides.append(torch.autograd.grad(error, list(net.parameters()), create_graph=True))
        loss = loss + gradient_distance([g.detach() for g in sides[0]], sides[1], metric)
    return loss


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("form, chunk", FORMS)
def test_every_form_and_chunk_gives_the_loss_and_pixel_gradient_of_the_whole_graph(form, chunk, metric, augmented):
    net, real, synthetic = small_net(), real_batch(), synthetic_batch()
    rng = torch.Generator().manual_seed(4)
    augment = draw_siamese(FULL_STRATEGY, 3, rng) if augmented else None
    loss = matching_over_classes(partial(total, metric=metric), form(net, Compute(), chunk), real, synthetic, augment)
    expected = by_definition(net, real, synthetic, augment, metric)
    ours, = torch.autograd.grad(loss, synthetic.pixels)
    theirs, = torch.autograd.grad(expected, synthetic.pixels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    assert torch.linalg.norm(ours - theirs) < 1e-9 * torch.linalg.norm(theirs)


@pytest.mark.parametrize("norm", ["instancenorm", "groupnorm", "layernorm", "none"])
def test_the_vectorised_form_goes_twice_through_every_norm_in_either_layout(norm):
    net, real, synthetic = small_net(norm), real_batch(), synthetic_batch()
    expected, = torch.autograd.grad(by_definition(net, real, synthetic, None, "ours"), synthetic.pixels)
    for compute in (Compute(), Contiguous()):
        loss = matching_over_classes(total, Vectorised(net, compute, 100), real, synthetic)
        ours, = torch.autograd.grad(loss, synthetic.pixels)
        assert torch.linalg.norm(ours - expected) < 1e-9 * torch.linalg.norm(expected)


@pytest.mark.parametrize("form, chunk", FORMS)
def test_real_gradients_are_those_of_the_class_means_and_have_no_graph(form, chunk):
    net, real = small_net(), real_batch()
    gradients = form(net, Compute(), chunk)
    for classes in (range(0, 1), range(2, 3), *([range(0, 2)] if form is Vectorised else [])):
        found = mean_gradients(gradients, real, classes)
        for position, c in enumerate(classes):
            mine = real.labels == c
            error = F.cross_entropy(net(real.pixels[mine]), real.labels[mine])
            for ours, theirs in zip(found, torch.autograd.grad(error, list(net.parameters())), strict=True):
                torch.testing.assert_close(ours[position], theirs, rtol=1e-9, atol=1e-12)
                assert not ours.requires_grad


@pytest.mark.parametrize("direction", range(6))
@pytest.mark.parametrize("metric", METRICS)
def test_pixel_gradient_agrees_with_central_differences(metric, direction):
    """Along the gradient itself (direction 0) and five random directions, on a smooth network."""
    net, real, synthetic = small_net(), real_batch(), synthetic_batch()
    augment = draw_siamese("color_crop_scale_rotate", 3, torch.Generator().manual_seed(5))
    gradients = PerClass(net, Compute(), 2)

    def loss_at(pixels):
        moved = Batch(pixels.detach().requires_grad_(), COUNTS_SYN)
        return matching_over_classes(partial(total, metric=metric), gradients, real, moved, augment)

    loss = matching_over_classes(partial(total, metric=metric), gradients, real, synthetic, augment)
    slope, = torch.autograd.grad(loss, synthetic.pixels)
    along = slope if direction == 0 else drawn(slope.shape, 10 + direction)
    along = along / torch.linalg.norm(along)
    step = 1e-5
    difference = (loss_at(synthetic.pixels + step * along) - loss_at(synthetic.pixels - step * along)) / (2 * step)
    scale = torch.linalg.norm(slope)
    assert abs(float(((slope * along).sum() - difference).detach())) < 1e-5 * float(scale.detach())


def test_loss_is_zero_where_real_and_synthetic_are_the_same_images():
    net, real = small_net(), real_batch()
    same = Batch(real.pixels.clone().requires_grad_(), COUNTS_REAL)
    loss = matching_over_classes(partial(total, metric="mse"), PerClass(net, Compute(), None), real, same)
    assert loss.item() == pytest.approx(0, abs=1e-20)


def test_the_derivative_is_scaled_by_what_the_loss_is_multiplied_with():
    net, real, synthetic = small_net(), real_batch(), synthetic_batch()
    loss = matching_over_classes(total, PerClass(net, Compute(), 2), real, synthetic)
    once, = torch.autograd.grad(loss, synthetic.pixels, retain_graph=True)
    thrice, = torch.autograd.grad(3 * loss + 1, synthetic.pixels)
    torch.testing.assert_close(thrice, 3 * once)


def test_parameters_get_no_gradient_and_stay_as_they_are():
    net, synthetic = small_net(), synthetic_batch()
    before = [p.detach().clone() for p in net.parameters()]
    matching_over_classes(total, PerClass(net, Compute(), 2), real_batch(), synthetic).backward()
    assert all(p.grad is None and torch.equal(p, b) for p, b in zip(net.parameters(), before))
    assert synthetic.pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("form", [PerClass, Vectorised])
@pytest.mark.parametrize("model", ["ConvNetBN", "VGG11BN", "ResNet18BN", "ResNet18BN_AP", "AlexNetBN"])
def test_running_statistics_hold_still_while_gradients_are_matched(model, form):
    rng = torch.Generator().manual_seed(0)
    net = get_network(model, 3, 2, (32, 32), rng)
    freeze_batchnorm(net, torch.randn(8, 3, 32, 32, generator=rng))
    before = {name: value.clone() for name, value in net.named_buffers()}
    real = Batch(torch.randn(4, 3, 32, 32, generator=rng), [2, 2])
    synthetic = Batch(torch.randn(2, 3, 32, 32, generator=rng, requires_grad=True), [1, 1])
    loss = matching_over_classes(total, form(net, Compute(), 1), real, synthetic)
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert synthetic.pixels.grad.isfinite().all() and synthetic.pixels.grad.abs().sum() > 0


def test_freezing_takes_in_a_tenth_of_the_real_statistics_and_thaws_with_train():
    net = get_network("ConvNetBN", 3, 2, (32, 32), torch.Generator().manual_seed(0))
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    freeze_batchnorm(net, images)
    norm = net.features[1]
    with torch.no_grad():
        maps = net.features[0](images)
    torch.testing.assert_close(norm.running_mean, 0.1 * maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * maps.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert net.training and not norm.training and net.features[0].training
    assert net.train() and norm.training


def test_batch_norm_is_recognised_by_its_name():
    assert has_batchnorm(get_network("VGG11BN", 3, 2)) and not has_batchnorm(get_network("VGG11", 3, 2))


@pytest.mark.parametrize("counts", [[4, 4, 4, 4], [4, 4, 2, 4], [1, 2, 3, 4]])
def test_classes_are_taken_together_only_where_they_are_equally_large_and_fit(counts):
    """However the groups fall, no class is missed or taken twice."""
    net, real, synthetic = small_net(classes=4), real_batch(counts=counts), synthetic_batch(counts=[1, 1, 2, 2])
    expected, = torch.autograd.grad(by_definition(net, real, synthetic, None, "ours"), synthetic.pixels)
    for chunk in (4, 8, 12, 100):
        loss = matching_over_classes(total, Vectorised(net, Compute(), chunk), real, synthetic)
        ours, = torch.autograd.grad(loss, synthetic.pixels)
        assert torch.linalg.norm(ours - expected) < 1e-9 * torch.linalg.norm(expected)
