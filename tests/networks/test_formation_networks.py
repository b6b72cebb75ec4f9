"""The networks of multi-formation's tables against the same layers written out one after another."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from condense.networks import NETWORKS, get_network, reset


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Weights:
    """The weights of a network in the order of its parameters, handed out as PyTorch's own layers ask for them."""

    def __init__(self, net):
        self.left = [parameter.detach() for parameter in net.parameters()]

    def convolve(self, x, stride=1, padding=None):
        weight = self.left.pop(0)
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2 if padding is None else padding)

    def instance_norm(self, x):
        return F.group_norm(x, x.shape[1], self.left.pop(0), self.left.pop(0))

    def batch_norm(self, x):
        return F.batch_norm(x, None, None, self.left.pop(0), self.left.pop(0), training=True)

    def classify(self, x):
        logits = F.linear(x.mean((2, 3)), self.left.pop(0), self.left.pop(0))
        assert not self.left                               # every parameter had its place
        return logits


def resnet_ap10(x, weights, stem):
    x = F.avg_pool2d(F.relu(weights.instance_norm(weights.convolve(x))), stem)
    for halving in (1, 2, 2, 2):
        out = F.avg_pool2d(F.relu(weights.instance_norm(weights.convolve(x))), halving)
        out = weights.instance_norm(weights.convolve(out))
        if halving == 2:
            x = weights.instance_norm(F.avg_pool2d(weights.convolve(x), 2))
        x = F.relu(out + x)
    return weights.classify(x)


def resnet10(x, weights):
    x = F.relu(weights.batch_norm(weights.convolve(x)))
    for stride in (1, 2, 2, 2):
        out = F.relu(weights.batch_norm(weights.convolve(x, stride)))
        out = weights.batch_norm(weights.convolve(out))
        if stride == 2:
            x = weights.batch_norm(weights.convolve(x, stride))
        x = F.relu(out + x)
    return weights.classify(x)


def densenet(x, weights):
    x = weights.convolve(x)
    for number in (6, 12, 24, 16):
        for _ in range(number):
            new = weights.convolve(F.relu(weights.batch_norm(x)))
            x = torch.cat((weights.convolve(F.relu(weights.batch_norm(new))), x), 1)
        if number != 16:
            x = F.avg_pool2d(weights.convolve(F.relu(weights.batch_norm(x))), 2)
    return weights.classify(F.relu(weights.batch_norm(x)))


@pytest.mark.parametrize("name, channel, side, plain", [
    ("ResNetAP10", 3, 32, partial(resnet_ap10, stem=1)), ("ResNetAP10", 1, 28, partial(resnet_ap10, stem=1)),
    ("ResNetAP10", 3, 80, partial(resnet_ap10, stem=2)), ("ResNetAP10", 3, 136, partial(resnet_ap10, stem=4)),
    ("ResNet10", 3, 32, resnet10), ("ResNet10", 1, 28, resnet10), ("DenseNet", 3, 32, densenet),
    ("DenseNet", 1, 28, densenet)])
def test_logits_are_those_of_the_layers_written_out(name, channel, side, plain):
    net = get_network(name, channel, 10, side, seeded()).double()
    with torch.no_grad():
        for parameter in net.parameters():                 # norms start as the identity, which would hide their order
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(1), dtype=torch.float64))
        images = torch.randn(3, channel, side, side, generator=seeded(2), dtype=torch.float64)
        torch.testing.assert_close(net(images), plain(images, Weights(net)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side, kernel, halved", [(16, 3, 1), (64, 3, 1), (65, 3, 2), (128, 3, 2), (129, 7, 4),
                                                  (224, 7, 4)])
def test_the_first_convolution_of_resnetap10_follows_the_side(side, kernel, halved):
    with torch.device("meta"):
        net = NETWORKS["ResNetAP10"](3, 10, im_size=(side, side + 40))
        maps = net.stem_pool(net.conv1(torch.empty(1, 3, side, side + 40)))
    assert net.conv1.kernel_size == (kernel, kernel) and maps.shape[2:] == (side // halved, (side + 40) // halved)


def test_resnetap10_has_no_strides_and_resnet10_halves_by_them():
    strides = {}
    for name in ("ResNetAP10", "ResNet10"):
        with torch.device("meta"):
            layers = NETWORKS[name](3, 10, im_size=32).modules()
        strides[name] = [layer.stride[0] for layer in layers if isinstance(layer, nn.Conv2d)]
    assert set(strides["ResNetAP10"]) == {1} and sorted(strides["ResNet10"]) == [1] * 6 + [2] * 6


@pytest.mark.parametrize("name", ["ResNetAP10", "ResNet10", "DenseNet"])
def test_gradients_of_gradients_reach_the_image(name):
    net = get_network(name, 3, 3, 16, seeded())
    images = torch.randn(2, 3, 16, 16, generator=seeded(), requires_grad=True)
    grads = torch.autograd.grad(net(images).square().sum(), list(net.parameters()), create_graph=True)
    assert all(grad.isfinite().all() for grad in grads)
    sum(grad.square().sum() for grad in grads).backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["ResNetAP10", "ResNet10", "DenseNet"])
def test_reset_in_place_repeats_a_network_and_makes_others(name):
    net = get_network(name, 1, 10, 28, seeded(1))
    first = [parameter.clone() for parameter in net.parameters()]
    assert reset(net, seeded(2)) is net
    changed = [not torch.equal(*pair) for pair in zip(first, net.parameters()) if pair[0].dim() > 1]
    reset(net, seeded(1))
    assert all(changed) and all(map(torch.equal, first, net.parameters()))
