"""Low rank: each channel of a synthetic image is the product of two thin matrices, so a budget holds more images.

Yang et al., "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning", NeurIPS 2023.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.registry import unknown
from condense.core.types import ClassMajor, Index
from condense.data.real import RealData
from condense.synthetic.base import SyntheticSet
from condense.synthetic.factors import AGAIN, require_factors

SVD_FLOATS = 1 << 20                       # pixels that are decomposed at a time: some 50 MB in double precision
DTYPES = {"a": torch.float32, "b": torch.float32, "labels": torch.int64}
NUMBERS = ("ipc", "num_per_class")


def images_within(ipc: int, im_size: Sequence[int], rank: int) -> int:
    """Return how many images of `rank` the storage of `ipc` whole images (H, W) holds: floor(ipc * q), exactly.

    q = h w / (r (h + w)). The published scripts take ipc * floor(q), which leaves part of the budget unused.
    """
    height, width = im_size
    return ipc * height * width // (rank * (height + width))


class LowRank(SyntheticSet):
    """`num_per_class` images for each of `num_classes` classes, X = A B for every image and channel.

    Parameters `a` (n, C, h, r) and `b` (n, C, r, w), float32, unconstrained; r is `rank`. `num_per_class` follows
    from the budget of `ipc` whole images per class; one that is given directly is not checked against it.
    Raises ValueError for a rank below 1, and where the budget holds no image.
    """

    IN_WORDS = "low rank: each channel is the product of two thin matrices"
    INITS, HAS_FACTORS = ("noise", "noise_scaled", "real"), True
    OPTIONS = {"rank": {"default": 2, "help": "inner dimension r of the two factors of each channel, which store r (h "
                        "+ w) numbers instead of h w", "ge": 1}}

    def __init__(self, num_classes: int, ipc: int, channel: int, im_size: Sequence[int], rank: int = 2,
                 num_per_class: int | None = None) -> None:
        height, width = im_size
        if rank < 1:
            raise InputError(f"--rank must be 1 or larger, not {rank}")
        if num_per_class is None:
            num_per_class = images_within(ipc, im_size, rank)
            if num_per_class == 0:
                raise InputError(_no_room(ipc, im_size, rank))
        labels = torch.arange(num_classes).repeat_interleave(num_per_class)
        super().__init__(labels, [num_per_class] * num_classes, num_classes * ipc * channel * height * width)
        self.ipc, self.rank = ipc, rank
        self.a = nn.Parameter(torch.zeros(len(labels), channel, height, rank))
        self.b = nn.Parameter(torch.zeros(len(labels), channel, rank, width))

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        if index is None:
            return self.a @ self.b                         # (n, C, h, r) @ (n, C, r, w) -> (n, C, h, w)
        return self.a[index] @ self.b[index]

    @torch.no_grad()
    def init_from(self, real: RealData | None, how: str, rng: torch.Generator) -> "LowRank":
        """Start from 'noise', 'noise_scaled' or 'real'.

        'noise': standard normal factors, as published; pixels then have mean 0, std sqrt(r) and heavy tails.
        'noise_scaled': the same times r^(-1/4) each, so that pixels have std 1, as the noise of a pixel set.
        'real': distinct images of each class, approximated by truncated SVD (not in the published code).
        `build_synthetic` has made sure that every class has enough images. Raises ValueError for an unknown `how`.
        """
        if how not in self.INITS:
            raise InputError(f"--init: {unknown('start', how, self.INITS)}")
        if how == "real":
            return self.start_from(real.sample(real.classes, self.counts[0], rng))     # type: ignore[union-attr]
        scale = self.rank ** -0.25 if how == "noise_scaled" else 1
        for factor in (self.a, self.b):
            factor.copy_(scale * torch.randn(factor.shape, generator=rng))
        return self

    @torch.no_grad()
    def start_from(self, batch: ClassMajor) -> "LowRank":
        """Set the factors to those nearest to the images of `batch`, some images at a time."""
        size = max(1, SVD_FLOATS // (self.a.shape[1] * self.a.shape[2] * self.b.shape[3]))
        for first in range(0, len(self.a), size):
            part = slice(first, first + size)
            a, b = balanced_factors(batch.images(part), self.rank)
            self.a[part], self.b[part] = a, b
        return self

    def factors(self) -> dict[str, Any]:
        """Return the factors, (H, W), and one label per class: one per image could outweigh a small set's factors."""
        number, im_size = self.counts[0], [self.a.shape[2], self.b.shape[3]]
        tensors = {"a": self.a, "b": self.b, "labels": self.hard_labels[::number]}
        return {"parameterization": "low_rank", "ipc": self.ipc, "num_per_class": number, "im_size": im_size,
                **{name: tensor.detach().cpu().to(DTYPES[name]).clone() for name, tensor in tensors.items()}}

    @classmethod
    def from_factors(cls, factors: dict[str, Any]) -> "LowRank":
        """Return the set whose `factors()` these are, on the CPU, with the labels that they came with.

        Raises ValueError in one line for a factor that is missing, of another type or of a shape that does not fit.
        """
        _check(factors)
        a, b, labels, number = (factors[name] for name in ("a", "b", "labels", "num_per_class"))
        synthetic = cls(len(labels), factors["ipc"], a.shape[1], factors["im_size"], a.shape[3], number)
        synthetic.load_state_dict({"a": a, "b": b, "own_labels.classes": labels.repeat_interleave(number)})
        return synthetic


def balanced_factors(images: Float[Tensor, "n c h w"],
                     rank: int) -> tuple[Float[Tensor, "n c h r"], Float[Tensor, "n c r w"]]:
    """Return A (n, C, h, r) and B (n, C, r, w) of the best approximation A B of `images` (n, C, h, w), in float64.

    X = U S V^T gives A = U_r S_r^(1/2) and B = S_r^(1/2) V_r^T: A^T A = B B^T = S_r, the nearest matrix of rank r
    in the Frobenius norm (Eckart & Young, 1936). Which of the two carries a sign is up to the decomposition. Beyond
    min(h, w) there is nothing left to approximate, and both factors are 0. Computed on the CPU, in double precision:
    an image of full rank comes back within float32's rounding, on every device.
    """
    u, s, vt = torch.linalg.svd(images.detach().cpu().double(), full_matrices=False)
    root = s[..., :rank].sqrt()                            # (n, C, min(r, h, w))
    a, b = u[..., :rank] * root[..., None, :], root[..., None] * vt[..., :rank, :]
    spare = rank - root.shape[-1]
    return F.pad(a, (0, spare)), F.pad(b, (0, 0, 0, spare))


def _no_room(ipc, im_size, rank):
    """Word the error for a budget that holds no image, with the largest rank and the smallest ipc that do."""
    height, width = im_size
    largest = images_within(ipc, im_size, 1)
    smallest = -(-rank * (height + width) // (height * width))
    smaller = f"--rank {largest} or less, or " if largest else ""
    return (f"the storage of --ipc {ipc} holds no {height}x{width} image of --rank {rank}; use {smaller}"
            f"--ipc {smallest} or more")


def _check(factors):
    """Raise ValueError where `factors` are not those of a low-rank set."""
    require_factors(factors, "a low-rank set", NUMBERS, DTYPES, also=("im_size",))
    if not _fit(**{name: factors[name] for name in (*DTYPES, "num_per_class", "im_size")}):
        shapes = ", ".join(f"{name} {list(factors[name].shape)}" for name in DTYPES)
        raise InputError(f"{shapes} of a low-rank set with {factors['num_per_class']} images {factors['im_size']} per "
                         f"class do not fit together: a is (n, C, h, r), b (n, C, r, w); {AGAIN}")


def _fit(a, b, labels, num_per_class, im_size):
    """Whether the factors have one shape, that of `num_per_class` images of `im_size` [h, w] for each label."""
    if (a.dim(), b.dim(), labels.dim()) != (4, 4, 1) or min(a.shape + b.shape) < 1:
        return False
    one_set = a.shape[:2] == b.shape[:2] and a.shape[3] == b.shape[2]
    return one_set and [a.shape[2], b.shape[3]] == im_size and len(a) == len(labels) * num_per_class
