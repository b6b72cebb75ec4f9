"""ConvNet: the standard network of dataset condensation (Gidaris & Komodakis, CVPR 2018, as used by
Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021).
"""

from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.types import Size
from condense.networks.layers import build_activation, build_norm, build_pooling
from condense.networks.sizes import INSTANCE, POOL, as_pair, check, conv, first_padding, fits, trace
from condense.operators import Conv3x3


class ConvNet(nn.Module):
    """`net_depth` blocks of conv 3x3 -> norm -> activation -> 2x2 pooling, then one linear layer.

    (N, channel, H, W) -> (N, num_classes). `net_act`: sigmoid, relu, leakyrelu, swish. `net_norm`: none,
    batchnorm, layernorm, instancenorm, groupnorm. `net_pooling`: none, maxpooling, avgpooling.
    28x28 one-channel images are padded to 32x32 by the first convolution. Raises ValueError for unknown
    names and for images too small for the depth.
    """

    def __init__(self, channel: int, num_classes: int, net_width: int, net_depth: int, net_act: str, net_norm: str,
                 net_pooling: str, im_size: int | Size | None = None) -> None:
        super().__init__()
        size = as_pair(im_size, channel)
        self.features, last = _features(channel, net_width, net_depth, net_act, net_norm, net_pooling, size)
        self.classifier = nn.Linear(net_width * last[0] * last[1], num_classes)

    @property
    def blocks(self) -> list[tuple]:
        """The layers block by block: tuples (conv, norm or None, activation, pooling or None)."""
        return list(_blocks(self.features))

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the features in front of the classifier, (N, channel, H, W) -> (N, F)."""
        return self.features(x).flatten(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))


def _features(channel, width, depth, act, norm, pooling, size):
    """Return the flat sequence of all blocks, and the size of its last map."""
    layers, last = [], size
    _check_depth(channel, depth, norm, pooling, size)
    for block in range(depth):
        padding = first_padding(channel, size, usual=1, mnist=3) if block == 0 else 1
        inside, last = _block_maps(padding, pooling, last)
        layer = Conv3x3(width, width) if block else nn.Conv2d(channel, width, 3, padding=padding)
        layers += [layer, build_norm(norm, width, inside), build_activation(act), build_pooling(pooling)]
    return nn.Sequential(*(layer for layer in layers if layer is not None)), last


def _block_maps(padding, pooling, size):
    """Return the map sizes in front of and behind the pooling of a block that is given maps of `size`."""
    maps = trace([conv(3, padding)] + [POOL] * (pooling != "none"), size)
    return maps[0], maps[-1]


def _check_depth(channel, depth, norm, pooling, size):
    """Raise ValueError, naming the largest depth and the smallest image, if some map would be too small."""
    if depth < 1:
        raise InputError(f"net_depth must be 1 or larger, not {depth}")

    def plan_of(size, depth=depth):
        steps = [INSTANCE] * (norm == "instancenorm") + [POOL] * (pooling != "none")
        first = conv(3, first_padding(channel, size, usual=1, mnist=3))
        return [first, *steps] + [conv(3, 1), *steps] * (depth - 1)

    largest = max((d for d in range(1, depth) if fits(plan_of(size, d), size)), default=None)
    name = f" (ConvNetD{largest})" if norm == "instancenorm" and largest and largest <= 8 else ""
    mend = f"depth {largest} or less{name}" if largest else ""
    check(f"a ConvNet of depth {depth}", plan_of, size, mend)


def _blocks(features):
    block = None
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            if block:
                yield tuple(block)
            block = [layer, None, None, None]
        elif isinstance(layer, (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)):
            block[1] = layer
        elif isinstance(layer, (nn.AvgPool2d, nn.MaxPool2d)):
            block[3] = layer
        else:
            block[2] = layer
    yield tuple(block)
