"""Layers that several families share: norms, activations and pooling by name, and pooling to a fixed map."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.registry import lookup
from condense.core.torch_private import inside_transform
from condense.core.types import Size
from condense.operators import InstanceNorm


class ThreeLinear(nn.Module):
    """What follows the `features` of LeNet and its kin: three linear layers with ReLU, the last of which classifies."""

    def add_linear(self, *sizes: int) -> None:
        """Make the layers, from sizes[0] flattened features to sizes[3] classes."""
        self.fc_1, self.fc_2, self.fc_3 = (nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, under the name that all networks share."""
        return self.fc_3

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the last hidden layer, (N, channel, H, W) -> (N, sizes[2])."""
        x = F.relu(self.fc_1(self.features(x).flatten(1)))
        return F.relu(self.fc_2(x))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))


class HeConv2d(nn.Conv2d):
    """Convolution without bias whose weights start from N(0, 2 / fan_out), fan_out the weights that see one input.

    He, Zhang, Ren & Sun, ICCV 2015; `initialisation.reset` draws it likewise.
    """

    def __init__(self, *sizes: int, **how: int) -> None:
        super().__init__(*sizes, **how, bias=False)

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")


class LayerNorm(nn.LayerNorm):
    """Layer norm whose gradient can be differentiated again under vmap.

    There PyTorch's kernel takes mean and deviation for constants in its second derivative, which is silently wrong;
    written out in single operations it is right.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not inside_transform():
            return super().forward(x)
        axes = tuple(range(-len(self.normalized_shape), 0))
        centred = x - x.mean(axes, keepdim=True)
        normal = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + self.eps)
        return normal * self.weight + self.bias


NORMS: dict[str, Callable] = {
    "none": lambda channels, size: None,
    "batchnorm": lambda channels, size: nn.BatchNorm2d(channels),
    "layernorm": lambda channels, size: LayerNorm([channels, *size]),      # elementwise over C, H and W
    "instancenorm": lambda channels, size: InstanceNorm(channels),      # the field's: affine, no running mean
    "groupnorm": lambda channels, size: nn.GroupNorm(4, channels),
}

ACTIVATIONS: dict[str, Callable] = {
    "sigmoid": nn.Sigmoid,
    "relu": lambda: nn.ReLU(inplace=True),        # always behind a layer whose backward needs no output
    "leakyrelu": lambda: nn.LeakyReLU(0.01),
    "swish": nn.SiLU,
}

POOLINGS: dict[str, Callable] = {
    "none": lambda: None,
    "maxpooling": lambda: nn.MaxPool2d(2),
    "avgpooling": lambda: nn.AvgPool2d(2),
}


def build_norm(name: str, channels: int, size: Size | None = None) -> nn.Module | None:
    """Return the norm layer `name` for maps (channels, *size), or None; ValueError for unknown names."""
    return lookup(NORMS, name, "norm")(channels, size)


def build_activation(name: str) -> nn.Module:
    """Return the activation layer `name`; raises ValueError for unknown names."""
    return lookup(ACTIVATIONS, name, "activation")()


def build_pooling(name: str) -> nn.Module | None:
    """Return the pooling layer `name`, or None; raises ValueError for unknown names."""
    return lookup(POOLINGS, name, "pooling")()


class PoolTo(nn.Module):
    """Average any map to `side` x `side`; a map of that size passes through untouched.

    Where the side divides the map this is plain average pooling, whose gradient is deterministic on a GPU;
    the adaptive kernel, whose gradient is not, serves the sizes in between.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c side side"]:
        height, width = x.shape[-2:]
        if (height, width) == (self.side, self.side):
            return x
        if height % self.side or width % self.side:
            return F.adaptive_avg_pool2d(x, self.side)
        return F.avg_pool2d(x, (height // self.side, width // self.side))

    def extra_repr(self) -> str:
        return f"side={self.side}"
