"""One switch puts PyTorch's own operators in the place of ours."""

import pytest
import torch
import torch.nn.functional as F

from condense.operators import Conv3x3, InstanceNorm, allocator, own_operators, torch_operators


def channels_last(*shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def test_within_the_switch_convolution_and_norm_are_pytorchs_to_the_bit():
    x, conv, norm = channels_last(4, 64, 16, 16), Conv3x3(64, 64), InstanceNorm(64)
    with torch_operators():
        assert not own_operators()
        assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
        assert torch.equal(norm(x), F.group_norm(x, 64, norm.weight, norm.bias, norm.eps))
    assert own_operators()


def test_our_convolution_is_another_computation_of_the_same_thing():
    x, conv = channels_last(4, 64, 16, 16), Conv3x3(64, 64)
    ours = conv(x)
    with torch_operators():
        theirs = conv(x)
    assert not torch.equal(ours, theirs) and torch.allclose(ours, theirs, atol=1e-4)


def test_the_switch_is_back_where_it_was_after_an_error():
    with pytest.raises(RuntimeError), torch_operators():
        raise RuntimeError
    assert own_operators()


def test_the_allocator_is_left_alone_within_the_switch(monkeypatch):
    asked = []
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: asked.append(name))
    with torch_operators():
        allocator.keep_freed_memory()
    assert not asked
