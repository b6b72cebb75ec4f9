"""Networks and pools by name, as the reference calls them."""

import logging
from collections.abc import Sequence

import torch
from torch import nn

from condense.core.device import resolve_device
from condense.networks import get_network as build_network
from condense.training.pools import EVAL_MODES, eval_pool

log = logging.getLogger("condense")


def get_default_convnet_setting() -> tuple[int, int, str, str, str]:
    """Return the standard ConvNet's (width, depth, activation, norm, pooling)."""
    return 128, 3, "relu", "instancenorm", "avgpooling"


def get_network(model: str, channel: int, num_classes: int, im_size: Sequence[int] = (32, 32)) -> nn.Module:
    """Return the network named `model`, drawn from PyTorch's global generator, on the GPU if there is one.

    With one channel, (32, 32) stands for the 28x28 images that the reference takes all one-channel images
    for; `networks.get_network` builds for true 32x32 ones. With several GPUs in sight the network comes
    wrapped in DataParallel. Raises ValueError for unknown names and images that the network cannot take.
    """
    size = (28, 28) if channel == 1 and tuple(im_size) == (32, 32) else im_size
    net = build_network(model, channel, num_classes, size).to(resolve_device("auto"))
    return nn.DataParallel(net) if torch.cuda.device_count() > 1 else net


def get_eval_pool(eval_mode: str, model: str, model_eval: str) -> list[str]:
    """Return the list of network names to evaluate on; [model_eval] for a mode that does not exist.

    Mode S takes the counterpart without batch norm of a batch norm network, and says so in the log.
    """
    if eval_mode not in EVAL_MODES:
        known = ", ".join(EVAL_MODES)
        log.warning("eval mode %s is not one of %s: evaluating on %s", eval_mode, known, model_eval)
        return [model_eval]
    pool = list(eval_pool(eval_mode, model))
    if eval_mode == "S" and pool != [model]:
        log.warning("eval mode S: evaluating on %s instead of %s; SS keeps it", pool[0], model)
    return pool
