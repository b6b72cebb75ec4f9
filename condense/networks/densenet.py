"""DenseNet (Huang, Liu, van der Maaten & Weinberger, CVPR 2017) for small images: growth 12, batch norm.

That of Kim et al., ICML 2022, whose paper calls it DenseNet-121 for its blocks.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.types import Size
from condense.networks.layers import PoolTo
from condense.networks.sizes import POOL, as_pair, check, conv

BLOCKS, GROWTH = (6, 12, 24, 16), 12       # layers of each block, and the channels that a layer adds


class Layer(nn.Module):
    """(N, channel, H, W) -> (N, GROWTH + channel, H, W): what two convolutions make of all maps, in front of them."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channel)
        self.conv1 = nn.Conv2d(channel, 4 * GROWTH, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * GROWTH)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c+{GROWTH} h w"]:
        new = self.conv1(F.relu(self.bn1(x), inplace=True))
        new = self.conv2(F.relu(self.bn2(new), inplace=True))
        return torch.cat((new, x), 1)


class Transition(nn.Module):
    """(N, channel, H, W) -> (N, channel // 2, H // 2, W // 2)."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channel)
        self.conv = nn.Conv2d(channel, channel // 2, 1, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c//2 h//2 w//2"]:
        return F.avg_pool2d(self.conv(F.relu(self.bn(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """(N, channel, H, W) -> (N, num_classes): four dense blocks, halved between two, and 384 averaged features.

    `im_size` None means 28x28 for one channel and 32x32 otherwise. Raises ValueError below 8x8. 1,000,618 parameters
    for 3x32x32 and 10 classes.
    """

    def __init__(self, channel: int, num_classes: int, im_size: int | Size | None = None) -> None:
        super().__init__()
        check("DenseNet", lambda size: [conv(3, 1), POOL, POOL, POOL], as_pair(im_size, channel))
        width = 2 * GROWTH
        self.conv1 = nn.Conv2d(channel, width, 3, padding=1, bias=False)
        for block, number in enumerate(BLOCKS, start=1):
            setattr(self, f"dense{block}", nn.Sequential(*(Layer(width + i * GROWTH) for i in range(number))))
            width += number * GROWTH
            if block < len(BLOCKS):
                setattr(self, f"trans{block}", Transition(width))
                width //= 2
        self.bn = nn.BatchNorm2d(width)
        self.pool = PoolTo(1)
        self.classifier = nn.Linear(width, num_classes)

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the features in front of the classifier, (N, channel, H, W) -> (N, 384)."""
        out = self.conv1(x)
        for dense, transition in ((self.dense1, self.trans1), (self.dense2, self.trans2), (self.dense3, self.trans3)):
            out = transition(dense(out))
        return self.pool(F.relu(self.bn(self.dense4(out)), inplace=True)).flatten(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))
