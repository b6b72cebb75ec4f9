"""Evaluation pools: which architectures a synthetic set is scored on."""

from condense.registry import unknown

POOLS = {
    "M": ("MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18"),
    "B": ("ConvNetBN", "ConvNetASwishBN", "AlexNetBN", "VGG11BN", "ResNet18BN"),
    "W": ("ConvNetW32", "ConvNetW64", "ConvNetW128", "ConvNetW256"),
    "D": ("ConvNetD1", "ConvNetD2", "ConvNetD3", "ConvNetD4"),
    "A": ("ConvNetAS", "ConvNetAR", "ConvNetAL", "ConvNetASwish"),
    "P": ("ConvNetNP", "ConvNetMP", "ConvNetAP"),
    "N": ("ConvNetNN", "ConvNetBN", "ConvNetLN", "ConvNetIN", "ConvNetGN"),
}
EVAL_MODES = {"S": "the condensing network, batch norm replaced", "SS": "the condensing network itself",
              "M": "six families", "B": "batch norm networks", "W": "widths", "D": "depths",
              "A": "activations", "P": "poolings", "N": "normalisations"}


def eval_pool(mode, model):
    """Return the tuple of network names that evaluation mode `mode` scores a set condensed with `model` on.

    S cuts the name before its first "BN" (ConvNetBN -> ConvNet, ResNet18BN_AP -> ResNet18); SS keeps it.
    Raises ValueError for an unknown mode.
    """
    if mode == "S":
        return (model.split("BN")[0],)
    if mode == "SS":
        return (model,)
    if mode not in POOLS:
        raise ValueError(unknown("eval mode", mode, EVAL_MODES))
    return POOLS[mode]
