"""VGG11 (Simonyan & Zisserman, ICLR 2015) for small images: one linear layer, no dropout."""

from jaxtyping import Float
from torch import Tensor, nn

from condense.core.types import Size
from condense.networks.layers import PoolTo, build_norm
from condense.networks.sizes import INSTANCE, POOL, as_pair, check, conv, first_padding

CHANNELS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")    # M: 2x2 max pooling


class VGG(nn.Module):
    """(N, channel, H, W) -> (N, num_classes), with 512 features; maps left larger than 1x1 are averaged.

    `norm`: a name of `layers.NORMS`. `im_size` None means 28x28 for one channel, where the first
    padding is 3, and 32x32 otherwise. Raises ValueError for images too small for five poolings.
    """

    def __init__(self, channel: int, num_classes: int, norm: str = "instancenorm",
                 im_size: int | Size | None = None) -> None:
        super().__init__()
        size = as_pair(im_size, channel)
        check("VGG11", lambda size: _plan(channel, norm, size), size)
        padding = first_padding(channel, size, usual=1, mnist=3)
        self.features = nn.Sequential(*_layers(channel, padding, norm), PoolTo(1))
        self.classifier = nn.Linear(512, num_classes)

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the features in front of the classifier, (N, channel, H, W) -> (N, 512)."""
        return self.features(x).flatten(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))


def VGG11(channel: int, num_classes: int, im_size: int | Size | None = None) -> VGG:
    """Return VGG11 with instance norm."""
    return VGG(channel, num_classes, "instancenorm", im_size)


def VGG11BN(channel: int, num_classes: int, im_size: int | Size | None = None) -> VGG:
    """Return VGG11 with batch norm."""
    return VGG(channel, num_classes, "batchnorm", im_size)


def _layers(channel, padding, norm):
    for width in CHANNELS:
        if width == "M":
            yield nn.MaxPool2d(2)
            continue
        yield nn.Conv2d(channel, width, 3, padding=padding)
        yield build_norm(norm, width)
        yield nn.ReLU(inplace=True)
        channel, padding = width, 1


def _plan(channel, norm, size):
    steps, padding = [], first_padding(channel, size, usual=1, mnist=3)
    for width in CHANNELS:
        steps += [POOL] if width == "M" else [conv(3, padding)] + [INSTANCE] * (norm == "instancenorm")
        padding = padding if width == "M" else 1
    return steps
