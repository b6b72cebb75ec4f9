"""ResNets of ten layers (He, Zhang, Ren & Sun, CVPR 2016), as multi-formation condenses with them and scores by them.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.types import Size
from condense.networks.layers import HeConv2d, PoolTo, build_norm
from condense.networks.resnet import STAGES, Block, stages_plan
from condense.networks.sizes import INSTANCE, POOL, as_pair, check, conv

# largest side in pixels -> kernel of the first convolution, and how often its maps are halved
STEMS = {64: (3, 0), 128: (3, 1), None: (7, 2)}


class ShortResNet(nn.Module):
    """(N, channel, H, W) -> (N, num_classes): a first convolution, four stages of one block, averaged features.

    `planes` (4,) are the stages' channels, and the first convolution has planes[0]. `stem` is one of STEMS. `norm`: a
    name of `layers.NORMS`; `pooled`: stages halve by average pooling, as the first convolution does. Raises ValueError
    for images that leave too little in the last stage.
    """

    def __init__(self, name: str, channel: int, num_classes: int, planes: tuple[int, int, int, int],
                 stem: tuple[int, int], norm: str, pooled: bool, size: Size) -> None:
        super().__init__()
        kernel, halvings = stem
        plan = [conv(kernel, kernel // 2), *[INSTANCE] * (norm == "instancenorm"), *[POOL] * halvings,
                *stages_plan(norm, pooled)]
        check(name, lambda size: plan, size)
        self.conv1 = HeConv2d(channel, planes[0], kernel, padding=kernel // 2)
        self.bn1 = build_norm(norm, planes[0])
        self.stem_pool = nn.AvgPool2d(2**halvings) if halvings else nn.Identity()
        channel = planes[0]
        for stage, (width, (_, stride)) in enumerate(zip(planes, STAGES, strict=True), start=1):
            setattr(self, f"layer{stage}", Block(channel, width, stride, norm, pooled, HeConv2d))
            channel = width
        self.pool = PoolTo(1)
        self.classifier = nn.Linear(channel, num_classes)

    def embed(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Return the features in front of the classifier, (N, channel, H, W) -> (N, planes[3])."""
        out = self.stem_pool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.pool(out).flatten(1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.classifier(self.embed(x))


def ResNetAP10(channel: int, num_classes: int, im_size: int | Size | None = None) -> ShortResNet:
    """Return the ResNet that ImageNet is condensed with: instance norm, and average pooling instead of every stride.

    Its first convolution is 7x7 with maps brought to a quarter, up to 128 pixels 3x3 with maps brought to a half, and
    up to 64 pixels 3x3. `im_size` None means 28x28 for one channel and 32x32 otherwise.
    """
    size = as_pair(im_size, channel)
    stem = next(stem for side, stem in STEMS.items() if side is None or min(size) <= side)
    return ShortResNet("ResNetAP10", channel, num_classes, (64, 128, 256, 512), stem, "instancenorm", True, size)


def ResNet10(channel: int, num_classes: int, im_size: int | Size | None = None) -> ShortResNet:
    """Return the narrow ResNet with strides and batch norm that sets of CIFAR are scored with, among others.

    For SVHN the published code builds one twice as wide (64, 128, 256, 512) under the same name: it is not offered.
    `im_size` None means 28x28 for one channel and 32x32 otherwise.
    """
    size = as_pair(im_size, channel)
    return ShortResNet("ResNet10", channel, num_classes, (32, 64, 128, 256), STEMS[64], "batchnorm", False, size)
