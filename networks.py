"""The networks: classes, the registry of names, how to build one and how to draw it anew."""

from condense.networks import (
           MLP,
           NETWORKS,
           VGG11,
           VGG11BN,
           AlexCifarNet,
           AlexNet,
           AlexNetBN,
           ConvNet,
           DenseNet,
           LeNet,
           ResNet10,
           ResNet18,
           ResNet18_AP,
           ResNet18BN,
           ResNet18BN_AP,
           ResNetAP10,
           get_network,
           network_for,
           reset,
)
from condense.networks.batchnorm import freeze_batchnorm, has_batchnorm, refuse_batchnorm

__all__ = ["MLP", "NETWORKS", "AlexCifarNet", "AlexNet", "AlexNetBN",
           "ConvNet", "DenseNet", "LeNet", "ResNet10", "ResNet18", "ResNet18BN",
           "ResNet18BN_AP", "ResNet18_AP", "ResNetAP10", "VGG11", "VGG11BN", "freeze_batchnorm", "get_network",
           "has_batchnorm", "network_for", "refuse_batchnorm", "reset"]
