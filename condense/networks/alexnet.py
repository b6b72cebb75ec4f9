"""AlexNet (Krizhevsky, Sutskever & Hinton, NeurIPS 2012) cut down to small images: five convolutions, one
linear layer, no dropout. `AlexNet` has no normalisation at all, `AlexNetBN` has batch norm.
"""

from jaxtyping import Float
from torch import Tensor, nn

from condense.core.types import Size
from condense.networks.layers import PoolTo
from condense.networks.sizes import POOL, as_pair, check, conv, first_padding

# (output channels, kernel, padding, pooled), layer by layer
LAYERS = ((128, 5, 2, True), (192, 5, 2, True), (256, 3, 1, False), (192, 3, 1, False), (192, 3, 1, True))


class AlexNet(nn.Module):
    """(N, channel, H, W) -> (N, num_classes), with 192 x 4 x 4 features; other maps are averaged to 4x4.

    `im_size` None means 28x28 for one channel, where the first padding is 4, and 32x32 otherwise.
    Raises ValueError below 8x8, where pooling leaves nothing.
    """

    def __init__(self, channel: int, num_classes: int, im_size: int | Size | None = None,
                 batch_norm: bool = False) -> None:
        super().__init__()
        size = as_pair(im_size, channel)
        check("AlexNet", lambda size: _plan(channel, size), size)
        padding = first_padding(channel, size, usual=2, mnist=4)
        self.features = nn.Sequential(*_layers(channel, padding, batch_norm), PoolTo(4))
        self.fc = nn.Linear(192 * 4 * 4, num_classes)

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, under the name that all networks share."""
        return self.fc

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the features in front of the classifier, (N, channel, H, W) -> (N, 3072)."""
        return self.features(x).flatten(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))


def AlexNetBN(channel: int, num_classes: int, im_size: int | Size | None = None) -> AlexNet:
    """Return an `AlexNet` with batch norm between each convolution and its ReLU."""
    return AlexNet(channel, num_classes, im_size, batch_norm=True)


def _layers(channel, first_padding, batch_norm):
    for index, (width, kernel, padding, pooled) in enumerate(LAYERS):
        yield nn.Conv2d(channel, width, kernel, padding=padding if index else first_padding)
        if batch_norm:
            yield nn.BatchNorm2d(width)
        yield nn.ReLU(inplace=True)
        if pooled:
            yield nn.MaxPool2d(2)
        channel = width


def _plan(channel, size):
    steps = [conv(5, first_padding(channel, size, usual=2, mnist=4))]
    for index, (_, kernel, padding, pooled) in enumerate(LAYERS):
        steps += [conv(kernel, padding)] * (index > 0) + [POOL] * pooled
    return steps
