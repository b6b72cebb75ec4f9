"""Instance norm is group norm with one group per channel: values, derivatives, transforms, frozen inputs."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from condense.operators.instance_norm import InstanceNorm

SIZES = [(2, 2), (3, 5), (8, 8), (32, 32), (33, 40)]       # on both sides of where the kernel changes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def maps(size=(4, 5), channels=3, num=2, seed=0, dtype=torch.float64, channels_last=True):
    x = torch.randn(num, channels, *size, generator=seeded(seed), dtype=torch.float64).to(dtype) * 2 + 0.7
    return x.to(memory_format=torch.channels_last) if channels_last else x


def pair(channels=3, dtype=torch.float64):
    """Our layer and the framework's, with the same parameters."""
    ours, theirs = InstanceNorm(channels).to(dtype), nn.GroupNorm(channels, channels).to(dtype)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn(channels, generator=seeded(7)))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def plain(x, weight, bias, eps=1e-5):
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weight[:, None, None] + bias[:, None, None]


def gradients(layer, x, weights):
    x = x.detach().requires_grad_()
    return torch.autograd.grad((layer(x) * weights).sum(), [x, layer.weight, layer.bias])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_are_those_of_group_norm(size, channels_last):
    ours, theirs = pair()
    x = maps(size, channels_last=channels_last)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ours(x), plain(x, ours.weight, ours.bias), rtol=1e-11, atol=1e-11)
    weights = torch.randn(x.shape, generator=seeded(3), dtype=torch.float64)
    for a, b in zip(gradients(ours, x, weights), gradients(theirs, x, weights)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_second_derivatives_are_those_of_group_norm(size):
    def second(layer):
        x = maps(size, num=3).requires_grad_()
        loss = torch.tanh(layer(x)).square().sum()
        first = torch.autograd.grad(loss, [x, *layer.parameters()], create_graph=True)
        distance = sum(torch.sin(g).sum() for g in first)
        return torch.autograd.grad(distance, [x, *layer.parameters()])

    ours, theirs = pair()
    for a, b in zip(second(ours), second(theirs)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_derivatives_agree_with_finite_differences():
    ours, _ = pair(2)
    inputs = [t.detach().requires_grad_() for t in (maps((2, 3), 2), ours.weight, ours.bias)]

    def call(x, weight, bias):
        x = x.contiguous(memory_format=torch.channels_last)
        return functional_call(ours, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("frozen", [("weight", "bias"), ("x",), ("weight",), ("bias",), ("x", "bias")])
def test_gradients_are_right_whatever_is_frozen(frozen):
    ours, theirs = pair()
    results = []
    for layer in (ours, theirs):                           # PyTorch 2.9 crashes on frozen channels_last maps
        inputs = {"x": maps(channels_last=layer is ours), **dict(layer.named_parameters())}
        for name, tensor in inputs.items():
            tensor.requires_grad_(name not in frozen)
        torch.tanh(layer(inputs["x"])).sum().backward()
        results.append({name: tensor.grad for name, tensor in inputs.items()})
    for name in results[0]:
        if name in frozen:
            assert results[0][name] is None
        else:
            torch.testing.assert_close(results[0][name], results[1][name], rtol=1e-10, atol=1e-10)


def test_nothing_is_recorded_where_no_gradient_is_asked_for():
    ours, _ = pair()
    assert not ours.requires_grad_(False)(maps()).requires_grad
    with torch.no_grad():
        assert not ours.requires_grad_(True)(maps()).requires_grad


def test_state_dicts_are_exchangeable_with_group_norm():
    ours, theirs = InstanceNorm(6), nn.GroupNorm(6, 6)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight", "bias"]
    assert isinstance(ours, nn.GroupNorm) and ours.num_groups == 6
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("size", [(4, 5), (32, 32)])
def test_gradients_of_single_samples_by_vmap_equal_a_loop(size):
    ours, theirs = pair()
    x = maps(size, num=3)

    def loss(parameters, image, layer=ours):
        image = image[None].contiguous(memory_format=torch.channels_last)
        return torch.tanh(functional_call(layer, parameters, (image,))).sum()

    parameters = {name: p.detach() for name, p in ours.named_parameters()}
    stacked = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for number, image in enumerate(x):
        alone = grad(lambda p, image=image: loss(p, image, theirs))(parameters)
        for name in parameters:
            torch.testing.assert_close(stacked[name][number], alone[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (32, 32)])
def test_stacked_layers_under_vmap_equal_each_alone(size, channels_last):
    layers = [pair()[0] for _ in range(3)]
    for number, layer in enumerate(layers):
        layer.weight.data += number
    parameters, buffers = stack_module_state(layers)
    x = torch.cat([maps(size, seed=s) for s in range(3)])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = x.contiguous(memory_format=layout).unflatten(0, (3, 2))
    out = vmap(lambda p, b, maps: functional_call(layers[0], (p, b), (maps,)))(parameters, buffers, x)
    torch.tanh(out).sum().backward()
    for number, layer in enumerate(layers):
        alone = plain(x[number], layer.weight, layer.bias)
        torch.testing.assert_close(out[number], alone, rtol=1e-11, atol=1e-11)
        torch.tanh(alone).sum().backward()
        torch.testing.assert_close(parameters["weight"].grad[number], layer.weight.grad, rtol=1e-9, atol=1e-9)


def float32_error(layer, x):
    exact = plain(x.double(), layer.weight.double(), layer.bias.double())
    return (layer(x).double() - exact).abs().max()


@pytest.mark.parametrize("offset", [0, 100, 1e4])
def test_float32_keeps_its_digits_however_large_the_mean_is(offset):
    ours, _ = pair(dtype=torch.float32)
    x = (maps((8, 8), num=4) + offset).float()
    assert float32_error(ours, x) < 8 * 2**-23 * max(8, offset)  # what rounding the input itself would cost


@pytest.mark.parametrize("offset", [0, 1, 10])
def test_large_maps_in_float32_are_no_worse_than_in_group_norm(offset):
    ours, theirs = pair(dtype=torch.float32)
    x = (maps((32, 32), num=4) + offset).float()
    assert float32_error(ours, x) <= max(2 * float32_error(theirs, x), torch.tensor(1e-5))


@pytest.mark.parametrize("size", [(8, 8), (32, 32)])
def test_constant_maps_become_the_bias(size):
    ours, _ = pair(dtype=torch.float32)
    x = torch.full((2, 3, *size), 0.25).to(memory_format=torch.channels_last)
    torch.testing.assert_close(ours(x), ours.bias[:, None, None].expand_as(x), rtol=1e-5, atol=1e-5)


def test_channels_last_stays_channels_last():
    ours, _ = pair()
    for size in ((8, 8), (32, 32)):
        assert ours(maps(size)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(8, 8), (32, 32)])
def test_bfloat16_maps_under_autocast_stay_close_to_float32(size):
    ours, _ = pair(dtype=torch.float32)
    x = maps(size, dtype=torch.float32)
    half = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ours(half)
    out.float().tanh().sum().backward()
    exact = x.bfloat16().float().requires_grad_()
    plain(exact, ours.weight, ours.bias).tanh().sum().backward()
    assert (out.float() - plain(exact, ours.weight, ours.bias)).abs().max() < 0.1
    assert half.grad.dtype == torch.bfloat16
    assert (half.grad.float() - exact.grad).abs().max() < 0.05 * max(1, exact.grad.abs().max())
