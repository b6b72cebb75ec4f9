"""How a synthetic set is updated: the optimisers of `--optimizer`, with `--clip_grad` in front of their steps."""

from typing import Any

import torch

from condense.core.registry import lookup

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
BETA2 = 0.999                              # of Adam; the first beta is each group's momentum


def build_optimizer(name: str, groups: list[dict[str, Any]], clip_grad: float | None = None) -> torch.optim.Optimizer:
    """Return the optimiser `name` of OPTIMIZERS over `groups`, as `SyntheticSet.param_groups` gives them.

    SGD takes each group's lr and momentum, Adam its lr and the betas (momentum, 0.999), or its `betas` where it has
    some. With `clip_grad` every step first scales the gradients of all groups together, such that their joint norm is
    that at most. Raises ValueError for an unknown name.
    """
    kind = lookup(OPTIMIZERS, name, "optimizer")
    if name == "adam":
        groups = [{"betas": (group["momentum"], BETA2), **group} for group in groups]
    optimizer = kind(groups)
    if clip_grad is not None:
        optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: _clip(optimizer, clip_grad))
    return optimizer


def _clip(optimizer, largest):
    torch.nn.utils.clip_grad_norm_([tensor for group in optimizer.param_groups for tensor in group["params"]], largest)
