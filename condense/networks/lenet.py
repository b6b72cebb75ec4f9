"""LeNet (LeCun, Bottou, Bengio & Haffner, Proc. IEEE 1998), with ReLU and max pooling."""

from torch import nn

from condense.core.types import Size
from condense.networks.layers import PoolTo, ThreeLinear
from condense.networks.sizes import POOL, as_pair, check, conv, first_padding


class LeNet(ThreeLinear):
    """Two 5x5 convolutions with pooling, then 120, 84, classes. (N, channel, H, W) -> (N, num_classes).

    `im_size` None means 28x28 for one channel and 32x32 otherwise; maps of other sizes are averaged to
    the 5x5 that these give. Raises ValueError below 16x16, where the second convolution finds no room.
    """

    def __init__(self, channel: int, num_classes: int, im_size: int | Size | None = None) -> None:
        super().__init__()
        size = as_pair(im_size, channel)
        padding = first_padding(channel, size, usual=0, mnist=2)
        check("LeNet", lambda size: _plan(channel, size), size)
        self.features = nn.Sequential(
            nn.Conv2d(channel, 6, 5, padding=padding), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2), PoolTo(5))
        self.add_linear(16 * 5 * 5, 120, 84, num_classes)


def _plan(channel, size):
    return [conv(5, first_padding(channel, size, usual=0, mnist=2)), POOL, conv(5, 0), POOL]
