"""Evaluation: train fresh networks on a set, test them, and say how good the set is."""

from condense.evaluation.pools import EVAL_MODES, POOLS, eval_pool
from condense.evaluation.protocols import Protocol, dc_protocols, mtt_protocols, siamese_protocols
from condense.evaluation.published import PROTOCOLS, default_models, named_protocols
from condense.evaluation.score import Score, Scorer, evaluate
from condense.evaluation.search import choose_lr
from condense.evaluation.train import TensorSet

__all__ = ["EVAL_MODES", "POOLS", "PROTOCOLS", "Protocol", "Score", "Scorer", "TensorSet", "choose_lr", "dc_protocols",
           "default_models", "eval_pool", "evaluate", "mtt_protocols", "named_protocols", "siamese_protocols"]
