"""The contract of a synthetic set: scripts call it and never ask how it stores its images."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from condense.core.errors import InputError

# learned beside the images, whatever form those have
WITH_THE_SET = ("label_logits", "syn_lr", "raw_step_sizes")


class SyntheticSet(nn.Module):
    """A learnable, class-major set of labelled images.

    `hard_labels` (n,) int64 is the class of each image, `labels` what networks learn: the same, or soft ones.
    `counts` images of each class; `budget` the floats that `ipc` images per class take. Every `views` images in a row
    are views of one and the same stored thing, of which a minibatch sees one: steps of a student, and epochs of network
    training, go once through the things stored (1: all images are alike). `syn_lr` is None, or the step size learned
    with the set, which networks are then trained on it with. Sets of unrolled training have `step_sizes` instead, one
    for each step, in `distill_steps` batches; `starts` (m, P) are then the weights that their networks, of architecture
    `start_model`, begin with, or None where any fresh ones will do.
    Subclasses give `images` and hold their parameters; everything else has a default. `INITS` are the ways that
    `init_from` can start, `OPTIONS` what the constructor takes beside (num_classes, ipc, channel, im_size):
    {name: dict(default=, help=, and further keywords of `condense.cli.options.option`)}. `HAS_FACTORS` says whether
    it stores something else than images, which `factors` returns; `PIXELS` names parameters that are pixels. `factor`
    images a side are decoded from what is stored as one.
    """

    INITS, OPTIONS, HAS_FACTORS, PIXELS, factor = (), {}, False, (), 1

    def __init__(self, labels, counts, budget):
        super().__init__()
        self.register_buffer("hard_labels", labels)
        for name in WITH_THE_SET:
            self.register_parameter(name, None)
        self.register_buffer("starts", None, persistent=False)             # drawn anew when a run is resumed
        self.distill_steps = self.start_model = None
        self.counts = counts
        self.budget = budget
        self.views = 1

    @property
    def labels(self):
        """(n,) int64, or soft: (n, K) probabilities, differentiable in `label_logits`."""
        if self.label_logits is None:
            return self.hard_labels
        return self.label_logits.softmax(1).repeat_interleave(self.views, 0)

    def use_soft_labels(self, logits, learned=True):
        """From now on `labels` are softmax(`logits`), (n, K); `learned` says whether they are parameters to learn.

        All views of one thing have the same: that of the mean of their logits. `logits` may be these means already,
        (n / views, K).
        """
        if len(logits) == len(self.hard_labels):
            logits = logits.unflatten(0, (-1, self.views)).mean(1)
        self.label_logits = nn.Parameter(logits.detach().to(torch.float32).clone(), requires_grad=learned)

    def learn_step_size(self, lr):
        """Let `lr` be the step size `syn_lr` that is learned with the set, from now on."""
        self.syn_lr = nn.Parameter(torch.tensor(float(lr), device=self.hard_labels.device))

    def learn_step_sizes(self, lr, distill_steps, distill_epochs):
        """Let every step of descent have a step size of its own that is learned with the set; all begin as `lr` > 0.

        The images are cut into `distill_steps` batches, which are gone through `distill_epochs` times. Wang, Zhu,
        Torralba & Efros, "Dataset Distillation", 2018. Raises ValueError where a class cannot be cut into so many
        equal parts, naming the nearest number that it can.
        """
        for count in set(self.counts):
            if count % distill_steps:
                raise InputError(f"--distill_steps {distill_steps} does not divide the {count} images of a class; "
                                 f"use --distill_steps {_nearest_divisor(count, distill_steps)}")
        raw = lr + math.log(-math.expm1(-lr))              # where softplus is lr: log(exp(lr) - 1), without overflow
        shape = distill_steps * distill_epochs
        self.raw_step_sizes = nn.Parameter(torch.full((shape,), raw, device=self.hard_labels.device))
        self.distill_steps = distill_steps

    @property
    def step_sizes(self):
        """(T,) step sizes of all steps, the softplus of what is learned and so above 0; None where none are."""
        return None if self.raw_step_sizes is None else F.softplus(self.raw_step_sizes)

    def mean_step_size(self):
        """Return the step size learned with the set as a float, the mean where there are many; None: none is."""
        sizes = self.step_sizes if self.syn_lr is None else self.syn_lr
        return None if sizes is None else float(sizes.detach().mean())

    def start_from_networks(self, model, starts):
        """Let `starts` (m, P), flat parameters of network `model`, be all that the set is learned for."""
        self.starts, self.start_model = starts, model

    def images(self, index=None):
        """Return decoded images (n, C, H, W) in normalised space, differentiable; `index` picks some."""
        raise TypeError(f"{type(self).__name__} does not say how it decodes its images")

    def start_from(self, batch):
        """Start from the real images of `batch`, `counts` of each class, as near as this form comes to them."""
        raise TypeError(f"{type(self).__name__} does not start from real images")

    @classmethod
    def stores_images(cls, **options):
        """Say whether a set with these `OPTIONS` stores the images that networks see, as they are."""
        return not cls.HAS_FACTORS

    @property
    def images_per_epoch(self):
        """How many images of a class an epoch of network training sees, at most: one view of each thing stored."""
        return max(self.counts) // self.views

    def form(self):
        """Return what a result's `meta` says of the form beside its `storage`: `views`, and `decoded`, the factor.

        Every `views` images in a row show one stored thing; `decoded` images a side were made of one stored image.
        """
        return {"views": self.views, "decoded": self.factor}

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
        """Return the set's own term of the loss; 0 for most sets.

        `augment` is the method's augmentation, called with (images, group of each, on the host); its `num_groups` are
        the classes, or the images of the set. None: there is none.
        """
        return 0.0

    def after_step(self, augment, rng, end=False):
        """Act after an optimiser step (clamp, project, an adversary's own step); `end` marks the end of an iteration.

        `augment` as for `extra_loss`.
        """

    @torch.no_grad()
    def clamp_(self, low, high):
        """Hold stored pixels between `low` and `high`, each a number or one per channel; other forms do nothing."""
        for name in self.PIXELS:
            pixels = getattr(self, name)
            low, high = (torch.as_tensor(bound, dtype=pixels.dtype, device=pixels.device).view(-1, 1, 1)
                         for bound in (low, high))
            pixels.clamp_(low, high)

    def storage(self):
        """Return what is stored as {'floats', 'bytes', 'budget_floats', 'budget_bytes'}.

        Soft labels are stored, too, one for all views of a thing: 'label_floats' of them, in 'bytes' but not in
        'floats', which the budget of images is held against. Hard labels and step sizes are not counted.
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


def _nearest_divisor(number, wanted):
    """Return the divisor of `number` nearest to `wanted`, the smaller of two."""
    return min((part for part in range(1, number + 1) if number % part == 0), key=lambda part: abs(part - wanted))
