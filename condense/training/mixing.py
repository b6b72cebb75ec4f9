"""CutMix: a rectangle of every image of a minibatch is another image's, and the loss counts both labels.

Yun et al., "CutMix", ICCV 2019, in the form of Kim et al. (IDC), ICML 2022: one rectangle and one order of partners for
a minibatch, lambda ~ Beta(1, 1), labels weighted by the area that is left after cutting at the border.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.core.randomness import generator_on
from condense.core.types import Labels
from condense.training.protocols import Protocol


@dataclass(frozen=True)
class Mixed:
    """Labels of a mixed minibatch: an image is `share` of `labels`' and 1 - share of `partners`' class.

    Both are (B,) or (B, K), with `share` a float; of M networks (M, B[, K]), with `share` (M,).
    """

    labels: torch.Tensor
    partners: torch.Tensor
    share: float | Float[Tensor, " m"]

    def split(self, size: int) -> "list[Mixed]":
        """Return the labels of `size` images at a time."""
        return [Mixed(*part, self.share) for part in zip(self.labels.split(size), self.partners.split(size))]

    def loss(self, loss: Callable[[Tensor], Tensor]) -> Float[Tensor, "..."]:
        """Return the weighted sum of `loss(labels)` and `loss(partners)`: as of labels that are mixed themselves."""
        return self.share * loss(self.labels) + (1 - self.share) * loss(self.partners)


def loss_of(loss: Callable[[Tensor], Tensor], labels: Tensor | Mixed) -> Float[Tensor, "..."]:
    """Return `loss(labels)`, of mixed labels the weighted sum."""
    return labels.loss(loss) if isinstance(labels, Mixed) else loss(labels)


class CutMix:
    """Mixes the minibatches of one network's training, each with `probability`.

    Whether and where is drawn on the host, from a stream seeded by `rng`; partners are drawn on `device`.
    """

    def __init__(self, probability: float, rng: torch.Generator | None, device: torch.device | str) -> None:
        self.probability, self.host = probability, _offspring(rng)
        self.device, self.rng = device, generator_on(device, self.host)

    def draw(self, number: int, im_size: Sequence[int]) -> tuple[Int[Tensor, " n"] | None, slice, slice, float]:
        """Return (partners (number,), rows, columns, share) for `number` images; partners None: it is left alone."""
        gate, lam, down, right = torch.rand(4, generator=self.host, dtype=torch.float64).tolist()
        if gate >= self.probability:
            return None, slice(0), slice(0), 1.0
        partners = torch.rand(number, generator=self.rng, device=self.device).argsort()
        rows, columns = (_cut(side, lam, where) for side, where in zip(im_size, (down, right)))
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return partners, rows, columns, 1 - area / (im_size[0] * im_size[1])

    def __call__(self, images: Float[Tensor, "n c h w"],
                 labels: Labels) -> tuple[Float[Tensor, "n c h w"], Labels | Mixed]:
        """Return (images, `Mixed` labels) of a minibatch, or what was given where it is left alone."""
        partners, rows, columns, share = self.draw(len(images), images.shape[-2:])
        if partners is None:
            return images, labels
        images = images.clone()
        images[:, :, rows, columns] = images[partners, :, rows, columns]
        return images, Mixed(labels, labels[partners], share)


def mix_stacked(mixers: Sequence[CutMix], images: Float[Tensor, "m b c h w"],
                labels: Int[Tensor, "m b"] | Float[Tensor, "m b k"]) -> tuple[Float[Tensor, "m b c h w"], Mixed]:
    """Return (images (M, B, C, H, W), `Mixed` labels (M, B[, K])), the minibatch of network m mixed by `mixers[m]`."""
    mixed = [mixer(*minibatch) for mixer, *minibatch in zip(mixers, images, labels)]
    own, other, shares = zip(*[(x.labels, x.partners, x.share) if isinstance(x, Mixed) else (x, x, 1.0)
                               for _, x in mixed])
    share = torch.tensor(shares, dtype=images.dtype).to(images.device, non_blocking=True)
    return torch.stack([images for images, _ in mixed]), Mixed(torch.stack(own), torch.stack(other), share)


def _cut(side, lam, where):
    """Return the slice of a side that is cut out: sqrt(1 - lam) of it around pixel where * side, cut at the border."""
    half, centre = int(side * math.sqrt(1 - lam)) // 2, min(int(where * side), side - 1)
    return slice(max(0, centre - half), min(side, centre + half))


def _offspring(rng):
    """Return a generator seeded by a draw from `rng`, or None, which is PyTorch's own."""
    return None if rng is None else torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=rng)))


def mixers(protocol: Protocol, rngs: Iterable[torch.Generator | None],
           device: torch.device | str) -> list[CutMix] | None:
    """Return a `CutMix` for each of `rngs`, or None where `protocol` mixes nothing, and nothing is drawn."""
    return [CutMix(protocol.cutmix, rng, device) for rng in rngs] if protocol.cutmix else None
