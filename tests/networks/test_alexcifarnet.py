"""AlexCifarNet against its description in the paper's terms, layer by layer."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from condense.networks import NETWORKS, get_network
from condense.networks.alexcifarnet import ResponseNorm


def plain(channel, padding):
    """Return the network written out with PyTorch's own layers."""
    def norm():
        return nn.LocalResponseNorm(4, alpha=0.001 / 9.0, beta=0.75, k=1)
    return nn.Sequential(
        nn.Conv2d(channel, 64, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1), norm(),
        nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, stride=2, padding=1),
        nn.Flatten(), nn.Linear(4096, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10))


@pytest.mark.parametrize("channel, side, padding", [(3, 32, 2), (1, 28, 4)])
def test_logits_are_those_of_the_layers_written_out(channel, side, padding):
    net, layers = get_network("AlexCifarNet", channel, 10, side), plain(channel, padding)
    for ours, theirs in zip(net.parameters(), layers.parameters(), strict=True):
        theirs.data.copy_(ours)
    images = 3 * torch.randn(4, channel, side, side, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(images), layers(images), rtol=1e-5, atol=1e-6)


def test_response_norm_is_pytorchs_in_value_and_in_both_derivatives():
    maps = 20 * torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for norm in (ResponseNorm(), nn.LocalResponseNorm(4, alpha=0.001 / 9.0, beta=0.75, k=1)):
        x = maps.clone().requires_grad_()
        (slope,) = torch.autograd.grad(norm(x).pow(3).sum(), x, create_graph=True)
        found.append((norm(x), slope, *torch.autograd.grad(slope.square().sum(), x)))
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_many_networks_run_stacked_and_are_differentiated_twice():
    net = get_network("AlexCifarNet", 3, 10, 16, torch.Generator().manual_seed(0)).double()
    parameters = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in net.named_parameters()}
    images = torch.randn(2, 3, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    stacked = vmap(lambda p, x: functional_call(net, p, (x,)))(parameters, images)
    for i in range(2):
        one = functional_call(net, {name: p[i] for name, p in parameters.items()}, (images[i],))
        torch.testing.assert_close(stacked[i], one, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(stacked.square().sum(), images, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), images)[0].abs().sum() > 0


def test_known_sizes_are_not_averaged_and_its_keys_are_those_of_its_layers():
    for channel, side in ((1, 28), (3, 32)):
        net, images = get_network("AlexCifarNet", channel, 10, side), torch.randn(2, channel, side, side)
        assert torch.equal(net.features(images), net.features[:-1](images))
    names = [name for name, _ in net.named_parameters()]
    assert names == [f"{layer}.{part}" for layer in ("features.0", "features.4", "fc_1", "fc_2", "fc_3")
                     for part in ("weight", "bias")]


@pytest.mark.parametrize("channel, side, padding", [(1, 28, 4), (1, 32, 2), (3, 28, 2), (3, 64, 2)])
def test_only_28x28_with_one_channel_gets_the_wide_first_padding(channel, side, padding):
    with torch.device("meta"):
        assert NETWORKS["AlexCifarNet"](channel, 10, im_size=side).features[0].padding == (padding, padding)
