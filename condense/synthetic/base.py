"""The contract of a synthetic set: scripts call it and never ask how it stores its images."""

import torch
from torch import nn


class SyntheticSet(nn.Module):
    """A learnable, class-major set of labelled images.

    `labels` (n,) int64; `counts` images of each class; `budget` the floats that `ipc` images per class take.
    Subclasses give `images` and hold their parameters; everything else has a default. `INITS` are the ways that
    `init_from` can start, `OPTIONS` what the constructor takes beside (num_classes, ipc, channel, im_size):
    {name: dict(default=, help=, and further keywords of `condense.options.option`)}. `HAS_FACTORS` says whether
    it stores something else than images, which `factors` returns.
    """

    INITS, OPTIONS, HAS_FACTORS = (), {}, False

    def __init__(self, labels, counts, budget):
        super().__init__()
        self.register_buffer("labels", labels)
        self.counts = counts
        self.budget = budget

    def images(self, index=None):
        """Return decoded images (n, C, H, W) in normalised space, differentiable; `index` picks some."""
        raise TypeError(f"{type(self).__name__} does not say how it decodes its images")

    def class_slice(self, c):
        """Return the positions of class `c` as a slice."""
        first = sum(self.counts[:c])
        return slice(first, first + self.counts[c])

    def param_groups(self, lr, momentum):
        """Return the optimiser groups of all parameters, each a dict with name, params, lr and momentum."""
        return [{"name": name, "params": [parameter], "lr": lr, "momentum": momentum}
                for name, parameter in self.named_parameters()]

    def extra_loss(self, augment, rng):
        """Return the set's own term of the loss; 0 for most sets."""
        return 0.0

    def after_step(self, augment, rng, end=False):
        """Act after an optimiser step (clamp, project, ...); `end` marks the end of an outer iteration."""

    def storage(self):
        """Return what is stored as {'floats', 'bytes', 'budget_floats', 'budget_bytes'}; labels not counted."""
        floats = sum(parameter.numel() for parameter in self.parameters())
        return {"floats": floats, "bytes": 4 * floats, "budget_floats": self.budget, "budget_bytes": 4 * self.budget}

    def factors(self):
        """Return what is stored, for the result file, where that is more than images: else None, as for pixels.

        A dict of CPU tensors and plain numbers: the name of the `parameterization`, and all from which the class
        method `from_factors` of its set rebuilds the same images.
        """

    @torch.no_grad()
    def snapshot(self):
        """Return (images float32, labels) detached on the CPU, as the result file stores them."""
        return self.images().detach().float().cpu().clone(), self.labels.cpu().clone()
