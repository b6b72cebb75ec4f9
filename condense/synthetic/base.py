"""The contract of a synthetic set: scripts call it and never ask how it stores its images."""

import torch
from torch import nn

WITH_THE_SET = ("label_logits", "syn_lr")  # learned beside the images, whatever form those have


class SyntheticSet(nn.Module):
    """A learnable, class-major set of labelled images.

    `hard_labels` (n,) int64 is the class of each image, `labels` what networks learn: the same, or soft ones.
    `counts` images of each class; `budget` the floats that `ipc` images per class take. `syn_lr` is None, or the step
    size learned with the set, which networks are then trained on it with.
    Subclasses give `images` and hold their parameters; everything else has a default. `INITS` are the ways that
    `init_from` can start, `OPTIONS` what the constructor takes beside (num_classes, ipc, channel, im_size):
    {name: dict(default=, help=, and further keywords of `condense.options.option`)}. `HAS_FACTORS` says whether
    it stores something else than images, which `factors` returns.
    """

    INITS, OPTIONS, HAS_FACTORS = (), {}, False

    def __init__(self, labels, counts, budget):
        super().__init__()
        self.register_buffer("hard_labels", labels)
        for name in WITH_THE_SET:
            self.register_parameter(name, None)
        self.counts = counts
        self.budget = budget

    @property
    def labels(self):
        """(n,) int64, or soft: (n, K) probabilities, differentiable in `label_logits`."""
        return self.hard_labels if self.label_logits is None else self.label_logits.softmax(1)

    def use_soft_labels(self, logits, learned=True):
        """From now on `labels` are softmax(`logits`), (n, K); `learned` says whether they are parameters to learn."""
        self.label_logits = nn.Parameter(logits.detach().to(torch.float32).clone(), requires_grad=learned)

    def learn_step_size(self, lr):
        """Let `lr` be the step size `syn_lr` that is learned with the set, from now on."""
        self.syn_lr = nn.Parameter(torch.tensor(float(lr), device=self.hard_labels.device))

    def images(self, index=None):
        """Return decoded images (n, C, H, W) in normalised space, differentiable; `index` picks some."""
        raise TypeError(f"{type(self).__name__} does not say how it decodes its images")

    def start_from(self, batch):
        """Start from the real images of `batch`, `counts` of each class, as near as this form comes to them."""
        raise TypeError(f"{type(self).__name__} does not start from real images")

    def class_slice(self, c):
        """Return the positions of class `c` as a slice."""
        first = sum(self.counts[:c])
        return slice(first, first + self.counts[c])

    def stored_parameters(self):
        """Yield (name, parameter) of what the images are made of: neither labels nor step size."""
        return ((name, tensor) for name, tensor in self.named_parameters() if name not in WITH_THE_SET)

    def param_groups(self, lr, momentum):
        """Return the optimiser groups of what the images are made of, each a dict: name, params, lr and momentum."""
        return [{"name": name, "params": [parameter], "lr": lr, "momentum": momentum}
                for name, parameter in self.stored_parameters()]

    def extra_loss(self, augment, rng):
        """Return the set's own term of the loss; 0 for most sets."""
        return 0.0

    def after_step(self, augment, rng, end=False):
        """Act after an optimiser step (clamp, project, ...); `end` marks the end of an outer iteration."""

    def storage(self):
        """Return what is stored as {'floats', 'bytes', 'budget_floats', 'budget_bytes'}.

        Soft labels are stored, too: 'label_floats' of them, in 'bytes' but not in 'floats', which the budget of
        images is held against. One hard label per image, and the step size, are not counted.
        """
        floats = sum(parameter.numel() for _, parameter in self.stored_parameters())
        soft = 0 if self.label_logits is None else self.label_logits.numel()
        return {"floats": floats, "bytes": 4 * (floats + soft), "budget_floats": self.budget,
                "budget_bytes": 4 * self.budget, **({"label_floats": soft} if soft else {})}

    def factors(self):
        """Return what is stored, for the result file, where that is more than images: else None, as for pixels.

        A dict of CPU tensors and plain numbers: the name of the `parameterization`, and all from which the class
        method `from_factors` of its set rebuilds the same images. Soft labels are added by `stored_factors`.
        """

    @torch.no_grad()
    def snapshot(self):
        """Return (images float32, labels) detached on the CPU, as the result file stores them."""
        return self.images().detach().float().cpu().clone(), self.labels.detach().cpu().clone()
