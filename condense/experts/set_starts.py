"""What a synthetic set can take from experts as a start: real images they classify correctly, and soft labels.

Guo et al., "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching" (DATM), ICLR 2024.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from condense.core.errors import InputError
from condense.data import RealBatch
from condense.data.real import RealData
from condense.experts.trajectories import ExpertBuffer
from condense.matching.trajectories import Student


def right_images(real: RealData, student: Student, experts: ExpertBuffer, number: int,
                 rng: torch.Generator) -> RealBatch:
    """Return `number` random images of each class that one expert's last snapshot classifies correctly.

    The expert is also drawn. A `RealBatch`, class after class. Raises ValueError where a class has too few.
    """
    expert = int(torch.randint(len(experts), (), generator=rng))
    right = _gets_right(student, experts.snapshot(expert, experts.last_epoch, real.device),
                        real.sample(real.classes))
    rows = []
    for c in real.classes:
        own = real.indices_of(c)
        own = own[right[own]]
        if len(own) < number:
            raise InputError(f"--init samples_predicted_correctly needs {number} images of every class, but expert "
                             f"{expert} gets {len(own)} of class {real.class_names[c]!r} right; use --init real, or "
                             "experts trained for longer")
        rows.append(own[torch.randperm(len(own), generator=rng)[:number].to(own.device)])
    rows = torch.cat(rows)
    return RealBatch(real, rows, real.labels[rows], [number] * real.num_classes)


def _gets_right(student, theta, batch):
    """Return a bool for each image of `batch`, which is taken a chunk at a time."""
    size = 16 * (student.chunk or 64)
    guesses = [student.logits_of(theta, batch.images(slice(first, first + size))).argmax(1)
               for first in range(0, len(batch), size)]
    return torch.cat(guesses) == batch.labels


@torch.no_grad()
def expert_labels(synthetic: Any, student: Student, experts: ExpertBuffer, averaged: bool) -> Float[Tensor, "n k"]:
    """Return logits (n, K) of experts' last snapshots on the images of `synthetic`, as soft labels begin with.

    Those of the first expert; with `averaged`, of each image the mean over all experts that get it right, and over
    all of them where none does.
    """
    images, classes = synthetic.images(), synthetic.hard_labels
    total = weight = everyone = images.new_zeros(())
    for expert in range(len(experts) if averaged else 1):
        logits = student.logits_of(experts.snapshot(expert, experts.last_epoch, images.device), images)
        right = (logits.argmax(1) == classes).to(logits.dtype)[:, None]                   # (n, 1)
        total, weight, everyone = total + right * logits, weight + right, everyone + logits
    if not averaged:
        return everyone
    return torch.where(weight > 0, total / weight.clamp(min=1), everyone / len(experts))
