"""Refined gradient matching: plain distances of the gradients of convolutions, a part of a large set at a time.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022 (IDC). Gradients are of
networks that have been trained on real images, so their lengths carry information and are compared as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.core.types import ClassMajor, Labels, Rows, Size
from condense.matching.gradients import EPSILON

# Distances of one parameter's gradients, for each of K classes: (K, *shape) twice -> (K,).

def squared(real: Float[Tensor, " k *shape"], synthetic: Float[Tensor, " k *shape"]) -> Float[Tensor, " k"]:
    """Squared differences, summed over all entries."""
    return (real - synthetic).square().flatten(1).sum(1)


def absolute(real: Float[Tensor, " k *shape"], synthetic: Float[Tensor, " k *shape"]) -> Float[Tensor, " k"]:
    """Absolute differences, summed over all entries."""
    return (real - synthetic).abs().flatten(1).sum(1)


def absolute_by_channel(real: Float[Tensor, " k *shape"], synthetic: Float[Tensor, " k *shape"]) -> Float[Tensor, " k"]:
    """Absolute differences: the mean within an output channel, summed over channels."""
    return _rows(real - synthetic).abs().mean(2).sum(1)


def cosine_by_channel(real: Float[Tensor, " k *shape"], synthetic: Float[Tensor, " k *shape"]) -> Float[Tensor, " k"]:
    """One minus the cosine of each output channel's gradients, summed over channels."""
    real, synthetic = _rows(real), _rows(synthetic)
    return (1 - (real * synthetic).sum(2) / (real.norm(dim=2) * synthetic.norm(dim=2) + EPSILON)).sum(1)


def _rows(gradients):
    """(K, channels, ...) -> (K, channels, entries)."""
    return gradients.reshape(*gradients.shape[:2], -1)


REFINED_METRICS = {"mse": squared, "l1": absolute, "l1_mean": absolute_by_channel, "cos": cosine_by_channel}


def is_matched(shape: Sequence[int], bias: bool = False, fc: bool = False) -> bool:
    """Say whether a parameter of `shape` is compared: weights of convolutions; others where they are asked for.

    `bias`: what has one axis, biases and the scales and shifts of norm layers. `fc`: what has two, linear layers.
    """
    return len(shape) > 2 or (bias and len(shape) == 1) or (fc and len(shape) == 2)


def refined_distances(real: Sequence[Float[Tensor, "k ..."]], synthetic: Sequence[Float[Tensor, "k ..."]],
                      metric: str = "mse", bias: bool = False, fc: bool = False) -> Float[Tensor, " k"]:
    """Return the distance of the gradients of each of K classes, (K,): a sum over the parameters that `is_matched`.

    `real` and `synthetic` list one tensor (K, *parameter shape) per parameter, in parameter order; `metric` is one of
    REFINED_METRICS. Raises ValueError for an unknown metric, and where no parameter is compared.
    """
    distance = lookup(REFINED_METRICS, metric, "distance metric")
    matched = [pair for pair in zip(real, synthetic, strict=True) if is_matched(pair[0].shape[1:], bias, fc)]
    if not matched:
        raise InputError("the network has no convolution, and only gradients of convolutions are compared; give --fc "
                         "True, or choose another --model")
    return sum(distance(*pair) for pair in matched)                       # type: ignore[return-value]


class DrawnPart:
    """Images drawn from each class of a class-major set: positions `index` (m,) int64, `counts` of each class."""

    def __init__(self, synthetic: ClassMajor, index: Integer[Tensor, " m"], counts: list[int]) -> None:
        self.synthetic, self.index, self.counts = synthetic, index, counts

    @property
    def labels(self) -> Labels:
        return self.synthetic.labels[self.index]

    def images(self, index: Rows | None = None) -> Float[Tensor, "n c h w"]:
        """Return its images (n, C, H, W), of the whole part or at positions in it; differentiable."""
        return self.synthetic.images(self.index if index is None else self.index[index])


def part_of_each(synthetic: ClassMajor, most: int, rng: torch.Generator) -> ClassMajor:
    """Draw at most `most` images of each class of `synthetic` by `rng` and return them as a `DrawnPart`.

    A set in which no class has more is returned itself. `rng` is a CPU generator. So a step needs no more memory,
    however many images the set decodes to.
    """
    if max(synthetic.counts) <= most:
        return synthetic
    index, first = [], 0
    for count in synthetic.counts:
        index.append(first + torch.randperm(count, generator=rng)[:most])
        first += count
    index = torch.cat(index).to(synthetic.labels.device, non_blocking=True)
    return DrawnPart(synthetic, index, [min(count, most) for count in synthetic.counts])


@dataclass(frozen=True)
class RefinedDefaults:
    """What IDC is run with on some data, as published but for Digits.

    `niter` hundreds of matching steps, `metric` and `lr_img` (see `image_step`), `n_data` real images that the network
    is trained on after each step, and `early` epochs before the first.
    """

    niter: int
    metric: str
    lr_img: float
    n_data: int = 500
    early: int = 0


COLOUR, GREY = RefinedDefaults(2000, "mse", 5e-3), RefinedDefaults(2000, "l1", 1e-4)
CIFAR = RefinedDefaults(2000, "mse", 5e-3, 2000)
DIGITS = RefinedDefaults(10, "l1", 1.0)          # our own: minutes instead of days, with steps as large as that needs
LARGE, LARGE_MANY = RefinedDefaults(500, "l1", 3e-3, early=10), RefinedDefaults(500, "l1", 1e-3, early=10)
DEFAULTS = {"CIFAR10": CIFAR, "CIFAR100": CIFAR, "SVHN": COLOUR, "MNIST": GREY, "FashionMNIST": GREY,
            "Digits": DIGITS}
MANY_CLASSES = 100


def refined_defaults(dataset: str, channel: int, num_classes: int, large: bool) -> "RefinedDefaults":
    """Return the `RefinedDefaults` of a data set, of others those of the published one that is most like it.

    `large` says whether its images are as large as ImageNet's.
    """
    if large:
        return LARGE_MANY if num_classes >= MANY_CLASSES else LARGE
    return DEFAULTS.get(dataset, GREY if channel == 1 else COLOUR)


def image_step(lr_img: float, ipc: int, dataset: str, im_size: Size, std: Sequence[float], large: bool) -> float:
    """Return the step size of normalised images that `lr_img` stands for.

    That is lr_img (ipc / 10) (side / base)^2 on pixels between 0 and 1, as published; base is 32, for MNIST 28 and for
    large images 224. The mean over a class gives each of its images a gradient that falls with their number. Pixels
    divided by `std` take steps larger by 1 / std^2: over the mean of the channels' here, which differ by a few percent.
    """
    base = 224 if large else 28 if dataset == "MNIST" else 32
    variance = sum(value**2 for value in std) / len(std)
    return lr_img * ipc / 10 * (min(im_size) / base) ** 2 / variance
