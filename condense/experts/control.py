"""Random networks instead of experts: a control experiment of TESLA's published code."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.networks import reset


class RandomTrajectories:
    """Segments from one fresh initialisation of `net` to another, whatever the epochs."""

    source = {"experts": "random networks"}

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def pick(self, it: int, streams: Callable[..., torch.Generator]) -> torch.Generator:
        """Return the generator that iteration `it` draws its two networks from."""
        return streams(it, 0)

    def segment(self, rng: torch.Generator, start_epoch: int, end_epoch: int,
                device: torch.device | str) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
        """Return two vectors (P,) on `device`."""
        return self._draw(rng).to(device), self._draw(rng).to(device)

    def _draw(self, rng):
        return torch.cat([parameter.detach().flatten() for parameter in reset(self.net, rng).parameters()])
