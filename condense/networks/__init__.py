"""The networks by name, how to build one and how to draw it anew."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from condense.core.registry import lookup
from condense.networks.alexcifarnet import AlexCifarNet
from condense.networks.alexnet import AlexNet, AlexNetBN
from condense.networks.convnet import ConvNet
from condense.networks.densenet import DenseNet
from condense.networks.initialisation import INITS, reset
from condense.networks.lenet import LeNet
from condense.networks.mlp import MLP
from condense.networks.resnet import ResNet18, ResNet18_AP, ResNet18BN, ResNet18BN_AP
from condense.networks.resnet10 import ResNet10, ResNetAP10
from condense.networks.vgg import VGG11, VGG11BN

__all__ = ["INITS", "MLP", "NETWORKS", "AlexCifarNet", "AlexNet", "AlexNetBN", "ConvNet", "DenseNet", "LeNet",
           "ResNet10", "ResNet18", "ResNet18BN", "ResNet18BN_AP", "ResNet18_AP", "ResNetAP10", "VGG11", "VGG11BN",
           "get_network", "network_for", "reset"]

SHALLOWEST, DEEPEST = 2, 8                # depths of `network_for`

_standard = partial(ConvNet, net_width=128, net_depth=3, net_act="relu", net_norm="instancenorm",
                    net_pooling="avgpooling")

# name -> factory(channel, num_classes, im_size=...); a variant changes only the aspect that it names
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "MLP": MLP,
    "ConvNet": _standard,
    "LeNet": LeNet,
    "AlexNet": AlexNet,
    "AlexNetBN": AlexNetBN,
    "AlexCifarNet": AlexCifarNet,
    "VGG11": VGG11,
    "VGG11BN": VGG11BN,
    "ResNet18": ResNet18,
    "ResNet18BN": ResNet18BN,
    "ResNet18_AP": ResNet18_AP,
    "ResNet18BN_AP": ResNet18BN_AP,
    "ResNetAP10": ResNetAP10,
    "ResNet10": ResNet10,
    "DenseNet": DenseNet,
    **{f"ConvNetD{depth}": partial(_standard, net_depth=depth) for depth in range(1, 9)},
    **{f"ConvNetW{width}": partial(_standard, net_width=width) for width in (32, 64, 128, 256, 512, 1024)},
    "ConvNetAS": partial(_standard, net_act="sigmoid"),
    "ConvNetAR": partial(_standard, net_act="relu"),
    "ConvNetAL": partial(_standard, net_act="leakyrelu"),
    "ConvNetASwish": partial(_standard, net_act="swish"),
    "ConvNetASwishBN": partial(_standard, net_act="swish", net_norm="batchnorm"),
    "ConvNetNN": partial(_standard, net_norm="none"),
    "ConvNetBN": partial(_standard, net_norm="batchnorm"),
    "ConvNetLN": partial(_standard, net_norm="layernorm"),
    "ConvNetIN": partial(_standard, net_norm="instancenorm"),
    "ConvNetGN": partial(_standard, net_norm="groupnorm"),
    "ConvNetNP": partial(_standard, net_pooling="none"),
    "ConvNetMP": partial(_standard, net_pooling="maxpooling"),
    "ConvNetAP": partial(_standard, net_pooling="avgpooling"),
    "ConvNetKIP": partial(_standard, net_width=1024, net_norm="none"),
}


def get_network(model: str, channel: int, num_classes: int, im_size: int | Sequence[int] | None = (32, 32),
                rng: torch.Generator | None = None) -> nn.Module:
    """Return the network named `model`, freshly initialised, on the CPU and in train mode.

    `channel` and `num_classes` are counts, `im_size` is one int or (height, width). Parameters are drawn by
    `reset(net, rng)`; with `rng` given PyTorch's global generator is left alone. Raises ValueError for an
    unknown name, suggesting the nearest, and for an image size the network cannot take, naming a mend.
    """
    factory = lookup(NETWORKS, model, "network")
    with torch.device("meta"):                        # shapes only: nothing is drawn, and nothing drawn twice
        net = factory(channel, num_classes, im_size=im_size)
    return reset(net.to_empty(device="cpu"), rng)


def network_for(side: int | None) -> str:
    """Return the name of the ConvNet whose depth follows the image's `side` in pixels; None: a side not known yet.

    The last maps are 4x4: depth 3 for 28 and 32, 4 for 64, 5 for 128, as trajectory matching is published
    (Cazenavette et al., CVPR 2022); at least 2.
    """
    if side is None:
        return "ConvNet"
    depth = min(DEEPEST, max(SHALLOWEST, math.ceil(math.log2(side)) - 2))
    return "ConvNet" if depth == 3 else f"ConvNetD{depth}"
