"""DD-Ranking: which part of a set's accuracy comes from its images, its labels and the augmentation.

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation", 2025. All accuracies are fractions in
[0, 1], of networks of one architecture. Both scores map a weighted difference in [-1, 1] to [0, 1]:

    score(x) = (e^x - e^-1) / (e - e^-1)
"""

import math

from condense.core.errors import InputError


def label_robust_score(full_hard: float, synthetic_hard: float, synthetic: float, random: float,
                       weight: float = 0.5) -> float:
    """Return LRS: `weight` w parts improvement over random, 1 - w parts what hard labels leave to be recovered.

    HLR = `full_hard` - `synthetic_hard`: the whole training set's accuracy over the set's, both with hard labels.
    IOR = `synthetic` - `random`: the set's accuracy under its own evaluation over random images' under the same.
    LRS = score(w IOR - (1 - w) HLR). Raises ValueError as `_score` does.
    """
    return _score(weight, synthetic - random, -(full_hard - synthetic_hard),
                  (full_hard, synthetic_hard, synthetic, random))


def augmentation_robust_score(synthetic_augmented: float, random_augmented: float, synthetic_plain: float,
                              random_plain: float, weight: float = 0.5) -> float:
    """Return ARS: `weight` g parts improvement over random images with augmentation, 1 - g parts that without.

    ARS = score(g (synthetic - random, augmented) + (1 - g) (synthetic - random, plain)). Raises ValueError as
    `_score` does.
    """
    return _score(weight, synthetic_augmented - random_augmented, synthetic_plain - random_plain,
                  (synthetic_augmented, random_augmented, synthetic_plain, random_plain))


def _score(weight, one, other, accuracies):
    """Map `weight` * one + (1 - `weight`) * other to [0, 1]; raises ValueError for accuracies that are no fractions."""
    if not all(0 <= value <= 1 for value in (*accuracies, weight)):
        raise InputError(f"DD-Ranking needs accuracies as fractions in [0, 1], not {accuracies}; divide percentages by "
                         "100")
    x = weight * one + (1 - weight) * other
    return min(1.0, max(0.0, (math.exp(x) - math.exp(-1)) / (math.exp(1) - math.exp(-1))))
