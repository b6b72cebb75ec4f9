"""MLP: two hidden layers of 128, the smallest network of the cross-architecture tables."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from condense.core.types import Size
from condense.networks.sizes import as_pair


class MLP(nn.Module):
    """Flatten -> 128 -> ReLU -> 128 -> ReLU -> classes. (N, channel, H, W) -> (N, num_classes).

    `im_size` None means 28x28 for one channel and 32x32 otherwise.
    """

    def __init__(self, channel: int, num_classes: int, im_size: int | Size | None = None) -> None:
        super().__init__()
        height, width = as_pair(im_size, channel)
        self.fc_1 = nn.Linear(channel * height * width, 128)
        self.fc_2 = nn.Linear(128, 128)
        self.fc_3 = nn.Linear(128, num_classes)

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, under the name that all networks share."""
        return self.fc_3

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the second hidden layer, (N, channel, H, W) -> (N, 128)."""
        x = relu(self.fc_1(x.flatten(1)))
        return relu(self.fc_2(x))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))
