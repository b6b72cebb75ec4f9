"""Networks that begin as experts were at some epoch, for methods that match pre-trained networks.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, for many classes.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from condense.core.errors import InputError
from condense.data.real import RealData
from condense.experts.trajectories import ExpertBuffer, open_experts
from condense.networks import reset
from condense.networks.batchnorm import has_batchnorm


class ExpertStarts:
    """Where networks start: as one of `experts` after `first` .. `first` + `number` - 1 epochs; fresh where None."""

    def __init__(self, experts: ExpertBuffer | None = None, first: int = 0, number: int = 1) -> None:
        self.experts, self.first, self.number = experts, first, number

    @property
    def sources(self) -> dict[str, Any]:
        """Plain values that say which experts these are, {} for fresh networks."""
        return {} if self.experts is None else {"experts": self.experts.source}

    @torch.no_grad()
    def begin(self, net: nn.Module, rng: torch.Generator) -> None:
        """Draw the parameters that `net` begins with, in place, by `rng`, a CPU generator."""
        if self.experts is None:
            reset(net, rng)
            return
        which, epoch = (int(torch.randint(most, (), generator=rng)) for most in (len(self.experts), self.number))
        parameters = list(net.parameters())
        theta = self.experts.snapshot(which, self.first + epoch, parameters[0].device)
        for parameter, part in zip(parameters, theta.split([parameter.numel() for parameter in parameters])):
            parameter.copy_(part.view(parameter.shape))


def open_expert_starts(first: int, number: int, buffer_path: str | Path, net: nn.Module, real: RealData, model: str,
                       **how: Any) -> ExpertStarts:
    """Return the `ExpertStarts` of networks like `net`, named `model`: fresh where `first` is below 0.

    The experts are those of `real` below `buffer_path`, `how` as `open_experts` takes it. Raises ValueError or
    FileNotFoundError where they do not fit, or do not hold the epochs `first` .. `first` + `number` - 1.
    """
    if first < 0:
        return ExpertStarts()
    if has_batchnorm(net):
        raise InputError(f"--model {model} has batch norm, whose statistics experts do not keep; leave --pt_from out")
    experts, last = open_experts(buffer_path, net, real, model, None, **how), first + number - 1
    if not experts.first_epoch <= first <= last <= experts.last_epoch:
        raise InputError(f"the experts in {experts.source['folder']} hold epochs {experts.first_epoch} to "
                         f"{experts.last_epoch}, not {first} to {last}, which --pt_from {first} --pt_num {number} asks "
                         "for; change these, or make such experts with buffer.py")
    return ExpertStarts(experts, first, number)
