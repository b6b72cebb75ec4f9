"""How good is a set: networks trained on it are tested, iterations chosen, learning rates searched."""

from condense.evaluation.before_after import BeforeAfter, accuracy_alone
from condense.evaluation.poisoning import poisoned
from condense.evaluation.score import Score, Scorer, evaluate
from condense.evaluation.search import choose_lr
from condense.evaluation.selection import SelectionImages

__all__ = ["BeforeAfter", "Score", "Scorer", "SelectionImages", "accuracy_alone", "choose_lr", "evaluate", "poisoned"]
