"""Latent codes and decoders (KFS): every code of a class goes through every one of a few decoders that all share.

Lee, Lee & Hwang, "Dataset Condensation with Latent Space Knowledge Factorization and Sharing", arXiv 2208.10494, 2022.
No code was published, and what the paper says about sizes, start and step sizes could not be read: these are our own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.errors import InputError
from condense.core.registry import lookup, unknown
from condense.core.types import ClassMajor, Index
from condense.data.real import RealData
from condense.synthetic.base import SyntheticSet
from condense.synthetic.budgets import BUDGET
from condense.synthetic.decoders import ACTIVATIONS, Decoders, num_layers
from condense.synthetic.factors import AGAIN
from condense.synthetic.latent_grades import GRADES, LatentChoices, plan
from condense.synthetic.latent_start import fit, regression_targets

OUTPUTS = ("linear", "sigmoid")
BETAS = 0.9, 0.999                         # of Adam
DECODER_LR = 0.1                           # of the codes' step size: a step of a decoder moves all classes
BLOCK = 4096                               # images that are decoded at a time where no gradient is taken


class LatentDecoder(SyntheticSet):
    """Images x[c, m, d] = f(code[c, m]; decoder d): D M for each class from M codes of its own and D shared decoders.

    Parameters `codes` (K M, L, h, w), class-major, and those of `decoders`, a `Decoders`; all float32, unconstrained.
    Images are in the order class, code, decoder, the last the fastest. Their sizes and numbers follow from the budget
    of `ipc` whole images per class as `condense.synthetic.latent_grades.plan` says, decoders and biases counted.
    `out` is what decoders put out: "linear" normalised pixels, or "sigmoid" pixels, x = (sigmoid(y) - mean) / std.
    `lr_code` and `lr_decoder` None are the step size that `param_groups` is given, and a tenth of that of the codes.
    Raises ValueError for sizes that do not go together or do not fit, naming the mend, and for `budget` "published".
    """

    IN_WORDS = "latent codes, decoded by a few small networks that all classes share"
    INITS, HAS_FACTORS = ("noise", "real"), True
    OPTIONS = {
        "latent_grade": {"default": "auto", "choices": ("auto", *GRADES), "help": "size of codes and decoders; auto: "
                         "by image size, classes and budget"},
        "latent_channels": {"default": "auto", "type": int | str, "choices": ("auto",), "ge": 1,
                            "help": "channels L of a code, instead of the grade's"},
        "latent_hidden": {"default": (), "type": tuple[int, ...], "ge": 1,
                          "help": "channels between the layers of a decoder, instead of the grade's"},
        "n_decoder": {"default": "auto", "type": int | str, "choices": ("auto",), "ge": 1,
                      "help": "number D of decoders that all classes share; each makes an image of every code"},
        "codes_per_class": {"default": "auto", "type": int | str, "choices": ("auto",), "ge": 1,
                            "help": "number M of codes of each class; auto: as many as fit into the budget with the "
                                    "decoders"},
        "decoder_act": {"default": "relu", "choices": tuple(ACTIVATIONS), "help": "activation between the layers of "
                        "decoders"},
        "out": {"default": "linear", "choices": OUTPUTS, "help": "output of decoders: linear (normalised pixels), or "
                "sigmoid (pixels between black and white)"},
        "lr_code": {"default": None, "type": float | None, "gt": 0, "help": "step size of codes, instead of the "
                    "method's"},
        "lr_decoder": {"default": None, "type": float | None, "gt": 0, "help": "step size of decoders; if not given, a "
                       "tenth of that of codes"},
        "warmup_steps": {"default": 5000, "ge": 0, "help": "steps in which --init real fits codes and decoders to "
                         "real images"},
        "budget": BUDGET}

    def __init__(self, num_classes: int, ipc: int, channel: int, im_size: Sequence[int], latent_grade: str = "auto",
                 latent_channels: int | str = "auto", latent_hidden: Sequence[int] = (), n_decoder: int | str = "auto",
                 codes_per_class: int | str = "auto", decoder_act: str = "relu", out: str = "linear",
                 lr_code: float | None = None, lr_decoder: float | None = None, warmup_steps: int = 5000,
                 budget: str = "strict") -> None:
        if budget != "strict":
            raise InputError(f"--budget {budget}: the paper of this form does not say how it counts; leave --budget "
                             "out")
        choices = LatentChoices(num_classes, ipc, channel, tuple(im_size), latent_grade, latent_channels,
                          tuple(latent_hidden), n_decoder, codes_per_class)
        chosen = plan(choices)
        number = chosen.number * chosen.codes_per_class
        super().__init__(torch.arange(num_classes).repeat_interleave(number), [number] * num_classes, choices.budget)
        self.ipc, self.im_size, self.plan = ipc, tuple(im_size), chosen
        self.out, self.act, self.warmup_steps = out, decoder_act, warmup_steps
        self.lr_code, self.lr_decoder = lr_code, lr_decoder
        size = chosen.architecture.channels[0], *chosen.architecture.code_size
        self.codes = nn.Parameter(torch.zeros(num_classes * chosen.codes_per_class, *size))
        self.decoders = Decoders(chosen.number, chosen.architecture, decoder_act)
        for name, value in (("mean", 0.0), ("std", 1.0)):                        # of pixels, for "sigmoid"
            self.register_buffer(name, torch.full((channel,), value))

    def images(self, index: Index | None = None) -> Float[Tensor, "m c h w"]:
        if isinstance(index, slice) and index.step in (None, 1):
            return self._part(*index.indices(len(self.hard_labels))[:2])
        if index is not None:
            return self._picked(torch.arange(len(self.hard_labels), device=self.codes.device)[index])
        if torch.is_grad_enabled():
            return self._of_all_decoders(self.codes).flatten(0, 1)
        blocks = self.codes.split(max(1, BLOCK // self.plan.number))
        return torch.cat([self._of_all_decoders(block).flatten(0, 1) for block in blocks])

    def _part(self, first, last):
        """Return images first .. last - 1: those of the codes that they belong to, cut to size."""
        number = self.plan.number
        start, last = first // number, max(first, last)
        images = self._of_all_decoders(self.codes[start:-(-last // number)]).flatten(0, 1)
        return images[first - start * number:last - start * number]

    def _of_all_decoders(self, codes):
        """(n, L, h, w) -> (n, D, C, H, W)."""
        return self._decoded(codes[:, None].expand(-1, self.plan.number, -1, -1, -1))

    def _picked(self, index):
        """Return the images at `index` (n,): each decoder makes its own, all of them as many as the busiest one."""
        code, decoder = index // self.plan.number, index % self.plan.number
        order, counts = decoder.argsort(stable=True), decoder.bincount(minlength=self.plan.number)
        place = torch.empty_like(index)
        place[order] = torch.arange(len(index), device=index.device) - (counts.cumsum(0) - counts)[decoder[order]]
        table = code.new_zeros(int(counts.max()), self.plan.number)              # what nobody asked for is code 0
        table[place, decoder] = code
        return self._decoded(self.codes[table])[place, decoder]

    def _decoded(self, codes):
        """(n, D, L, h, w) -> (n, D, C, H, W)."""
        images = self.decoders(codes)
        if self.out == "linear":
            return images
        return (images.sigmoid() - self.mean[:, None, None]) / self.std[:, None, None]

    def param_groups(self, lr: float, momentum: float) -> list[dict[str, Any]]:
        """Return two groups, codes and decoders, with step sizes of their own, and betas for Adam."""
        lr_code = self.lr_code or lr
        shared = {"momentum": momentum, "betas": BETAS}
        return [{"name": "codes", "params": [self.codes], "lr": lr_code, **shared},
                {"name": "decoders", "params": list(self.decoders.parameters()),
                 "lr": self.lr_decoder or DECODER_LR * lr_code, **shared}]

    @torch.no_grad()
    def init_from(self, real: RealData | None, how: str, rng: torch.Generator) -> "LatentDecoder":
        """Start from 'noise' or 'real'.

        'noise': standard normal codes, and decoders that make images of about unit variance of them.
        'real': the same, fitted to different images of each class; see `condense.synthetic.latent_start`.
        `build_synthetic` has made sure that every class has enough images. Raises ValueError for an unknown `how`.
        """
        if how not in self.INITS:
            raise InputError(f"--init: {unknown('start', how, self.INITS)}")
        self._draw(real, rng)
        return self._fit(real.sample(real.classes), rng) if how == "real" else self    # type: ignore[union-attr]

    def start_from(self, batch: ClassMajor) -> "LatentDecoder":
        """Fit codes and decoders, drawn before, to the images of `batch`; what is random in it is so in one way."""
        return self._fit(batch, torch.Generator().manual_seed(0))

    def _draw(self, real, rng):
        if self.out == "sigmoid":
            if real.zca is not None:
                raise InputError("--out sigmoid makes pixels between black and white, but --zca whitens images; use "
                                 "--out linear")
            self.mean.copy_(torch.tensor(real.mean))
            self.std.copy_(torch.tensor(real.std))
        self.codes.copy_(torch.randn(self.codes.shape, generator=rng))
        self.decoders.draw(rng)

    def _fit(self, batch, rng):
        targets = regression_targets(batch, self.plan.codes_per_class, self.plan.number, rng)
        fit(lambda rows: self._of_all_decoders(self.codes[rows]), [stored for _, stored in self.stored_parameters()],
            batch, targets, self.warmup_steps, rng)
        return self

    def factors(self) -> dict[str, Any]:
        """Return codes (K, M, L, h, w), decoders (D, ...) layer by layer, sizes, and one label per class."""
        tensors = {**self._tensors(), "labels": self.hard_labels[::self.counts[0]]}
        return {"parameterization": "latent_decoder", "ipc": self.ipc, "n_decoder": self.plan.number,
                "codes_per_class": self.plan.codes_per_class, "channels": list(self.plan.architecture.channels),
                "im_size": list(self.im_size), "decoder_act": self.act, "out": self.out,
                **{name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}}

    def _tensors(self):
        """Return what images are made of, {name: tensor}, each sharing memory with the set."""
        layers = {f"{kind}{layer}": tensor for kind, tensors in (("weight", self.decoders.weights),
                                                                 ("bias", self.decoders.biases))
                  for layer, tensor in enumerate(tensors, 1)}
        constants = {"mean": self.mean, "std": self.std} if self.out == "sigmoid" else {}
        return {"codes": self.codes.unflatten(0, (len(self.counts), -1)), **layers, **constants}

    @classmethod
    def from_factors(cls, factors: dict[str, Any]) -> "LatentDecoder":
        """Return the set whose `factors()` these are, on the CPU, with the labels that they came with.

        Raises ValueError in one line for a factor that is missing, of another type or of a shape that does not fit.
        """
        _check(factors)
        labels, (latent, *hidden, channel) = factors["labels"], factors["channels"]
        synthetic = cls(len(labels), factors["ipc"], channel, factors["im_size"], latent_channels=latent,
                        latent_hidden=hidden, n_decoder=factors["n_decoder"],
                        codes_per_class=factors["codes_per_class"], decoder_act=factors["decoder_act"],
                        out=factors["out"])
        with torch.no_grad():
            for name, tensor in synthetic._tensors().items():
                _check_tensor(factors, name, torch.float32, tensor.shape)
                tensor.copy_(factors[name])
        synthetic.hard_labels.copy_(labels.repeat_interleave(synthetic.counts[0]))
        return synthetic


def _check(factors):
    """Raise ValueError where what says the form of a set is not there, or is none."""
    sizes = {"ipc": 1, "n_decoder": 1, "codes_per_class": 1, "im_size": 2, "channels": None}
    words = {"decoder_act": ACTIVATIONS, "out": OUTPUTS}
    missing = [name for name in (*sizes, *words, "labels") if name not in factors]
    if missing:
        raise InputError(f"codes and decoders without {' and '.join(missing)}; {AGAIN}")
    for name, number in sizes.items():
        listed = [factors[name]] if number == 1 else factors[name]
        whole = isinstance(listed, list) and all(type(value) is int and value > 0 for value in listed)
        if name == "channels" and whole:
            number = num_layers(factors["im_size"]) + 1
        if not whole or len(listed) != number:
            raise InputError(f"{name} of codes and decoders is {factors[name]!r}, not {number} whole number"
                             f"{'s' * (number != 1)} from 1 on; {AGAIN}")
    for name, known in words.items():
        lookup(dict.fromkeys(known), factors[name], f"{name} of codes and decoders")
    if not torch.is_tensor(factors["labels"]) or factors["labels"].dim() != 1 or not len(factors["labels"]):
        raise InputError(f"labels of codes and decoders are not one for each class; {AGAIN}")
    _check_tensor(factors, "labels", torch.int64, factors["labels"].shape)


def _check_tensor(factors, name, dtype, shape):
    """Raise ValueError where `factors[name]` is not there, or no tensor of this type and shape."""
    if name not in factors:
        raise InputError(f"codes and decoders without {name}; {AGAIN}")
    tensor = factors[name]
    if not torch.is_tensor(tensor) or tensor.dtype != dtype or tensor.shape != shape:
        found = f"{tensor.dtype} {list(tensor.shape)}" if torch.is_tensor(tensor) else type(tensor).__name__
        raise InputError(f"{name} of codes and decoders is {found}, not {dtype} {list(shape)}; {AGAIN}")
