"""The contract of a synthetic set: scripts call it and never ask how it stores its images."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from condense.core.types import Augment, ClassMajor, Index
from condense.synthetic.labels import Labels
from condense.synthetic.learned_steps import LearnedSteps

# what is learned apart from the images, whatever form those have
NON_IMAGE_PARAMETERS = ("own_labels.logits", "learned_steps.size", "learned_steps.raw_sizes")
# the names that checkpoints of before have for what these parts hold
BEFORE = {"hard_labels": "own_labels.classes", "label_logits": "own_labels.logits", "syn_lr": "learned_steps.size",
          "raw_step_sizes": "learned_steps.raw_sizes"}


class SyntheticSet(nn.Module):
    """A learnable, class-major set of labelled images.

    `hard_labels` (n,) int64 is the class of each image, `labels` what networks learn: the same, or soft ones; both are
    those of `own_labels`. `learned_steps` has what is learned of the steps that networks take on it. `counts` images of
    each class; `budget` the floats that `ipc` images per class take. Every `views` images in a row are views of one and
    the same stored thing, of which a minibatch sees one: steps of a student, and epochs of network training, go once
    through the things stored (1: all images are alike).
    Subclasses give `images` and hold their parameters; everything else has a default. `INITS` are the ways that
    `init_from` can start, `OPTIONS` what the constructor takes after (num_classes, ipc, channel, im_size):
    {name: dict(default=, help=, and further keywords of `condense.cli.option`)}. `HAS_FACTORS` says whether
    it stores something else than images, which `factors` returns; `PIXELS` names parameters that are pixels. `factor`
    images a side are decoded from what is stored as one.
    """

    IN_WORDS: str
    INITS: tuple[str, ...]
    OPTIONS: dict[str, Any]
    PIXELS: tuple[str, ...]
    INITS, OPTIONS, HAS_FACTORS, PIXELS, factor = (), {}, False, (), 1

    def __init__(self, labels: Int[Tensor, " n"], counts: list[int], budget: int, views: int = 1) -> None:
        super().__init__()
        self.own_labels, self.learned_steps = Labels(labels, views), LearnedSteps(counts)
        self.counts, self.budget, self.views = counts, budget, views
        self.register_load_state_dict_pre_hook(_rename)

    @property
    def hard_labels(self) -> Int[Tensor, " n"]:
        """(n,) int64: the class of each image."""
        return self.own_labels.classes

    @property
    def labels(self) -> Int[Tensor, " n"] | Float[Tensor, "n k"]:
        """(n,) int64, or soft: (n, K) probabilities, differentiable in their logits."""
        return self.own_labels()

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        """Return decoded images (n, C, H, W) in normalised space, differentiable; `index` picks some."""
        raise TypeError(f"{type(self).__name__} does not say how it decodes its images")

    def start_from(self, batch: ClassMajor) -> "SyntheticSet":
        """Start from the real images of `batch`, `counts` of each class, as near as this form comes to them."""
        raise TypeError(f"{type(self).__name__} does not start from real images")

    @classmethod
    def stores_images(cls, **options: Any) -> bool:
        """Say whether a set with these `OPTIONS` stores the images that networks see, as they are."""
        return not cls.HAS_FACTORS

    @property
    def images_per_epoch(self) -> int:
        """How many images of a class an epoch of network training sees, at most: one view of each thing stored."""
        return max(self.counts) // self.views

    def form(self) -> dict[str, int]:
        """Return what a result's `meta` says of the form, apart from `storage`: `views`, and `decoded`, the factor.

        Every `views` images in a row show one stored thing; `decoded` images a side were made of one stored image.
        """
        return {"views": self.views, "decoded": self.factor}

    def class_slice(self, c: int) -> slice:
        """Return the positions of class `c` as a slice."""
        first = sum(self.counts[:c])
        return slice(first, first + self.counts[c])

    def stored_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield (name, parameter) of what the images are made of: neither labels nor step size."""
        return ((name, tensor) for name, tensor in self.named_parameters() if name not in NON_IMAGE_PARAMETERS)

    def param_groups(self, lr: float, momentum: float) -> list[dict[str, Any]]:
        """Return the optimiser groups of what the images are made of, each a dict: name, params, lr and momentum."""
        return [{"name": name, "params": [parameter], "lr": lr, "momentum": momentum}
                for name, parameter in self.stored_parameters()]

    def extra_loss(self, augment: Augment | None, rng: torch.Generator) -> Float[Tensor, ""] | float:
        """Return the set's own term of the loss; 0 for most sets.

        `augment` is the method's augmentation, called with (images, group of each, on the host); its `num_groups` are
        the classes, or the images of the set. None: there is none.
        """
        return 0.0

    def after_step(self, augment: Augment | None, rng: torch.Generator, end: bool = False) -> None:
        """Act after an optimiser step (clamp, project, an adversary's own step); `end` marks the end of an iteration.

        `augment` as for `extra_loss`.
        """

    @torch.no_grad()
    def clamp_(self, low: float | Sequence[float] | Tensor, high: float | Sequence[float] | Tensor) -> None:
        """Hold stored pixels between `low` and `high`, each a number or one per channel; other forms do nothing."""
        for name in self.PIXELS:
            pixels = getattr(self, name)
            low, high = (torch.as_tensor(bound, dtype=pixels.dtype, device=pixels.device).view(-1, 1, 1)
                         for bound in (low, high))
            pixels.clamp_(low, high)

    def storage(self) -> dict[str, int]:
        """Return what is stored as {'floats', 'bytes', 'budget_floats', 'budget_bytes'}.

        Soft labels are also stored, one for all views of a thing: 'label_floats' of them, in 'bytes' but not in
        'floats', which the budget of images is checked against. Hard labels and step sizes are not counted.
        """
        floats = sum(parameter.numel() for _, parameter in self.stored_parameters())
        soft = self.own_labels.stored()
        return {"floats": floats, "bytes": 4 * (floats + soft), "budget_floats": self.budget,
                "budget_bytes": 4 * self.budget, **({"label_floats": soft} if soft else {})}

    def factors(self) -> dict[str, Any] | None:
        """Return what is stored, for the result file, where that is more than images: else None, as for pixels.

        A dict of CPU tensors and plain numbers: the name of the `parameterization`, and all from which the class
        method `from_factors` of its set rebuilds the same images. Soft labels are added by `stored_factors`.
        """

    @torch.no_grad()
    def snapshot(self) -> tuple[Float[Tensor, "n c h w"], Shaped[Tensor, " n *k"]]:
        """Return (images float32, labels) detached on the CPU, as the result file stores them."""
        return self.images().detach().float().cpu().clone(), self.labels.detach().cpu().clone()


def _rename(module, state, prefix, *_):
    """Give what a checkpoint of before holds in `state` the names of today."""
    for before, now in BEFORE.items():
        if prefix + before in state:
            state[prefix + now] = state.pop(prefix + before)
