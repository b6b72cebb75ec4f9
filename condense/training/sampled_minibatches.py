"""Minibatches of the set itself, for as many steps as are unrolled: the same number of images of each class in each.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks",
NeurIPS 2022.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from condense.core.errors import InputError
from condense.core.randomness import generator_on

KEYS = 1 << 22                             # random keys that are drawn at a time: 32 MB


def class_minibatches(counts: Sequence[int], size: int | None, num_steps: int, rng: torch.Generator,
                      classes: Sequence[int] | None = None, device: torch.device | str = "cpu",
                      views: int = 1) -> list[Int[Tensor, " n"]]:
    """Return the positions that each of `num_steps` steps sees, a list of index tensors: `size` of each class.

    Only of `classes`, where they are given. `counts` are the images of each class in a class-major set, all equal.
    Each step draws anew, uniformly and without repetition; `size` None, or more than there are, takes all images of
    these classes in every step. Where every `views` images in a row show one thing, `size` counts things, and of each
    that is drawn a step sees one view, drawn too. Raises ValueError for classes of different sizes.
    """
    if views > 1:
        things = class_minibatches([count // views for count in counts], size, num_steps, rng, classes, device)
        rng = generator_on(torch.device(device), rng)
        return [views * rows + torch.randint(views, (len(rows),), generator=rng, device=device) for rows in things]
    if len(set(counts)) != 1:
        raise InputError(f"minibatches of classes need the same number of images in each, not {sorted(set(counts))}")
    of_class, classes = counts[0], torch.arange(len(counts)) if classes is None else torch.as_tensor(classes)
    first = (classes * of_class).to(device)[:, None]                               # (k, 1)
    if size is None or size >= of_class:
        return [(first + torch.arange(of_class, device=device)).flatten()] * num_steps
    rng, steps = generator_on(torch.device(device), rng), []
    at_once = max(1, KEYS // (len(classes) * of_class))
    for done in range(0, num_steps, at_once):
        shape = min(at_once, num_steps - done), len(classes), of_class
        keys = torch.rand(shape, generator=rng, device=device)
        steps += (keys.topk(size, dim=2, largest=False).indices + first).flatten(1).unbind()
    return steps


def draw_classes(num_classes: int, number: int | None, rng: torch.Generator | None) -> Sequence[int]:
    """Return `number` of the classes, drawn uniformly without repetition, in ascending order; None: all of them."""
    if number is None or number >= num_classes:
        return range(num_classes)
    return sorted(torch.randperm(num_classes, generator=rng)[:number].tolist())
