"""Bases and hallucinators: every image is a base of its class, seen through one of a few small maps that all share.

Liu et al., "Dataset Distillation via Factorization" (HaBa), NeurIPS 2022. Structure and losses are those of the
published code, in which hallucinators are affine.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.registry import lookup, unknown
from condense.core.types import Augment, ClassMajor, Index
from condense.data.real import RealData
from condense.synthetic.adversary import Adversary, similarity
from condense.synthetic.base import SyntheticSet
from condense.synthetic.budgets import BUDGET
from condense.synthetic.factors import AGAIN, require_factors

KERNEL = 3
LEAST_STEP_SIZE = 0.001                    # of the student, as published
CHUNK_PIXELS = 512 * 32 * 32               # of the bases that the adversary compares at a time: all of CIFAR-10, ipc 50
NUMBERS = ("ipc", "bases_per_class")
STYLE_INITS = ("random", "near")


def floats_of_one(channel: int, base_channel: int, im_size: Sequence[int]) -> int:
    """Return P_H, the numbers that one hallucinator takes: encoder, scale and shift of every pixel, decoder."""
    inner = channel * math.prod(side - KERNEL + 1 for side in im_size)
    return channel * (KERNEL**2 * base_channel + 1) + 2 * inner + channel * (KERNEL**2 * channel + 1)


class Hallucinators(nn.Module):
    """`number` maps H_j(b) = decoder_j(scale_j * encoder_j(b) + shift_j), side by side in each parameter.

    The encoder is a 3x3 convolution without padding, the decoder a transposed one; scale and shift have a value for
    every channel and pixel between them. Nothing but `draw` starts them.
    """

    encoder: Tensor
    encoder_bias: Tensor
    scale: Tensor
    shift: Tensor
    decoder: Tensor
    decoder_bias: Tensor

    def __init__(self, number: int, channel: int, base_channel: int, im_size: Sequence[int]) -> None:
        super().__init__()
        inner = [side - KERNEL + 1 for side in im_size]
        shapes = {"encoder": (channel, base_channel, KERNEL, KERNEL), "encoder_bias": (channel,),
                  "scale": (channel, *inner), "shift": (channel, *inner),
                  "decoder": (channel, channel, KERNEL, KERNEL), "decoder_bias": (channel,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(number, *shape)))

    def forward(self, bases: Float[Tensor, "n b h w"],
                which: Int[Tensor, " j"] | None = None) -> Float[Tensor, "n m c h w"]:
        """(n, c, h, w) -> (n, number, C, h, w), of each base all its images, or those of the hallucinators `which`."""
        encoder, encoder_bias, scale, shift, decoder, decoder_bias = (
            of_all if which is None else of_all[which] for of_all in self.parameters())
        inner = F.conv2d(bases, encoder.flatten(0, 1), encoder_bias.flatten())           # (n, number C, h - 2, w - 2)
        inner = scale.flatten(0, 1) * inner + shift.flatten(0, 1)
        images = F.conv_transpose2d(inner, decoder.flatten(0, 1), decoder_bias.flatten(), groups=len(encoder))
        return images.unflatten(1, (len(encoder), -1))

    @torch.no_grad()
    def draw(self, rng: torch.Generator, how: str = "random") -> None:
        """Start with scale 1 and shift 0; convolutions 'random', as published: uniform in ±1/sqrt(inputs of a unit).

        'near' (ours): a tenth of that, with kernels that pass on the middle pixel; images begin close to their bases.
        """
        share = {"random": 1, "near": 0.1}[how]
        for kernels, bias in ((self.encoder, self.encoder_bias), (self.decoder, self.decoder_bias)):
            bound = share / math.sqrt(kernels[0, 0].numel())
            for part in (kernels, bias):
                part.copy_(bound * (2 * torch.rand(part.shape, generator=rng) - 1))
        if how == "near":
            channel, base_channel = self.encoder.shape[1:3]
            across = F.adaptive_avg_pool1d(torch.eye(base_channel)[None], channel)[0].T                   # (C, c)
            self.encoder[..., KERNEL // 2, KERNEL // 2] += across.to(self.encoder)
            self.decoder[..., KERNEL // 2, KERNEL // 2] += torch.eye(channel).to(self.decoder)
        self.scale.fill_(1)
        self.shift.fill_(0)


class HallucinatedBases(SyntheticSet):
    """The images H_j(b_i) of every base b_i under every hallucinator H_j: base after base, each under all of them.

    Parameters `bases` (K B, c, h, w), B for each of K classes, and `hallucinators`, J = `n_style` of them for all
    classes. c is `base_channel`, 0 for that of the images. `views` is J: steps of a student and epochs of network
    training see every base once, under one hallucinator. B follows from `budget`: "strict", what `ipc` whole images
    per class leave next to the hallucinators; "published", as many whole images as `ipc` says, and hallucinators for
    nothing. B given directly, `bases_per_class`, is not checked against it. `lambda_club_content` weighs how alike two
    images of one base look to an adversary, which is trained along with the set, by the three other lambdas, to find
    them alike; of one hallucinator, or with weight 0, there is none. Raises ValueError for what cannot be, and where
    the budget holds no base.
    """

    IN_WORDS = "bases and hallucinators: small networks, which all classes share, restyle each stored image"
    INITS, HAS_FACTORS = ("noise", "real"), True
    OPTIONS = {
        "n_style": {"default": 5, "ge": 1, "help": "number of hallucinators: small networks that all classes share; "
                    "each one makes an image of every base"},
        "single_channel": {"default": False, "help": "bases with one channel"},
        "base_channel": {"default": 0, "ge": 0, "help": "channels of the bases; 0: as many as images have"},
        "style_init": {"default": "random", "choices": STYLE_INITS, "help": "start of hallucinators: random (as "
                       "published), or near (ours: images start close to their bases)"},
        "lambda_club_content": {"default": 0.1, "ge": 0, "help": "weight of the diversity of hallucinators, measured "
                                "by an adversary; 0: no adversary"},
        "lambda_likeli_content": {"default": 1.0, "ge": 0, "help": "weight of the adversary's loss that compares "
                                  "images of one base (published runs: 0.1)"},
        "lambda_cls_content": {"default": 1.0, "ge": 0, "help": "weight of the adversary's classification loss"},
        "lambda_contrast_content": {"default": 1.0, "ge": 0, "help": "weight of the adversary's supervised contrastive "
                                    "loss (published runs: 0.1)"},
        "lr_style": {"default": 0.0, "ge": 0, "help": "learning rate of the hallucinators; 0: that of the bases, as "
                     "published for CIFAR-10 (for 8x8 digits 0.01 with --lr_img 10; above, images diverge)"},
        "budget": BUDGET,
    }

    def __init__(self, num_classes: int, ipc: int, channel: int, im_size: Sequence[int], n_style: int = 5,
                 single_channel: bool = False, base_channel: int = 0, style_init: str = "random",
                 lambda_club_content: float = 0.1, lambda_likeli_content: float = 1.0, lambda_cls_content: float = 1.0,
                 lambda_contrast_content: float = 1.0, lr_style: float = 0.0, budget: str = "strict",
                 bases_per_class: int | None = None) -> None:
        _check_options(im_size, n_style, single_channel, base_channel)
        base_channel = 1 if single_channel else base_channel or channel
        if bases_per_class is None:
            form = num_classes, ipc, channel, im_size, n_style, base_channel
            bases_per_class = lookup(BASES_WITHIN, budget, "budget")(*form)
            if bases_per_class < 1:
                raise InputError(_no_room(*form, budget))
        number = bases_per_class * n_style
        labels = torch.arange(num_classes).repeat_interleave(number)
        super().__init__(labels, [number] * num_classes, num_classes * ipc * channel * math.prod(im_size), n_style)
        self.ipc, self.lr_style, self.style_init = ipc, lr_style, style_init
        self.bases = nn.Parameter(torch.zeros(num_classes * bases_per_class, base_channel, *im_size))
        self.hallucinators = Hallucinators(n_style, channel, base_channel, im_size)
        self.diversity = lambda_club_content if n_style > 1 else 0
        self.weights_of_adversary = lambda_cls_content, lambda_likeli_content, lambda_contrast_content
        self.adversary = Adversary(channel, num_classes, im_size) if self.diversity else None

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        if index is None:
            return self.hallucinators(self.bases).flatten(0, 1)
        if isinstance(index, slice):
            rows = range(len(self.hard_labels))[index]
            if rows.step == 1 and rows:                    # of no base more than these images show
                first, last = rows.start // self.views, -(-rows.stop // self.views)
                images = self.hallucinators(self.bases[first:last]).flatten(0, 1)
                return images[rows.start - first * self.views:rows.stop - first * self.views]
            index = torch.arange(len(self.hard_labels))[rows.start:rows.stop:rows.step]
        index = torch.as_tensor(index, device=self.bases.device)
        images = self.hallucinators(self.bases[index // self.views])
        return images[torch.arange(len(index), device=index.device), index % self.views]

    @torch.no_grad()
    def init_from(self, real: RealData, how: str, rng: torch.Generator) -> "HallucinatedBases":
        """Start hallucinators at random, and bases from 'noise' (standard normal) or 'real', distinct real images.

        `build_synthetic` has made sure that every class has enough images. Raises ValueError for an unknown `how`.
        """
        if how not in self.INITS:
            raise InputError(f"--init: {unknown('start', how, self.INITS)}")
        self.hallucinators.draw(rng, self.style_init)
        if how == "real":
            self.start_from(real.sample(real.classes, self.counts[0] // self.views, rng))
        else:
            self.bases.copy_(torch.randn(self.bases.shape, generator=rng))
        if self.adversary:                                 # last: the set starts alike without it
            self.adversary.draw(rng)
        return self

    @torch.no_grad()
    def start_from(self, batch: ClassMajor) -> "HallucinatedBases":
        """Set the bases to the images of `batch`; of fewer or more channels, to averages of neighbouring ones."""
        images = batch.images()
        across = F.adaptive_avg_pool1d(images.flatten(2).mT, self.bases.shape[1])        # one channel: mean of all
        self.bases.copy_(across.mT.unflatten(2, images.shape[2:]))
        return self

    def param_groups(self, lr: float, momentum: float) -> list[dict[str, Any]]:
        return [{"name": "bases", "params": [self.bases], "lr": lr, "momentum": momentum},
                {"name": "hallucinators", "params": list(self.hallucinators.parameters()), "lr": self.lr_style or lr,
                 "momentum": momentum}]

    def extra_loss(self, augment: Augment | None, rng: torch.Generator) -> Float[Tensor, ""] | float:
        """Return the weighted L_cos of a chunk of bases, each under the same two hallucinators."""
        if self.adversary is None:
            return 0.0
        images, _ = self._two_views(augment, rng)
        return self.diversity * similarity(*self.adversary.features(images).chunk(2))

    @torch.no_grad()
    def after_step(self, augment: Augment | None, rng: torch.Generator, end: bool = False) -> None:
        """Keep a learned step size from 0.001 on, and let the adversary take a step, on constant images."""
        if self.learned_steps.size is not None:
            self.learned_steps.size.clamp_(min=LEAST_STEP_SIZE)
        if self.adversary:
            self.adversary.step(*self._two_views(augment, rng),          # type: ignore[call-arg]
                                *self.weights_of_adversary)

    def _two_views(self, augment, rng):
        """Return images (2n, C, H, W) of n bases under one hallucinator, then under another, and their classes.

        Both hallucinators, and the bases of a set that is too large to take whole, are drawn. The two views of a base
        are augmented apart.
        """
        height, width = self.bases.shape[2:]
        size = max(1, CHUNK_PIXELS // (height * width))
        chosen = torch.randperm(len(self.bases), generator=rng)[:size].sort().values
        pair = torch.randperm(self.views, generator=rng)[:2]
        device, rows = self.bases.device, (chosen * self.views + pair[:, None]).flatten()           # (2n,), on the host
        images = self.hallucinators(self.bases[chosen.to(device)], pair.to(device))     # (n, 2, C, H, W)
        images = images.transpose(0, 1).flatten(0, 1)
        if augment is not None:
            images = augment(images, self._groups(rows, augment.num_groups))
        return images, self.hard_labels[rows.to(device)]

    def _groups(self, rows, num_groups):
        """Return each image's group of an augmentation: its own, or its class, and for the second half the next one."""
        if num_groups != len(self.hard_labels):
            other = torch.arange(len(rows)) >= len(rows) // 2
            rows = (rows // self.counts[0] + other) % num_groups
        return rows.numpy()

    def factors(self) -> dict[str, Any]:
        """Return the bases, the parameters of the hallucinators, the budget, and one label per class."""
        tensors = {"bases": self.bases, **dict(self.hallucinators.named_parameters())}
        return {"parameterization": "hallucinator", "ipc": self.ipc, "bases_per_class": self.counts[0] // self.views,
                **{name: tensor.detach().cpu().float().clone() for name, tensor in tensors.items()},
                "labels": self.hard_labels[::self.counts[0]].cpu().clone()}

    @classmethod
    def from_factors(cls, factors: dict[str, Any]) -> "HallucinatedBases":
        """Return the set whose `factors()` these are, on the CPU, with the labels that they came with, to decode.

        It has no adversary. Raises ValueError in one line for a factor that is missing, of another type or of a shape
        that does not fit.
        """
        tensors = _checked(factors)
        bases, labels = tensors.pop("bases"), tensors.pop("labels")
        number, channel = tensors["decoder_bias"].shape
        synthetic = cls(len(labels), factors["ipc"], channel, tuple(bases.shape[2:]), number,
                        base_channel=bases.shape[1], lambda_club_content=0, bases_per_class=factors["bases_per_class"])
        synthetic.load_state_dict({"bases": bases, "own_labels.classes": labels.repeat_interleave(synthetic.counts[0]),
                                   **{f"hallucinators.{name}": tensor for name, tensor in tensors.items()}})
        return synthetic


def _left_beside(num_classes, ipc, channel, im_size, n_style, base_channel):
    """Bases per class that fit with the hallucinators: floor((ipc K C H W - J P_H) / (K c H W)); below 1: none."""
    pixels = num_classes * math.prod(im_size)
    return (ipc * channel * pixels - n_style * floats_of_one(channel, base_channel, im_size)) // (base_channel * pixels)


def _instead_of_images(num_classes, ipc, channel, im_size, n_style, base_channel):
    """Bases per class that take the place of `ipc` images: floor(ipc C / c); 0: none."""
    return ipc * channel // base_channel


BASES_WITHIN = {"strict": _left_beside, "published": _instead_of_images}       # --budget -> bases per class


def _check_options(im_size, n_style, single_channel, base_channel):
    """Raise ValueError for numbers that cannot be, and for images that nothing can be seen of."""
    if n_style < 1:
        raise InputError(f"--n_style must be 1 or larger, not {n_style}")
    if base_channel < 0:
        raise InputError(f"--base_channel must be 0 or larger, not {base_channel}")
    if single_channel and base_channel > 1:
        raise InputError(f"--single_channel is --base_channel 1, not {base_channel}; leave one of the two out")
    if min(im_size) < KERNEL:
        raise InputError(f"hallucinators need at least {KERNEL}x{KERNEL} pixels, and images are "
                         f"{im_size[0]}x{im_size[1]}; use larger ones")


def _no_room(num_classes, ipc, channel, im_size, n_style, base_channel, budget):
    """Word the error for a budget that holds no base, with the most hallucinators and the smallest ipc that do."""
    pixels, one = math.prod(im_size), floats_of_one(channel, base_channel, im_size)
    if budget == "published":
        smallest = -(-base_channel // channel)
        return (f"--ipc {ipc} counts no base of {base_channel} channels for images with {channel} channels; use "
                f"--ipc {smallest} or more")
    most = num_classes * pixels * (ipc * channel - base_channel) // one
    smallest = -(-(n_style * one + num_classes * base_channel * pixels) // (num_classes * channel * pixels))
    fewer = f"--n_style {most} or less, or " if most > 0 else ""
    return (f"the storage of --ipc {ipc} holds no base for each of {num_classes} classes next to --n_style {n_style}, "
            f"which take {n_style * one:,} floats; use {fewer}--ipc {smallest} or more; --budget published, as the "
            "authors count, takes them for nothing")


def _checked(factors):
    """Return the tensors of `factors`; raises ValueError where they are not those of bases and hallucinators."""
    names = ["bases", *(name for name, _ in Hallucinators(1, 1, 1, (3, 3)).named_parameters()), "labels"]
    dtypes = {name: torch.int64 if name == "labels" else torch.float32 for name in names}
    require_factors(factors, "hallucinators", NUMBERS, dtypes)
    tensors = {name: factors[name] for name in names}
    if not _fit(tensors, factors["bases_per_class"]):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise InputError(f"{shapes} of hallucinators with {factors['bases_per_class']} bases per class do not fit "
                         f"together: bases are (n, c, h, w), the others (J, ...); {AGAIN}")
    return tensors


def _fit(tensors, bases_per_class):
    """Whether all shapes are those that the bases' and the last bias's (J, C) say."""
    bases, bias, labels = (tensors[name] for name in ("bases", "decoder_bias", "labels"))
    if (bases.dim(), bias.dim(), labels.dim()) != (4, 2, 1) or 0 in (*bases.shape, *bias.shape, len(labels)):
        return False
    if min(bases.shape[2:]) < KERNEL or len(bases) != len(labels) * bases_per_class:
        return False
    like = Hallucinators(*bias.shape, bases.shape[1], bases.shape[2:]).named_parameters()
    return all(tensors[name].shape == parameter.shape for name, parameter in like)
