"""LeNet (LeCun, Bottou, Bengio & Haffner, Proc. IEEE 1998), with ReLU and max pooling."""

from torch import nn
from torch.nn.functional import relu

from condense.networks.layers import PoolTo
from condense.networks.sizes import POOL, as_pair, check, conv, first_padding


class LeNet(nn.Module):
    """Two 5x5 convolutions with pooling, then 120, 84, classes. (N, channel, H, W) -> (N, num_classes).

    `im_size` None means 28x28 for one channel and 32x32 otherwise; maps of other sizes are averaged to
    the 5x5 that these give. Raises ValueError below 16x16, where the second convolution finds no room.
    """

    def __init__(self, channel, num_classes, im_size=None):
        super().__init__()
        size = as_pair(im_size, channel)
        padding = first_padding(channel, size, usual=0, mnist=2)
        check("LeNet", lambda size: _plan(channel, size), size)
        self.features = nn.Sequential(
            nn.Conv2d(channel, 6, 5, padding=padding), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2), PoolTo(5))
        self.fc_1 = nn.Linear(16 * 5 * 5, 120)
        self.fc_2 = nn.Linear(120, 84)
        self.fc_3 = nn.Linear(84, num_classes)

    @property
    def classifier(self):
        """The last layer, under the name that all networks share."""
        return self.fc_3

    def embed(self, x):
        """Return the last hidden layer, (N, channel, H, W) -> (N, 84)."""
        x = relu(self.fc_1(self.features(x).flatten(1)))
        return relu(self.fc_2(x))

    def forward(self, x):
        return self.classifier(self.embed(x))


def _plan(channel, size):
    return [conv(5, first_padding(channel, size, usual=0, mnist=2)), POOL, conv(5, 0), POOL]
