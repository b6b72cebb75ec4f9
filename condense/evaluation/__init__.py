"""How good is a set: networks trained on it are tested, iterations chosen, learning rates searched."""

from condense.evaluation.score import Score, Scorer, evaluate
from condense.evaluation.search import choose_lr

__all__ = ["Score", "Scorer", "choose_lr", "evaluate"]
