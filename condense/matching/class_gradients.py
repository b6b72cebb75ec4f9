"""Network gradients of whole classes, and their distance as a loss of the synthetic images.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, equation 9: the mean
cross-entropy of one class's images, differentiated with respect to the parameters, for real and for
synthetic images. Only the synthetic side is differentiated again, with respect to its images.

Within a matching step the network stands still, so classes are independent of one another: they are taken
one or a few at a time, and only those have a graph of the second order alive.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from condense.core.torch_private import add_lists_
from condense.core.types import Augment, ClassMajor
from condense.operators import Compute

# Memory of an image, over what one takes that goes through without a gradient: the unit of a chunk.
FIRST_ORDER, SECOND_ORDER = 2, 8


def class_gradients(net: nn.Module, compute: Compute, chunk: int | None) -> "PerClass | Vectorised":
    """Return how `net`'s gradients are taken on the device of `compute`, `chunk` images at a time.

    One vectorised call for many classes on a GPU, where launching kernels is what costs; class after class
    elsewhere, where a chunk that stays in the cache is what counts, and for batch norm in bf16, which PyTorch does
    not vectorise.
    """
    mixed = compute.precision == "bf16" and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    return (Vectorised if compute.device.type == "cuda" and not mixed else PerClass)(net, compute, chunk)  # type: ignore[arg-type]


class PerClass:
    """Gradients of one class after another."""

    def __init__(self, net: nn.Module, compute: Compute, chunk: int | None) -> None:
        self.parameters, self.chunk = list(net.parameters()), chunk
        self.forward, self.twice = (compute.wrap(net, twice=twice) for twice in (False, True))

    def together(self, images_real: int, images_syn: int) -> int:
        """Return how many classes with so many images each are taken at a time."""
        return 1

    def first_order(self, images: Float[Tensor, "k n c h w"],
                    labels: Integer[Tensor, "k n"] | Float[Tensor, "k n classes"]) -> list[Float[Tensor, "k ..."]]:
        """Gradients of the summed cross-entropy of each of k classes, [(k, *shape)] per parameter; no graph.

        `images` (k, n, C, H, W), `labels` (k, n).
        """
        return self._gradients(self.forward, images, labels)

    def second_order(self, images: Float[Tensor, "k n c h w"],
                     labels: Integer[Tensor, "k n"] | Float[Tensor, "k n classes"]) -> list[Float[Tensor, "k ..."]]:
        """The same, differentiable with respect to the images."""
        return self._gradients(self.twice, images, labels, create_graph=True)

    def _gradients(self, forward, images, labels, **how):
        loss = F.cross_entropy(forward(images.flatten(0, 1)), labels.flatten(0, 1), reduction="sum")
        return [g[None] for g in torch.autograd.grad(loss, self.parameters, **how)]


class Vectorised:
    """Gradients of many classes in one call."""

    def __init__(self, net: nn.Module, compute: Compute, chunk: int) -> None:
        self.net, self.parameters, self.chunk = net, list(net.parameters()), chunk
        self.forward, self.twice = (compute.call(self._vectorise(), twice=twice) for twice in (False, True))

    def _vectorise(self):
        def loss(parameters, buffers, labels, images):
            logits = functional_call(self.net, (parameters, buffers), (images,))
            return F.cross_entropy(logits.to(images.dtype), labels, reduction="sum")

        return vmap(grad(loss), in_dims=(None, None, 0, 0))

    def together(self, images_real: int, images_syn: int) -> int:
        return max(1, self.chunk // max(FIRST_ORDER * images_real, SECOND_ORDER * images_syn))

    def first_order(self, images: Float[Tensor, "k n c h w"],
                    labels: Integer[Tensor, "k n"] | Float[Tensor, "k n classes"]) -> list[Float[Tensor, "k ..."]]:
        with torch.no_grad():
            return self._gradients(self.forward, images, labels)

    def second_order(self, images: Float[Tensor, "k n c h w"],
                     labels: Integer[Tensor, "k n"] | Float[Tensor, "k n classes"]) -> list[Float[Tensor, "k ..."]]:
        return self._gradients(self.twice, images, labels)

    def _gradients(self, call, images, labels):
        gradients = call(dict(self.net.named_parameters()), dict(self.net.named_buffers()), labels, images)
        return list(gradients.values())


def matching_over_classes(distance: Callable[[list[Tensor], list[Tensor]], Tensor], gradients: PerClass | Vectorised,
                          real: ClassMajor, synthetic: ClassMajor, augment: Augment | None = None) -> Float[Tensor, ""]:
    """Return the sum of `distance` over all classes: a scalar, differentiable in the synthetic images.

    `distance(real, synthetic)` takes two lists of (k, *shape) tensors, one per parameter in their order, and
    gives a scalar for these k classes. `real` and `synthetic` are class-major, with the same classes: they have
    `counts`, `labels` and `images(index)`. `augment` is called with (images, class positions) and is replayed
    for both. The derivative is computed here, group of classes by group, and is exact; the returned loss hands
    it on to the images.
    """
    position = np.repeat(np.arange(len(synthetic.counts)), synthetic.counts)
    images = _augmented(synthetic.images(), position, augment)
    leaf = images.detach().requires_grad_()
    total = 0
    for classes in _groups(gradients, real.counts, synthetic.counts):
        of_real = mean_gradients(gradients, real, classes, augment)
        rows = _rows(synthetic.counts, classes)
        of_syn = gradients.second_order(*_by_class(leaf[rows], synthetic.labels[rows], classes))
        loss = distance(of_real, [g / synthetic.counts[classes.start] for g in of_syn])
        loss.backward(inputs=[leaf])
        total = total + loss.detach()
    return _Linear.apply(images, total, leaf.grad)


def mean_gradients(gradients: PerClass | Vectorised, batch: ClassMajor, classes: range,
                   augment: Augment | None = None) -> list[Float[Tensor, "k ..."]]:
    """Return the gradients of the mean cross-entropy of some classes of `batch`, [(k, *shape)] per parameter.

    `classes` is a range of classes with equally many images. Images go through the network in chunks.
    """
    rows, count = _rows(batch.counts, classes), batch.counts[classes.start]
    position = np.repeat(classes, count)
    images, labels = _by_class(_augmented(batch.images(rows), position, augment), batch.labels[rows], classes)
    size = max(1, (gradients.chunk or labels.numel()) // len(classes))
    totals = [p.new_zeros((len(classes), *p.shape)) for p in gradients.parameters]
    for x, y in zip(images.split(size, 1), labels.split(size, 1)):
        add_lists_(totals, gradients.first_order(x, y), 1 / count)
    return totals


def _groups(gradients, counts_real, counts_syn):
    """Yield ranges of classes to take at a time: equally large, and as many as `gradients` takes together."""
    sizes = list(zip(counts_real, counts_syn, strict=True))
    first = 0
    while first < len(sizes):
        last = first + 1
        while last < min(len(sizes), first + gradients.together(*sizes[first])) and sizes[last] == sizes[first]:
            last += 1
        yield range(first, last)
        first = last


def _rows(counts, classes):
    start = sum(counts[:classes.start])
    return slice(start, start + sum(counts[classes.start:classes.stop]))


def _by_class(images, labels, classes):
    """(k * n, ...) class-major -> (k, n, ...), images and labels."""
    return images.unflatten(0, (len(classes), -1)), labels.unflatten(0, (len(classes), -1))


def _augmented(images, position, augment):
    return images if augment is None else augment(images, position)


class _Linear(torch.autograd.Function):
    """A loss of known value and known gradient: (images, value, gradient) -> value."""

    @staticmethod
    def forward(ctx, images, value, gradient):
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None
