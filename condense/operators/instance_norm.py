"""Instance norm that is fast on a CPU.

PyTorch's group norm walks channels_last maps in an order that costs as much as the convolutions around it.
Here the statistics are plain reductions over the map, and the gradient is written out, with few passes over
memory. Values, parameters and state-dict keys are those of `nn.GroupNorm(channels, channels)`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.torch_private import inside_transform
from condense.operators.switch import own_operators

MAP = (2, 3)                                             # the axes of one channel's map
LARGE_MAP = 1024                                         # from this many pixels on PyTorch's kernel goes row by row


class InstanceNorm(nn.GroupNorm):
    """Group norm with one group per channel, affine: (N, C, H, W) -> (N, C, H, W).

    Takes PyTorch's own kernel on a GPU, in other layouts, and inside torch.compile, which fuses it anyway.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not own_operators() or torch.compiler.is_compiling() or x.device.type != "cpu" or not _is_channels_last(x):
            return super().forward(x)
        return _InstanceNorm.apply(x, self.weight, self.bias, self.eps)[0]


def _is_channels_last(x):
    """Judged by strides: under vmap a tensor does not answer for its memory format."""
    return x.dim() == 4 and x.dtype.is_floating_point and x.stride(1) == 1 and x.stride(3) >= x.shape[1]


def _statistics(x, eps):
    """Return mean and inverse standard deviation of every map, (N, C, 1, 1); two passes, no cancellation."""
    mean = x.mean(MAP, keepdim=True)
    variance = (x - mean).square().mean(MAP, keepdim=True)
    return mean, torch.rsqrt(variance + eps)


def _normalise(x, weight, bias, eps):
    """Return (y, mean, inverse std), each way by what is faster; nothing here is differentiated."""
    channels, size = x.shape[1], x.shape[2] * x.shape[3]
    if inside_transform():      # vmap cannot write into a given buffer
        mean, inverse = _statistics(x, eps)
        scale = _wide(weight) * inverse
        return torch.addcmul(_wide(bias) - mean * scale, x, scale), mean, inverse
    if size >= LARGE_MAP:
        y, mean, inverse = torch.native_group_norm(x, weight, bias, len(x), channels, size, channels, eps)
        return y, mean.view(-1, channels, 1, 1), inverse.view(-1, channels, 1, 1)
    mean = x.mean(MAP, keepdim=True)
    y = x - mean                                         # this buffer serves twice: allocating costs as much as a pass
    inverse = torch.rsqrt(torch.square(y, out=y).mean(MAP, keepdim=True) + eps)
    scale = _wide(weight) * inverse
    return torch.addcmul(_wide(bias) - mean * scale, x, scale, out=y), mean, inverse


def _wide(parameter):
    return parameter[:, None, None]


class _InstanceNorm(torch.autograd.Function):
    """(x, weight, bias, eps) -> (y, mean, inverse std), differentiable twice in x and the parameters."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias, eps):
        return _normalise(x, weight, bias, eps)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, ctx.eps = inputs
        _, mean, inverse = output
        ctx.mark_non_differentiable(mean, inverse)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, grad, _grad_mean, _grad_inverse):
        if grad is None:
            return None, None, None, None
        x, weight, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():                      # this gradient is itself differentiated: connect it to x
            mean, inverse = _statistics(x, ctx.eps)
        normal = (x - mean) * inverse
        size = x.shape[2] * x.shape[3]
        sums = grad.sum(MAP, keepdim=True)
        products = (grad * normal).sum(MAP, keepdim=True)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (torch.addcmul(sums / -size, normal, products / -size) + grad) * (_wide(weight) * inverse)
        return grad_x, products.sum((0, *MAP)), sums.sum((0, *MAP)), None
