"""Evaluation pools: which architectures a synthetic set is scored on."""

from condense.core.errors import InputError
from condense.core.registry import unknown
from condense.methods import METHODS

POOLS = {
    "M": ("MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18"),
    "B": ("ConvNetBN", "ConvNetASwishBN", "AlexNetBN", "VGG11BN", "ResNet18BN"),
    "W": ("ConvNetW32", "ConvNetW64", "ConvNetW128", "ConvNetW256"),
    "D": ("ConvNetD1", "ConvNetD2", "ConvNetD3", "ConvNetD4"),
    "A": ("ConvNetAS", "ConvNetAR", "ConvNetAL", "ConvNetASwish"),
    "P": ("ConvNetNP", "ConvNetMP", "ConvNetAP"),
    "N": ("ConvNetNN", "ConvNetBN", "ConvNetLN", "ConvNetIN", "ConvNetGN"),
    "I": ("ConvNet", "ResNet10", "DenseNet"),
}
# IDC has other networks for images as large as ImageNet's (EfficientNet-B0, its third, is not offered). A pool does not
# see the images: that they are large is taken from the networks that are made to condense such.
LARGE_POOLS = {"I": ("ResNetAP10", "ResNet18BN")}
LARGE_MODELS = ("ResNetAP10", "ConvNetD5", "ConvNetD6", "ConvNetD7", "ConvNetD8")
METHOD_POOLS = {"MTT": {"M": ("ConvNet", "AlexNet", "VGG11", "ResNet18_AP", "ResNet18")}}       # its code's own
EVAL_MODES = {"S": "the condensing network, batch norm replaced", "SS": "the condensing network itself",
              "M": "six families", "B": "batch norm networks", "W": "widths", "D": "depths",
              "A": "activations", "P": "poolings", "N": "normalisations", "I": "IDC's networks"}
METHOD_MODES = {"MTT": {"C": "the condensing network and ConvNet"}}


def eval_pool(mode: str, model: str, method: str | None = None) -> tuple[str, ...]:
    """Return the tuple of network names that evaluation mode `mode` scores a set condensed with `model` on.

    S cuts the name before its first "BN" (ConvNetBN -> ConvNet, ResNet18BN_AP -> ResNet18); SS keeps it. I has other
    networks where `model` is one of LARGE_MODELS. `method` is given where its published modes and pools are others:
    MTT has C, which adds ConvNet. Raises ValueError for an unknown mode.
    """
    method = (METHODS[method].host or method) if method in METHODS else method
    if mode == "S":
        return (model.split("BN")[0],)
    if mode == "SS":
        return (model,)
    if mode == "C" and method == "MTT":
        return tuple(dict.fromkeys((model, "ConvNet")))
    if mode not in POOLS:
        raise InputError(unknown("eval mode", mode, {**EVAL_MODES, **METHOD_MODES.get(method or "", {})}))
    if model in LARGE_MODELS and mode in LARGE_POOLS:
        return LARGE_POOLS[mode]
    return METHOD_POOLS.get(method or "", {}).get(mode, POOLS[mode])
