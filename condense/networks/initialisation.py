"""Fresh random parameters in place: the networks that condensation averages over.

The distribution is PyTorch's default (He, Zhang, Ren & Sun, ICCV 2015, with a = sqrt(5)), which for weights
and biases of convolutions and linear layers comes to U(-b, b) with b = 1 / sqrt(fan_in). It is part of the
methods: random networks are the space they sample. Dataset Distillation samples another one, Xavier's (Glorot &
Bengio, AISTATS 2010), and the convolutions of ResNetAP10 and ResNet10 have one of their own (`HeConv2d`).
"""

import math

import torch
from torch import nn

from condense.core.errors import InputError
from condense.core.randomness import generator_on
from condense.core.registry import unknown
from condense.networks.layers import HeConv2d

DRAWN = (nn.Linear, nn.modules.conv._ConvNd)
CONSTANT = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)
INITS = ("default", "xavier")             # PyTorch's own distribution; normal of variance 2 / (fan_in + fan_out)


@torch.no_grad()
def reset(net: nn.Module, rng: torch.Generator | None = None, init: str = "default", gain: float = 1.0) -> nn.Module:
    """Draw a fresh initialisation of `net` in place and return it.

    Weights and biases of convolutions and linear layers from U(-b, b), b = 1 / sqrt(fan_in), those of a `HeConv2d`
    from N(0, 2 / fan_out); norm weights 1, biases 0; running means 0, variances 1, batch counts 0. All draws of one
    distribution are one vector on the parameters' device, in the order of `net.parameters()`, from `rng` (None:
    PyTorch's global generator): a handful of kernels, no wait for the device. Storage, memory format and
    `requires_grad` stay as they are.

    `init` "xavier" draws those weights from N(0, s^2), s = `gain` sqrt(2 / (fan_in + fan_out)), and sets their
    biases to 0. Raises ValueError for another `init`, and TypeError for a module with parameters of its own that is
    none of these.
    """
    drawn, bounds, normal, deviations, ones, zeros, counts = _sort(net)
    if init == "xavier":
        weights = [tensor for tensor in drawn + normal if tensor.dim() > 1]
        zeros = zeros + [tensor for tensor in drawn if tensor.dim() == 1]
        _each("copy_", weights, _drawn("normal_", weights, [gain * _xavier(weight) for weight in weights], rng))
    elif init == "default":
        _each("copy_", drawn, _drawn("uniform_", drawn, bounds, rng, -1, 1))
        _each("copy_", normal, _drawn("normal_", normal, deviations, rng))
    else:
        raise InputError(unknown("initialisation of networks", init, INITS))
    _each("zero_", zeros + ones)                  # zero first, so that NaN and infinity are forgotten too
    _each("add_", ones, [1] * len(ones))
    _each("zero_", counts)
    return net


def _sort(net):
    """Return the tensors of `net` by what they become: drawn uniformly with their bounds, normally with their
    deviations, ones, zeros, integer zeros.

    Collected anew for every reset: a walk costs microseconds per layer, and is never out of date.
    """
    drawn, bounds, normal, deviations, ones, zeros, counts = [], [], [], [], [], [], []
    for layer in net.modules():
        own = layer._parameters
        if isinstance(layer, HeConv2d):
            normal.append(own["weight"])
            deviations.append(math.sqrt(2 / own["weight"][:, 0].numel()))
        elif isinstance(layer, DRAWN):
            tensors = _present(own["weight"], own["bias"])
            drawn += tensors
            bounds += [tensors[0][0].numel() ** -0.5] * len(tensors)
        elif isinstance(layer, CONSTANT):
            ones += _present(own["weight"], layer._buffers.get("running_var"))
            zeros += _present(own["bias"], layer._buffers.get("running_mean"))
            counts += _present(layer._buffers.get("num_batches_tracked"))
        elif _present(*own.values()):
            raise TypeError(f"reset knows no initial distribution for {type(layer).__name__}")
    return drawn, bounds, normal, deviations, ones, zeros, counts


def _present(*tensors):
    return [tensor for tensor in tensors if tensor is not None]


def _xavier(weight):
    """Return sqrt(2 / (fan_in + fan_out)) of a weight (out, in, *kernel)."""
    return math.sqrt(2 / (weight[0].numel() + weight[:, 0].numel()))


def _drawn(distribution, tensors, scales, rng, *arguments):
    """Return views of one flat draw from `distribution`, shaped like `tensors`, each times its own of `scales`."""
    if not tensors:
        return []
    device = tensors[0].device
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)     # half precision is rounded from float32
    sizes = [tensor.numel() for tensor in tensors]
    flat = torch.empty(sum(sizes), device=device, dtype=dtype)
    getattr(flat, distribution)(*arguments, generator=generator_on(device, rng))
    pieces = [part.view(tensor.shape) for part, tensor in zip(flat.split(sizes), tensors, strict=True)]
    _each("mul_", pieces, scales)
    return pieces


def _each(operation, tensors, *arguments):
    """Do an in-place `operation` on all `tensors`, each with its own arguments: fused where PyTorch can."""
    fused = getattr(torch, f"_foreach_{operation}", None)
    if fused and tensors:
        fused(tensors, *arguments)
        return
    for tensor, *own in zip(tensors, *arguments, strict=True):
        getattr(tensor, operation)(*own)
