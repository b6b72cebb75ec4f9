"""How a network is trained on a set: steps, minibatches, augmentation, and the protocols of the papers."""

from condense.training.continued import ContinuedTraining
from condense.training.idc import MIXUPS, following_protocol, idc_protocols, is_large
from condense.training.passes import Passes, crop_and_flip
from condense.training.pools import EVAL_MODES, POOLS, eval_pool
from condense.training.protocols import Protocol, StepProtocol, dc_protocols, mtt_protocols, siamese_protocols
from condense.training.published import PROTOCOLS, default_models, named_protocols
from condense.training.sampled_minibatches import class_minibatches, draw_classes
from condense.training.steps import split_steps
from condense.training.train import TensorSet, train_network

__all__ = ["EVAL_MODES", "MIXUPS", "POOLS", "PROTOCOLS", "ContinuedTraining", "Passes", "Protocol", "StepProtocol",
           "TensorSet", "class_minibatches", "crop_and_flip", "dc_protocols", "default_models", "draw_classes",
           "eval_pool", "following_protocol", "idc_protocols", "is_large", "mtt_protocols", "named_protocols",
           "siamese_protocols", "split_steps", "train_network"]
