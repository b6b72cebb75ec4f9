"""How a network is trained on a set: steps, minibatches, augmentation, and the protocols of the papers."""

from condense.training.pools import EVAL_MODES, POOLS, eval_pool
from condense.training.protocols import Protocol, dc_protocols, mtt_protocols, siamese_protocols
from condense.training.published import PROTOCOLS, default_models, named_protocols
from condense.training.train import TensorSet

__all__ = ["EVAL_MODES", "POOLS", "PROTOCOLS", "Protocol", "TensorSet", "dc_protocols", "default_models", "eval_pool",
           "mtt_protocols", "named_protocols", "siamese_protocols"]
