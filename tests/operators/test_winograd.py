"""Winograd's convolution against a direct one in float64, and when it is taken."""

import pytest
import torch
import torch.nn.functional as F

from condense.networks import get_network, reset
from condense.operators import Compute, winograd
from condense.operators.winograd import Conv3x3, convolve


def made(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(inputs=64, outputs=64):
    return reset(Conv3x3(inputs, outputs), torch.Generator().manual_seed(1))


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(3, 64, 8, 8), (2, 128, 16, 16), (1, 64, 12, 20), (5, 96, 32, 8)], ids=str)
def test_equals_a_direct_convolution_in_float64(shape):
    x, weight, bias = made(*shape), made(72, shape[1], 3, 3, seed=1) / 24, made(72, seed=2)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    ours = convolve(channels_last(x), weight, bias)
    assert (ours - exact).abs().max() < 5e-5 * exact.std()
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def float64(monkeypatch):
    """In exact arithmetic minimal filtering is convolution, so float64 leaves nothing but its own rounding."""
    for name in ("INPUT", "KERNEL", "OUTPUT"):
        monkeypatch.setattr(winograd, name, winograd._both_sides(getattr(winograd, f"_{name}"), torch.float64))


def test_transforms_are_exact_in_float64(float64):
    x, weight, bias = made(2, 5, 8, 12).double(), made(7, 5, 3, 3, seed=1).double(), made(7, seed=2).double()
    ours = convolve(x, weight, bias)
    torch.testing.assert_close(ours, F.conv2d(x, weight, bias, padding=1), rtol=1e-12, atol=1e-12)


@pytest.fixture
def counted(monkeypatch):
    calls = []
    monkeypatch.setattr(winograd, "convolve", lambda *args: calls.append(None) or convolve(*args))
    return calls


def gradients(function, *inputs, seed=9):
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs)
    return torch.autograd.grad(y, inputs, made(*y.shape, seed=seed).to(y))


def direct(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=1)


@pytest.mark.parametrize("shape", [(2, 5, 8, 12), (1, 3, 16, 8), (3, 4, 4, 4)], ids=str)
def test_gradients_are_exact_in_float64(float64, shape):
    inputs = made(*shape).double(), made(7, shape[1], 3, 3, seed=1).double(), made(7, seed=2).double()
    for ours, exact in zip(gradients(convolve, *inputs), gradients(direct, *inputs), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(3, 64, 8, 8), (2, 128, 16, 16), (1, 64, 12, 20)], ids=str)
def test_gradients_stay_within_float32_rounding(shape):
    inputs = channels_last(made(*shape)), made(72, shape[1], 3, 3, seed=1) / 24, made(72, seed=2)
    exact = gradients(direct, *(x.double() for x in inputs))
    for ours, theirs in zip(gradients(convolve, *inputs), exact, strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.std()


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2)])
def test_frozen_inputs_and_weights_get_no_gradient(float64, wanted):
    inputs = [made(2, 5, 8, 8).double(), made(7, 5, 3, 3, seed=1).double(), made(7, seed=2).double()]
    for number in wanted:
        inputs[number].requires_grad_()
    grad = made(2, 7, 8, 8, seed=3).double()
    found, expected = (torch.autograd.grad(f(*inputs), [inputs[i] for i in wanted], grad) for f in (convolve, direct))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def second(function, inputs, wanted, seed=7):
    """Gradient of a function of the gradients by the inputs `wanted`: everything that a double backward can ask for."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs)
    first = torch.autograd.grad(y.square().sum(), [inputs[i] for i in wanted], create_graph=True)
    mixed = sum((g * made(*g.shape, seed=seed + i).to(g)).sum() for i, g in enumerate(first))
    return torch.autograd.grad(mixed, inputs)


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(2, 5, 8, 12), (3, 4, 4, 4)], ids=str)
def test_second_derivatives_are_exact_in_float64(float64, shape, wanted):
    inputs = made(*shape).double(), made(7, shape[1], 3, 3, seed=1).double(), made(7, seed=2).double()
    for ours, exact in zip(second(convolve, inputs, wanted), second(direct, inputs, wanted), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-9)


def test_second_derivatives_agree_with_finite_differences(float64):
    inputs = [made(1, 2, 4, 4).double(), made(2, 2, 3, 3, seed=1).double(), made(2, seed=2).double()]
    assert torch.autograd.gradgradcheck(convolve, [x.requires_grad_() for x in inputs])


def test_second_derivatives_stay_within_float32_rounding():
    inputs = channels_last(made(3, 64, 8, 8)), made(72, 64, 3, 3, seed=1) / 24, made(72, seed=2)
    exact = second(direct, [x.double() for x in inputs], (0, 1))
    for ours, theirs in zip(second(convolve, inputs, (0, 1)), exact, strict=True):
        assert (ours - theirs).abs().max() < 2e-4 * theirs.std()


def test_a_third_derivative_is_refused_and_never_wrong():
    x, weight = channels_last(made(2, 64, 8, 8)).requires_grad_(), made(64, 64, 3, 3, seed=1).requires_grad_()
    slope, = torch.autograd.grad(convolve(x, weight, made(64)).square().sum(), weight, create_graph=True)
    bend, = torch.autograd.grad(slope.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        bend.sum().backward()


def test_is_taken_with_and_without_gradients(counted):
    conv, x = layer(), channels_last(made(2, 64, 8, 8))
    expected = direct(x, conv.weight, conv.bias)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)
    assert len(counted) == 1
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)
    assert len(counted) == 2


@pytest.mark.parametrize("twice", [False, True])
def test_the_device_policy_leaves_the_choice_to_the_layer(counted, twice):
    conv, x = layer(), channels_last(made(2, 64, 8, 8))
    Compute().wrap(conv, twice=twice)(x)
    assert len(counted) == 1


@pytest.mark.parametrize("shape, dtype, layout, channels", [
    ((2, 64, 6, 8), torch.float32, torch.channels_last, 64),
    ((2, 64, 4, 4), torch.float32, torch.channels_last, 64),
    ((2, 64, 8, 8), torch.float64, torch.channels_last, 64),
    ((2, 64, 8, 8), torch.float32, torch.contiguous_format, 64),
    ((2, 32, 8, 8), torch.float32, torch.channels_last, 32),
])
@torch.no_grad()
def test_other_inputs_take_the_direct_way(counted, shape, dtype, layout, channels):
    conv = layer(channels, channels).to(dtype)
    x = made(*shape).to(dtype).contiguous(memory_format=layout)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1)) and not counted


@torch.no_grad()
def test_follows_every_change_of_the_weight():
    conv, x = layer(), channels_last(made(2, 64, 8, 8))
    for seed in range(3):
        reset(conv, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1), rtol=1e-4, atol=1e-4)
    conv.load_state_dict(layer().state_dict())
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1), rtol=1e-4, atol=1e-4)
    conv.weight = torch.nn.Parameter(made(64, 64, 3, 3, seed=9))
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1), rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_borrowed_and_silently_edited_weights_count():
    conv, x = layer(), channels_last(made(2, 64, 8, 8))
    for seed in range(3):
        weight = made(64, 64, 3, 3, seed=seed)
        borrowed = torch.func.functional_call(conv, {"weight": weight}, (x,))
        torch.testing.assert_close(borrowed, F.conv2d(x, weight, conv.bias, padding=1), rtol=1e-4, atol=2e-3)
        conv.weight.data.copy_(weight)
        torch.testing.assert_close(conv(x), F.conv2d(x, weight, conv.bias, padding=1), rtol=1e-4, atol=2e-3)


@torch.no_grad()
def test_features_of_the_standard_network_stay_within_float32_rounding():
    net = get_network("ConvNet", 3, 10, rng=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    x = channels_last(made(4, 3, 32, 32))
    fast = net.embed(x)
    exact = net.double().embed(x.double())
    assert (fast - exact).abs().max() < 1e-4 * exact.std()
