"""AlexCifarNet, the network that Dataset Distillation uses for CIFAR-10: two convolutions, local response norm.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, after the network that cuda-convnet came with for CIFAR-10.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from condense.core.types import Size
from condense.networks.layers import PoolTo, ThreeLinear
from condense.networks.sizes import as_pair, check, conv, first_padding

HALVED = conv(3, 1, 2)                     # the map of 3x3 max pooling with stride 2
SIZE, ALPHA, BETA = 4, 0.001 / 9, 0.75     # of the response norm, whose k is 1


class ResponseNorm(nn.Module):
    """x / (1 + alpha / 4 sum x_j^2)^beta, over the four channels j from two below a channel to one above it.

    Local response norm as PyTorch has it, (N, C, H, W) -> the same. There it is made of a three-dimensional pooling,
    which is slower, and whose gradient is not deterministic on a GPU.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        squares = pad(x.square(), (0, 0, 0, 0, SIZE // 2, (SIZE - 1) // 2))
        total = sum(squares[:, first:first + x.shape[1]] for first in range(SIZE))
        return x * (1 + ALPHA / SIZE * total) ** -BETA


class AlexCifarNet(ThreeLinear):
    """(N, channel, H, W) -> (N, num_classes): 64 x 8 x 8 features, then 384, 192, classes.

    `im_size` None means 28x28 for one channel, where the first padding is 4, and 32x32 otherwise; other maps are
    averaged to 8x8. 1,756,426 parameters for 3x32x32 and 10 classes.
    """

    def __init__(self, channel: int, num_classes: int, im_size: int | Size | None = None) -> None:
        super().__init__()
        size = as_pair(im_size, channel)
        padding = first_padding(channel, size, usual=2, mnist=4)
        check("AlexCifarNet", lambda size: [conv(5, padding), HALVED, conv(5, 2), HALVED], size)
        self.features = nn.Sequential(
            nn.Conv2d(channel, 64, 5, padding=padding), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1),
            ResponseNorm(), nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(inplace=True), ResponseNorm(),
            nn.MaxPool2d(3, 2, padding=1), PoolTo(8))
        self.add_linear(64 * 8 * 8, 384, 192, num_classes)
