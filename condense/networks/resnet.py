"""ResNet18 for small images (He, Zhang, Ren & Sun, CVPR 2016), with a 3x3 stem and no stem pooling.

The `_AP` variants replace every strided convolution by average pooling, which passes smoother gradients to
the pixels (Zhao, Mopuri & Bilen, ICLR 2021), and classify the whole last map.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.types import Size
from condense.networks.layers import PoolTo, build_norm
from condense.networks.sizes import INSTANCE, POOL, Step, as_pair, check, conv, trace

UNBIASED = partial(nn.Conv2d, bias=False)
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))          # planes, and the first block's stride


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; (N, channel, H, W) -> (N, planes, H', W'), H' = ceil(H / stride).

    With `pooled`, halving is average pooling behind convolutions of stride 1, and H' rounds down. `convolution` makes
    the layers, which have no bias.
    """

    def __init__(self, channel: int, planes: int, stride: int, norm: str, pooled: bool,
                 convolution: Callable[..., nn.Conv2d] = UNBIASED) -> None:
        super().__init__()
        self.pooled = pooled and stride > 1
        stride = 1 if pooled else stride
        self.conv1 = convolution(channel, planes, 3, stride, padding=1)
        self.bn1 = build_norm(norm, planes)       # called bn whatever the norm, as in published weights
        self.conv2 = convolution(planes, planes, 3, padding=1)
        self.bn2 = build_norm(norm, planes)
        self.shortcut = nn.Sequential()
        if stride > 1 or channel != planes:
            layers = [convolution(channel, planes, 1, stride)]
            layers += [nn.AvgPool2d(2)] if self.pooled else []
            self.shortcut = nn.Sequential(*layers, build_norm(norm, planes))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n planes p q"]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.pooled:
            out = F.avg_pool2d(out, 2)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """(N, channel, H, W) -> (N, num_classes), from 512 averaged features, or with `pooled` from the last map.

    `norm`: a name of `layers.NORMS`. `im_size` None means 28x28 for one channel and 32x32 otherwise; the
    first padding is 1 for both. Raises ValueError for images that leave too little in the last stage.
    """

    def __init__(self, channel: int, num_classes: int, norm: str = "instancenorm", pooled: bool = False,
                 im_size: int | Size | None = None) -> None:
        super().__init__()
        size = as_pair(im_size, channel)
        check("ResNet18_AP" if pooled else "ResNet18", lambda size: _plan(norm, pooled), size)
        self.conv1 = nn.Conv2d(channel, 64, 3, padding=1, bias=False)
        self.bn1 = build_norm(norm, 64)
        channel = 64
        for stage, (planes, stride) in enumerate(STAGES, start=1):
            blocks = Block(channel, planes, stride, norm, pooled), Block(planes, planes, 1, norm, pooled)
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            channel = planes
        height, width = trace(_plan(norm, pooled), size)[-1] if pooled else (1, 1)
        self.pool = nn.Identity() if pooled else PoolTo(1)
        self.classifier = nn.Linear(512 * height * width, num_classes)

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the features in front of the classifier, (N, channel, H, W) -> (N, F)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.pool(out).flatten(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))


def ResNet18(channel: int, num_classes: int, im_size: int | Size | None = None) -> ResNet:
    """Return ResNet18 with instance norm."""
    return ResNet(channel, num_classes, "instancenorm", im_size=im_size)


def ResNet18BN(channel: int, num_classes: int, im_size: int | Size | None = None) -> ResNet:
    """Return ResNet18 with batch norm."""
    return ResNet(channel, num_classes, "batchnorm", im_size=im_size)


def ResNet18_AP(channel: int, num_classes: int, im_size: int | Size | None = None) -> ResNet:
    """Return ResNet18 with instance norm and average pooling."""
    return ResNet(channel, num_classes, "instancenorm", pooled=True, im_size=im_size)


def ResNet18BN_AP(channel: int, num_classes: int, im_size: int | Size | None = None) -> ResNet:
    """Return ResNet18 with batch norm and average pooling."""
    return ResNet(channel, num_classes, "batchnorm", pooled=True, im_size=im_size)


def _plan(norm, pooled):
    return [conv(3, 1), *[INSTANCE] * (norm == "instancenorm"), *stages_plan(norm, pooled)]


def stages_plan(norm: str, pooled: bool) -> list[Step]:
    """Return the plan of the stages' map sizes; each halves before its first norm, with `pooled` between two norms."""
    see, steps = [INSTANCE] * (norm == "instancenorm"), []
    for _, stride in STAGES:
        halve = [POOL] * (stride > 1) if pooled else [conv(3, 1, stride)]
        steps += [*see, *halve, *see] if pooled else [*halve, *see]
    return steps
