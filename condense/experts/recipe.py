"""How experts are trained, and which of their snapshots are kept.

Cazenavette et al. (MTT), CVPR 2022: plain SGD, which a student of few plain steps can follow. Wang et al., "Dataset
Distillation", 2018: Adam and a learning rate that falls in steps, for networks that are good where they end.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from condense.augmentation.classic import parse_classic
from condense.augmentation.siamese import parse_strategy
from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.networks import INITS
from condense.training.protocols import Protocol

CLASSIC_STRATEGY = "crop_scale_rotate"     # what the published code augments with where DSA is off


def mean_square(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], reduction: str = "mean") -> Float[Tensor, ""]:
    """Squared distance of logits (n, K) from one-hot labels (n,), meaned over classes; over images too, or summed."""
    one_hot = (labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)).to(logits.dtype)
    summed = F.mse_loss(logits, one_hot, reduction="sum") / logits.shape[-1]
    return summed if reduction == "sum" else summed / len(logits)


LOSSES = {"ce": F.cross_entropy, "mse": mean_square}
SLOTS = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}         # what an optimiser remembers
BETAS = (0.5, 0.999)                       # of Adam, as published


@dataclass(frozen=True)
class Recipe:
    """One expert's training: `epochs` passes over the real images, snapshots `first`..`last` kept.

    Snapshot e is the network after e epochs, 0 its initialisation; nothing is trained beyond `last`. `optimizer` is
    sgd or adam. With `decay` the learning rate falls to a tenth after the epoch with index epochs // 2 + 1, and
    momentum begins anew, as published; with `decay_epochs` it falls by `decay_factor` whenever so many are over.
    Networks begin as `init` and `gain` say (`reset`). `augmentation` and `strategy` are those of `Protocol`; `loss`
    is ce or mse (TESLA). With `rho_max` above 0 steps are GSAM's (FTD; see `sharpness`). `half` keeps snapshots in
    float16. Raises ValueError for what does not go together, naming the flag.
    """

    epochs: int = 50
    first: int = 0
    last: int = 50
    lr: float = 0.01
    batch_size: int = 256
    momentum: float = 0.0
    weight_decay: float = 0.0
    decay: bool = False
    augmentation: str = "siamese"
    strategy: str = "none"
    loss: str = "ce"
    rho_max: float = 0.0
    rho_min: float | None = None
    alpha: float = 0.4
    adaptive: bool = True
    half: bool = False
    optimizer: str = "sgd"
    decay_epochs: int | None = None
    decay_factor: float = 0.5
    init: str = "default"
    gain: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= self.epochs:
            raise InputError(f"--keep_epochs {self.first}-{self.last} goes beyond --train_epochs {self.epochs}; keep "
                             f"epochs of 0-{self.epochs}, or train longer")
        if self.last == 0:
            raise InputError("--keep_epochs keeps only epoch 0, the initialisation, which needs no training; keep 0-1, "
                             "for example")
        lookup(SLOTS, self.optimizer, "optimizer")
        lookup(dict.fromkeys(INITS), self.init, "initialisation of networks")
        if self.optimizer == "adam" and (self.momentum or self.rho_max or self.decay):
            raise InputError("--mom, --rho_max and --decay belong to --optimizer sgd; leave them out, and let Adam's "
                             "learning rate fall by --decay_epochs")
        if self.decay and self.decay_epochs:
            raise InputError("--decay and --decay_epochs both lower the learning rate; leave one of them out")
        if self.rho_max and self.rho_min is not None and self.rho_min > self.rho_max:
            raise InputError(f"--rho_min {self.rho_min} is larger than --rho_max {self.rho_max}; exchange them")
        (parse_strategy if self.augmentation == "siamese" else parse_classic)(self.strategy)

    @cached_property
    def protocol(self) -> Protocol:
        """The same as a `Protocol`: minibatches, augmentation, and where the learning rate drops."""
        return Protocol(self.epochs, self.lr, self.batch_size, self.momentum, self.weight_decay, self.augmentation,
                        self.strategy, "drop" if self.decay else "constant")

    @property
    def kept(self) -> int:
        """How many snapshots a trajectory has."""
        return self.last - self.first + 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype snapshots are stored in."""
        return torch.float16 if self.half else torch.float32

    def drops_at(self, epoch: int) -> bool:
        """Say whether `epoch` is the first at a tenth of the learning rate, with a new optimiser."""
        return epoch == self.protocol.drop_epoch

    def rate(self, epoch: int) -> float:
        """Return the learning rate of `epoch`."""
        if self.decay_epochs:
            return self.lr * self.decay_factor ** (epoch // self.decay_epochs)
        dropped = self.protocol.drop_epoch is not None and epoch >= self.protocol.drop_epoch
        return 0.1 * self.lr if dropped else self.lr

    def rho(self, epoch: int) -> float:
        """Return the length of GSAM's perturbation in `epoch`: between rho_min and rho_max as the learning rate."""
        if not self.decay or self.rho_min is None:
            return self.rho_max
        share = (self.rate(epoch) - 0.1 * self.lr) / (0.9 * self.lr)
        return self.rho_min + (self.rho_max - self.rho_min) * share


def parse_epochs(text: str | int, epochs: int) -> tuple[int, int]:
    """Return (first, last) of `--keep_epochs`: "all" of `epochs`, "4" for 0..4, or "40-62".

    Raises ValueError for anything else.
    """
    if text == "all":
        return 0, epochs
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)", str(text))
    if not found:
        raise InputError(f"--keep_epochs must be all, a last epoch like 4, or a range like 40-62, not {text!r}")
    first, last = int(found[1] or 0), int(found[2])
    if first > last:
        raise InputError(f"--keep_epochs {text} is in reverse order; write {last}-{first}")
    return first, last
