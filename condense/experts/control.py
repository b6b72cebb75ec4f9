"""Random networks in the place of experts: a control experiment of TESLA's published code."""

import torch

from condense.networks import reset


class RandomTrajectories:
    """Segments from one fresh initialisation of `net` to another, whatever the epochs."""

    source = {"experts": "random networks"}

    def __init__(self, net):
        self.net = net

    def pick(self, it, streams):
        """Return the generator that iteration `it` draws its two networks from."""
        return streams(it, 0)

    def segment(self, rng, start_epoch, end_epoch, device):
        """Return two vectors (P,) on `device`."""
        return self._draw(rng).to(device), self._draw(rng).to(device)

    def _draw(self, rng):
        return torch.cat([parameter.detach().flatten() for parameter in reset(self.net, rng).parameters()])
