"""Pixels: the synthetic images themselves are the parameters."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.types import ClassMajor, Index
from condense.data.real import RealData
from condense.synthetic.base import SyntheticSet


class Pixels(SyntheticSet):
    """`ipc` free images for each of `num_classes` classes, (n, channel, *im_size) float32, unconstrained."""

    IN_WORDS = "pixels"
    INITS, PIXELS = ("noise", "real"), ("pixels",)

    def __init__(self, num_classes: int, ipc: int, channel: int, im_size: Sequence[int]) -> None:
        labels = torch.arange(num_classes).repeat_interleave(ipc)
        shape = (num_classes * ipc, channel, *im_size)
        super().__init__(labels, [ipc] * num_classes, torch.Size(shape).numel())
        self.pixels = nn.Parameter(torch.zeros(shape))

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        return self.pixels if index is None else self.pixels[index]

    @torch.no_grad()
    def init_from(self, real: RealData, how: str, rng: torch.Generator) -> "Pixels":
        """Start from 'noise' (standard normal in normalised space) or 'real' (distinct images of each class).

        `build_synthetic` has made sure that every class has enough images. Raises ValueError for an unknown `how`.
        """
        if how == "noise":
            self.pixels.copy_(torch.randn(self.pixels.shape, generator=rng))
        elif how == "real":
            self.start_from(real.sample(real.classes, self.counts[0], rng))
        else:
            raise InputError(f"--init must be noise or real, not {how!r}")
        return self

    @torch.no_grad()
    def start_from(self, batch: ClassMajor) -> "Pixels":
        self.pixels.copy_(batch.images())
        return self
