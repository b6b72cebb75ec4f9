"""The minibatches of a network's training: shuffled and augmented, of one network or of several at once.

Both ways draw the same numbers from the same generators.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.augmentation.classic import augment_classic
from condense.augmentation.composed import Composition
from condense.augmentation.siamese import DRAWS, one_operator_each, parse_strategy
from condense.core.randomness import generator_on
from condense.core.types import LabelledImages
from condense.data.space import Space
from condense.training.protocols import Protocol
from condense.training.transforms import PIXEL_KINDS, augment_pixels

EPOCHS_PER_BLOCK = 16                     # random numbers are drawn for this many epochs at a time

Operators = tuple[str, ...] | Composition  # what `siamese_operators` returns
Minibatch = tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"] | Float[Tensor, "b k"]]
StackedMinibatch = tuple[Float[Tensor, "m b c h w"], Int[Tensor, "m b"] | Float[Tensor, "m b k"]]


class TrainingDraws:
    """The random numbers of one network's training: per epoch an order, operators and magnitudes.

    Drawn in blocks of `block` epochs, magnitudes (`width` per image) on `device`; the operators' choice stays on the
    host. Where every `views` of the `num_images` in a row are views of one thing, an epoch is as long as there are
    things, and has one view of each, drawn anew.
    """

    def __init__(self, rng: torch.Generator | None, num_images: int, batch_size: int, num_operators: int,
                 device: torch.device | str, block: int = EPOCHS_PER_BLOCK, width: int = DRAWS, views: int = 1) -> None:
        self.host, self.device, self.block = rng, device, block
        self.rng = generator_on(device, rng)
        self.num_images, self.num_operators, self.width = num_images // views, num_operators, width
        self.num_batches, self.views = -(-self.num_images // batch_size), views
        self.left = 0

    @classmethod
    def of(cls, rng: torch.Generator | None, num_images: int, protocol: Protocol, operators: Operators,
           device: torch.device | str, views: int = 1) -> "TrainingDraws":
        """Return the draws of a whole training by `protocol`, whose `siamese_operators` are `operators`."""
        width = DRAWS * max(1, operators.num_stages) if isinstance(operators, Composition) else DRAWS
        return cls(rng, num_images, protocol.batch_size, len(operators), device, width=width, views=views)

    def epoch(self) -> tuple[Int[Tensor, " n"], list[int], Float[Tensor, "n width"]]:
        """Return (order (n,), operator of each minibatch (list), uniforms (n, width)) of the next epoch."""
        if self.left == 0:
            self._draw()
        self.left -= 1
        return self.order[self.left], self.operators[self.left], self.uniforms[self.left]

    def _draw(self):
        self.left, shape = self.block, (self.block, self.num_images)
        self.order = torch.rand(shape, generator=self.rng, device=self.device).argsort(1)
        self.uniforms = torch.rand((*shape, self.width), generator=self.rng, device=self.device)
        size = (self.block, self.num_batches)
        self.operators = torch.randint(max(self.num_operators, 1), size, generator=self.host).tolist()
        if self.views > 1:
            view = torch.randint(self.views, shape, generator=self.rng, device=self.device)
            self.order = self.order * self.views + view


def siamese_operators(protocol: Protocol) -> Operators:
    """Return the Siamese operators that `protocol` augments with: names, or of "composed" the `Composition`.

    None, (), for another augmentation. Its length is the number that a minibatch's one is chosen from.
    """
    if protocol.augmentation == "composed":
        return Composition.of(protocol.strategy)
    return parse_strategy(protocol.strategy) if protocol.augmentation == "siamese" else ()


def minibatches(data: LabelledImages, protocol: Protocol, names: Operators, draws: TrainingDraws,
                pixels: Space | None = None) -> Iterator[Minibatch]:
    """Yield (images, labels) of one epoch: `data` in the next order of `draws`, cut and augmented by `protocol`.

    `names` are the protocol's `siamese_operators`, `pixels` the `Space` of an augmentation that works on pixels.
    """
    order, operators, uniforms = draws.epoch()
    for index, operator, part in zip(order.split(protocol.batch_size), operators, uniforms.split(protocol.batch_size)):
        images, labels = data.images(index).detach(), data.labels[index]
        if is_siamese(names):
            yield _augment(images, names, [operator] * len(images), part), labels
        else:
            yield _augment_alone(images, protocol, pixels, draws), labels


def stacked_minibatches(datasets: Sequence[LabelledImages], protocol: Protocol, names: Operators,
                        draws: Sequence[TrainingDraws],
                        pixels: Space | None = None) -> Iterator[StackedMinibatch]:
    """Yield (images (M, B, C, H, W), labels (M, B[, K])) of one epoch of every network; see `minibatches`."""
    epoch_draws = [draw.epoch() for draw in draws]
    for number in range(draws[0].num_batches):
        yield _stacked_minibatch(datasets, protocol, names, epoch_draws, number, draws, pixels)


def _stacked_minibatch(datasets, protocol, names, epoch_draws, number, draws, pixels):
    """Gather and augment minibatch `number` of every network: (M, B, C, H, W) and (M, B[, K])."""
    part = slice(number * protocol.batch_size, (number + 1) * protocol.batch_size)
    orders = [order[part] for order, _, _ in epoch_draws]
    images = [data.images(index).detach() for data, index in zip(datasets, orders)]
    labels = torch.stack([data.labels[index] for data, index in zip(datasets, orders)])
    if is_siamese(names):                                 # one record over all networks: few kernels, not M times few
        operators = [ops[number] for _, ops, _ in epoch_draws for _ in range(len(images[0]))]
        uniforms = torch.cat([u[part] for _, _, u in epoch_draws])
        images = _augment(torch.cat(images), names, operators, uniforms)
        return images.view(len(datasets), -1, *images.shape[1:]), labels
    images = [_augment_alone(x, protocol, pixels, draw) for x, draw in zip(images, draws)]
    return torch.stack(images), labels


def is_siamese(names: Operators) -> bool:
    """Say whether `siamese_operators` are any at all."""
    return names.num_stages > 0 if isinstance(names, Composition) else bool(names)


def _augment(images, names, operators, uniforms):
    """Augment by Siamese operators: `operators` (choice of each image) and `uniforms` (n, width) are drawn."""
    if isinstance(names, Composition):
        return names.record(operators, uniforms.unflatten(1, (-1, DRAWS)))(images)
    return one_operator_each(names, operators, uniforms)(images)


def _augment_alone(images, protocol, pixels, draws):
    """Augment one network's minibatch by what draws its own numbers."""
    if protocol.augmentation == "classic" and protocol.strategy != "none":
        return augment_classic(images, protocol.strategy, draws.host)
    if protocol.augmentation in PIXEL_KINDS:
        return augment_pixels(images, protocol.augmentation, protocol.strategy, pixels, draws.host, draws.rng)
    return images
