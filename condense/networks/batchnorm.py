"""Batch norm in networks that condense: whose statistics the matched gradients see.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021 (the published code): one pass
over real images moves the running statistics, then they hold still while gradients are matched.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.types import Forward


def has_batchnorm(net: nn.Module) -> bool:
    """Say whether `net` has batch norm layers, which must see a minibatch whole."""
    return any(map(_is_batchnorm, net.modules()))


@torch.no_grad()
def freeze_batchnorm(net: nn.Module, images: Float[Tensor, "n c h w"], forward: Forward | None = None) -> nn.Module:
    """Let the running statistics take in `images` (N, C, H, W), then hold them still; returns `net`.

    `forward` (default `net`) is how the network is run. All other modules are left in train mode. PyTorch's momentum
    of 0.1 stays, so that a fresh network's statistics move a tenth of the way: kept, the published numbers have it.
    `net.train()` thaws them.
    """
    net.train()
    (forward or net)(images)
    for module in filter(_is_batchnorm, net.modules()):
        module.eval()
    return net


def _is_batchnorm(module):
    return "BatchNorm" in type(module).__name__


def refuse_batchnorm(net: nn.Module, model: str, why: str) -> None:
    """Raise InputError where `net`, which --model `model` names, has batch norm; `why` says what that breaks."""
    if has_batchnorm(net):
        raise InputError(f"--model {model} has batch norm, {why}; choose one with another norm")
