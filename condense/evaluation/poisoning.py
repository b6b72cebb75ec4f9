"""Data poisoning: images that make trained networks fail on one class and change little on the others.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018: the loss behind the steps is that on real data whose class K
is labelled T; the labels of the synthetic images stay as they are.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from condense.core.errors import InputError


def poisoned(attacked: int, target: int,
             num_classes: int) -> tuple[Callable[[Tensor], Tensor], Callable[..., dict[str, float]]]:
    """Return (function that relabels, function from confusion counts to figures) of an attack on class `attacked`.

    Raises ValueError unless the two are different classes of `num_classes`.
    """
    require_classes(attacked, target, num_classes)
    return (partial(relabelled, attacked=attacked, target=target),
            partial(attack_figures, attacked=attacked, target=target))


def relabelled(labels: Int[Tensor, " n"], attacked: int, target: int) -> Int[Tensor, " n"]:
    """Return a copy of `labels` (n,) in which class `attacked` is called `target`."""
    return torch.where(labels == attacked, target, labels)


def require_classes(attacked: int, target: int, num_classes: int) -> None:
    """Raise ValueError unless the two are different classes of `num_classes`."""
    for flag, number in (("attack_class", attacked), ("target_class", target)):
        if not 0 <= number < num_classes:
            raise InputError(f"--{flag} {number} is none of the classes 0..{num_classes - 1}; choose one of them")
    if attacked == target:
        raise InputError(f"--attack_class and --target_class are both {target}; choose two classes")


def attack_figures(confusion: Sequence[Sequence[int]], attacked: int, target: int) -> dict[str, float]:
    """Return what an attack comes to, fractions by name, from test images counted (K, K): row = true class.

    `accuracy` on true labels and `relabelled_accuracy` on those that the attack wants; `attacked_class_accuracy`, and
    `attacked_as_target`, the share of the attacked class that is called the target; 0 where no test image is of it.
    """
    total, members = sum(map(sum, confusion)), max(1, sum(confusion[attacked]))
    right = sum(row[label] for label, row in enumerate(confusion))
    kept, taken = confusion[attacked][attacked], confusion[attacked][target]
    return {"accuracy": right / total, "relabelled_accuracy": (right - kept + taken) / total,
            "attacked_class_accuracy": kept / members, "attacked_as_target": taken / members}
