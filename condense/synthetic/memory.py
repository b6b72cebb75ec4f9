"""Addressable memory: all classes share a few bases, and every image is a linear combination of them.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks",
NeurIPS 2022.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.registry import unknown
from condense.core.types import Index
from condense.data.real import RealBatch, RealData
from condense.synthetic.base import SyntheticSet
from condense.synthetic.factors import AGAIN, require_factors
from condense.synthetic.principal_images import principal_images

DTYPES = {"bases": torch.float32, "coefficients": torch.float32, "labels": torch.int64}
NUMBERS = ("ipc", "num_per_class", "downsample_scale")


def recalled_within(num_classes: int, ipc: int, channel: int, im_size: Sequence[int], n_basis: int, scale: int) -> int:
    """Return how many images per class the storage of `ipc` whole ones holds next to the bases; below 1: none.

    floor((ipc K C H W - B C (H / s) (W / s)) / (K B)), where B is `n_basis` and s `scale`, which divides H and W.
    """
    whole = channel * math.prod(im_size)
    return (num_classes * ipc * whole - n_basis * whole // scale**2) // (num_classes * n_basis)


class AddressableMemory(SyntheticSet):
    """`num_per_class` images x_i(y) = (y^T A_i) [b_1; ...; b_B] for each label y: r matrices A_i address B bases.

    Parameters `bases` (B, C, H/s, W/s), shared by all classes, and `coefficients` (K r, B), class-major: row c r + i
    is row c of A_i. Both float32, unconstrained. B is `n_basis`; s, `downsample_scale`, is what images are enlarged
    by, bilinearly, after their combination. r follows from the budget of `ipc` whole images per class; one that is
    given directly, `num_per_class`, is not checked against it. Raises ValueError for no base, a scale that does not
    divide both sides, and where the budget holds no image.
    """

    IN_WORDS = "addressable memory: every image is a combination of bases that all classes share"
    INITS, HAS_FACTORS = ("noise", "real"), True
    OPTIONS = {"n_basis": {"default": 16, "ge": 1, "help": "number B of images that all classes share; each synthetic "
                           "image is a combination of them and stores B numbers"},
               "downsample_scale": {"default": 2, "ge": 1, "help": "the shared images are stored at 1/s of each side; "
                                    "s must divide the sides"}}

    def __init__(self, num_classes: int, ipc: int, channel: int, im_size: Sequence[int], n_basis: int = 16,
                 downsample_scale: int = 2, num_per_class: int | None = None) -> None:
        _check_options(im_size, n_basis, downsample_scale)
        if num_per_class is None:
            form = num_classes, ipc, channel, im_size, n_basis, downsample_scale
            num_per_class = recalled_within(*form)
            if num_per_class < 1:
                raise InputError(_no_room(*form))
        labels = torch.arange(num_classes).repeat_interleave(num_per_class)
        super().__init__(labels, [num_per_class] * num_classes, num_classes * ipc * channel * math.prod(im_size))
        self.ipc, self.scale = ipc, downsample_scale
        self.bases = nn.Parameter(torch.zeros(n_basis, channel, *(side // downsample_scale for side in im_size)))
        self.coefficients = nn.Parameter(torch.zeros(len(labels), n_basis))

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        return self._combined(self.coefficients if index is None else self.coefficients[index])

    def recall(self, labels: Shaped[Tensor, " y *k"], which: Index | None = None) -> Float[Tensor, "n c h w"]:
        """Return the images x_i(y) of the labels y, label after label: (m r, C, H, W), differentiable in `labels` too.

        `labels` are classes (m,) int64, or vectors (m, K) of any numbers: one-hot ones give the images of their
        class, others a mixture over all classes, which training has never seen. `which` (an index of 0 .. r - 1, as
        a slice or tensor) picks some of the r images that each label has. Raises ValueError for labels of another
        shape or type.
        """
        table = self.coefficients.unflatten(0, (len(self.counts), -1))           # (K, r, B): A_i for each i
        table = table if which is None else table[:, which]
        if labels.dim() == 1 and labels.dtype == torch.int64:
            return self._combined(table[labels].flatten(0, 1))
        if labels.dim() != 2 or labels.shape[1] != len(table) or not labels.is_floating_point():
            raise InputError(f"a memory of {len(table)} classes is asked by classes (m,) int64 or label vectors "
                             f"(m, {len(table)}), not {tuple(labels.shape)} {labels.dtype}")
        return self._combined((labels @ table.flatten(1)).view(-1, self.coefficients.shape[1]))

    def _combined(self, rows):
        """Return the images (n, C, H, W) of coefficients (n, B), enlarging whichever costs less: both are linear."""
        if len(rows) < 2 * len(self.bases):                # where the one overtakes the other on a CPU
            return self._enlarged(_product(rows, self.bases))
        return _product(rows, self._enlarged(self.bases))

    def _enlarged(self, images):
        """(n, C, H/s, W/s) -> (n, C, H, W)."""
        if self.scale == 1:
            return images
        return F.interpolate(images, scale_factor=self.scale, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def init_from(self, real: RealData | None, how: str, rng: torch.Generator) -> "AddressableMemory":
        """Start from 'noise' or 'real'.

        'noise': Xavier-uniform tables, as published. Images then begin close to 0: std 0.005 where sixteen bases make
        1,150 images of 3x32x32.
        'real': distinct images of each class, approximated as `start_from` does it (not in the published code).
        `build_synthetic` has made sure that every class has enough images. Raises ValueError for an unknown `how`.
        """
        if how not in self.INITS:
            raise InputError(f"--init: {unknown('start', how, self.INITS)}")
        if how == "real":
            return self.start_from(real.sample(real.classes, self.counts[0], rng))     # type: ignore[union-attr]
        for table in (self.bases, self.coefficients):
            bound = math.sqrt(6 / (len(table) + table[0].numel()))
            table.copy_(bound * (2 * torch.rand(table.shape, generator=rng) - 1))
        return self

    @torch.no_grad()
    def start_from(self, batch: RealBatch) -> "AddressableMemory":  # type: ignore[override]
        """Set both tables to those whose images are nearest to the ones of `batch`, in least squares.

        That is a principal component analysis without centring, of what enlarged images can show.
        """
        bases, coefficients = principal_images(batch, len(self.bases), self.scale)
        self.bases.copy_(bases)
        self.coefficients.copy_(coefficients)
        return self

    def factors(self) -> dict[str, Any]:
        """Return both tables, their scale and the budget, and one label per class."""
        number = self.counts[0]
        tensors = {"bases": self.bases, "coefficients": self.coefficients, "labels": self.hard_labels[::number]}
        return {"parameterization": "memory", "ipc": self.ipc, "num_per_class": number, "downsample_scale": self.scale,
                **{name: tensor.detach().cpu().to(DTYPES[name]).clone() for name, tensor in tensors.items()}}

    @classmethod
    def from_factors(cls, factors: dict[str, Any]) -> "AddressableMemory":
        """Return the set whose `factors()` these are, on the CPU, with the labels that they came with.

        Raises ValueError in one line for a factor that is missing, of another type or of a shape that does not fit.
        """
        _check_factors(factors)
        bases, coefficients, labels = (factors[name] for name in DTYPES)
        ipc, number, scale = (factors[name] for name in NUMBERS)
        im_size = tuple(scale * side for side in bases.shape[2:])
        synthetic = cls(len(labels), ipc, bases.shape[1], im_size, len(bases), scale, number)
        synthetic.load_state_dict({"bases": bases, "coefficients": coefficients,
                                   "own_labels.classes": labels.repeat_interleave(number)})
        return synthetic


def _product(rows, images):
    """(n, B), (B, C, h, w) -> (n, C, h, w)."""
    return (rows @ images.flatten(1)).unflatten(1, images.shape[1:])


def _check_options(im_size, n_basis, scale):
    """Raise ValueError for a number of bases or a scale that cannot be."""
    if n_basis < 1:
        raise InputError(f"--n_basis must be 1 or larger, not {n_basis}")
    side = math.gcd(*im_size)
    if scale < 1 or side % scale:
        fits = ", ".join(str(s) for s in range(1, side + 1) if side % s == 0)
        raise InputError(f"--downsample_scale {scale} does not divide the sides of {im_size[0]}x{im_size[1]} images; "
                         f"use one of: {fits}")


def _no_room(num_classes, ipc, channel, im_size, n_basis, scale):
    """Word the error for a budget that holds no image, with the largest number of bases and the smallest ipc."""
    height, width = im_size
    whole = channel * height * width
    each = whole // scale**2 + num_classes                 # floats that a base takes: its own, and one in each class
    largest = num_classes * ipc * whole // each
    smallest = -(-n_basis * each // (num_classes * whole))
    fewer = f"--n_basis {largest} or less, or " if largest else ""
    return (f"the storage of --ipc {ipc} holds no {height}x{width} image for each of {num_classes} classes next to "
            f"--n_basis {n_basis} at --downsample_scale {scale}; use {fewer}--ipc {smallest} or more")


def _check_factors(factors):
    """Raise ValueError where `factors` are not those of an addressable memory."""
    require_factors(factors, "a memory", NUMBERS, DTYPES)
    if not _fit(*(factors[name] for name in (*DTYPES, "num_per_class"))):
        shapes = ", ".join(f"{name} {list(factors[name].shape)}" for name in DTYPES)
        raise InputError(f"{shapes} of a memory with {factors['num_per_class']} images per class do not fit together: "
                         f"bases are (B, C, h, w), coefficients (n, B); {AGAIN}")


def _fit(bases, coefficients, labels, num_per_class):
    """Whether there are `num_per_class` rows of coefficients for each label, and one column for each base."""
    if (bases.dim(), coefficients.dim(), labels.dim()) != (4, 2, 1) or min(bases.shape + coefficients.shape) < 1:
        return False
    return coefficients.shape == (len(labels) * num_per_class, len(bases))
