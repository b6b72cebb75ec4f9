"""Evaluation protocols: how a fresh network is trained on a synthetic set before it is tested."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from condense.augmentation.classic import classic_strategy
from condense.core.errors import InputError
from condense.core.registry import lookup, unknown
from condense.networks import INITS, reset

# how minibatches are augmented -> what that is
AUGMENTATIONS = {
    "none": "no augmentation",
    "siamese": "DSA's operators: one for a minibatch, its magnitudes per image",
    "classic": "DC's own: one operation per image",
    "composed": "IDC's: flip, colour, one of crop, scale and rotate, and cutout, magnitudes per image",
    "autoaugment": "AutoAugment by the policy that `strategy` names, one draw for a minibatch",
    "randaugment": "RandAugment with one operation, one draw for a minibatch",
    "jitter": "crop with padding 4, flip and colour jitter, one draw for a minibatch",
    "cifar": "crop with padding 4 and flip, with cutout where `strategy` is cutout, one draw for a minibatch",
    "imagenet": "random resized crop, flip, colour jitter and lighting, drawn per image",
}
POLICIES = ("cifar10", "imagenet", "svhn")               # of AutoAugment
DECAYS = {"drop": 0.1, "constant": 1.0, "idc": 0.2}       # schedule -> factor on the learning rate at a milestone
Auto = Literal["auto"]


@dataclass(frozen=True)
class Protocol:
    """One training recipe: SGD on shuffled minibatches, the last one smaller where the set does not divide.

    Schedule "drop" trains `epochs` + 1 epochs (the published code trains one more than its flag says); after
    epoch index epochs // 2 + 1 the learning rate falls to a tenth and the momentum buffer is cleared. "constant"
    trains `epochs` epochs at one learning rate. "idc" trains `epochs` epochs; at floor(2 epochs / 3) and at
    floor(5 epochs / 6) the learning rate falls to a fifth, and momentum stays. `augmentation` is one of AUGMENTATIONS,
    `strategy` its operators. With probability `cutmix` a minibatch is mixed after it is augmented (`CutMix`). The
    number that counts is the test accuracy after the last epoch; there is no selection. Zhao et al., ICLR 2021, ICML
    2021, WACV 2023; "composed", "idc" and CutMix: Kim et al., ICML 2022. Raises ValueError for what it does not know.
    """

    epochs: int = 1000
    lr: float = 0.01
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: str = "siamese"
    strategy: str = "none"
    schedule: str = "drop"
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        lookup(AUGMENTATIONS, self.augmentation, "augmentation")
        lookup(DECAYS, self.schedule, "schedule")
        if self.augmentation == "autoaugment" and self.strategy not in POLICIES:
            raise InputError(unknown("AutoAugment policy", self.strategy, POLICIES))
        if self.augmentation == "cifar" and self.strategy not in ("none", "cutout"):
            raise InputError(f"augmentation cifar needs strategy none or cutout, not {self.strategy!r}")
        if not 0 <= self.cutmix <= 1:
            raise InputError(f"cutmix is a probability in 0..1, not {self.cutmix}")

    @property
    def num_epochs(self) -> int:
        """How many epochs are trained."""
        return self.epochs + (self.schedule == "drop")

    @property
    def drop_epoch(self) -> int | None:
        """The first epoch index that trains at a tenth of the learning rate, with a fresh momentum buffer."""
        return self.epochs // 2 + 2 if self.schedule == "drop" else None

    @property
    def milestones(self) -> tuple[int, ...]:
        """The epoch indices from which on the learning rate is lower, each by the factor of DECAYS."""
        if self.schedule == "idc":
            return 2 * self.epochs // 3, 5 * self.epochs // 6
        return () if self.drop_epoch is None else (self.drop_epoch,)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of epoch index `epoch`."""
        return DECAYS[self.schedule] ** sum(epoch >= milestone for milestone in self.milestones) * self.lr

    def fresh(self, net: nn.Module, rng: torch.Generator | None) -> nn.Module:
        """Draw a fresh start of `net` in place and return it."""
        return reset(net, rng)

    def with_step_size(self, step_size: float) -> "Protocol":
        """Return the protocol with the step size that a set has learned."""
        return replace(self, lr=step_size)

    def for_one_epoch(self) -> "Protocol":
        """Return a protocol of one epoch that takes as long as one of this."""
        return replace(self, epochs=1, schedule="constant")

    def images_at_once(self, number: int) -> int:
        """Return how many of a set's `number` images one update takes at most."""
        return min(self.batch_size, number)


@dataclass(frozen=True)
class NamedProtocol(Protocol):
    """A published recipe that is stored with its `name`, and keeps its rate whatever step size a set has learned."""

    name: str = ""

    def with_step_size(self, step_size: float) -> "NamedProtocol":
        return self


@dataclass(frozen=True)
class StepProtocol(Protocol):
    """Plain descent along the steps of a set (`Steps`), which is all the training there is: no order is drawn.

    Step t sees batch t mod S, and `epochs` times all batches are gone through. A set of unrolled training brings its
    batches, step sizes and, where it was learned for one, its start. Of other sets the images of each class are cut
    into `distill_steps` batches, or as many as there are images, and every step is of size `constant`. Real images that
    are compared with a learned set take the mean of the step sizes learned with that set (`with_step_size`). `lr`, if
    it is given, is the size of every step, learned or not. Networks start as `net_init` and `gain` say (`reset`).
    `momentum` as in `Protocol`. Wang et al., "Dataset Distillation", 2018; its default of `constant` is the published
    example for real images of MNIST. Raises ValueError for minibatches, augmentation and weight decay, which are no
    part of it.
    """

    epochs: int = 3
    lr: float | None = None                # type: ignore[assignment]
    batch_size: int | None = None          # type: ignore[assignment]
    momentum: float = 0.0
    weight_decay: float = 0.0
    augmentation: str = "none"
    schedule: str = "steps"
    distill_steps: int = 10
    constant: float = 0.3
    net_init: str = "xavier"
    gain: float = 1.0

    def __post_init__(self) -> None:
        lookup(dict.fromkeys(INITS), self.net_init, "initialisation of networks")
        if self.batch_size is not None:
            raise InputError("in protocol dd every step has its own images; leave --batch_train out")
        if self.augmentation != "none" or self.strategy != "none" or self.cutmix or self.weight_decay:
            raise InputError("protocol dd is plain descent on the images as they are, without augmentation; choose "
                             "another --protocol for that")
        if self.schedule != "steps" or self.distill_steps < 1:
            raise InputError("protocol dd needs one or more steps on the batches of a set, in their order")

    def fresh(self, net: nn.Module, rng: torch.Generator | None) -> nn.Module:
        return reset(net, rng, self.net_init, self.gain)

    def with_step_size(self, step_size: float) -> "StepProtocol":
        return replace(self, constant=step_size)

    def for_one_epoch(self) -> "StepProtocol":
        return replace(self, epochs=1, lr=self.constant if self.lr is None else self.lr)

    def images_at_once(self, number: int) -> int:
        return -(-number // self.distill_steps)


def protocol_of(values: Mapping[str, Any]) -> Protocol:
    """Return the `Protocol` whose fields are `values`, a dict: a `StepProtocol` where the schedule is "steps".

    Raises ValueError for values that are no protocol's.
    """
    kind = StepProtocol if values.get("schedule") == "steps" else NamedProtocol if "name" in values else Protocol
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"the set's protocol is unknown to this version ({error}); name one with --protocol"
                         ) from error


def siamese_protocols(pool: Iterable[str], epochs: int | Auto, lr: float, batch_size: int,
                      strategy: str) -> dict[str, Protocol]:
    """Return {network name: `Protocol`} of DSA and DM: one recipe for all, `epochs` "auto" for 1000."""
    return dict.fromkeys(pool, Protocol(1000 if epochs == "auto" else epochs, lr, batch_size, strategy=strategy))


def dc_protocols(pool: Iterable[str], dataset: str, epochs: int | Auto, lr: float,
                 batch_size: int) -> dict[str, Protocol]:
    """Return {network name: `Protocol`} of DC, whose augmentation depends on the data and on the network.

    `epochs` "auto" means 300, or 1000 where the augmentation is on, as the published code forces it.
    """
    protocols = {}
    for model in pool:
        strategy = classic_strategy(dataset, model)
        automatic = 300 if strategy == "none" else 1000
        protocols[model] = Protocol(automatic if epochs == "auto" else epochs, lr, batch_size,
                                    augmentation="classic", strategy=strategy)
    return protocols


def mtt_protocols(pool: Iterable[str], dataset: str, epochs: int, lr: float, batch_size: int, strategy: str,
                  siamese: bool = True) -> dict[str, Protocol]:
    """Return {network name: `Protocol`} of trajectory matching; `lr` gives way to the step size that a set learns.

    `siamese` False augments as DC does, by data set and network, as the published code does without DSA.
    """
    return {model: Protocol(epochs, lr, batch_size, strategy=strategy) if siamese else
            Protocol(epochs, lr, batch_size, augmentation="classic", strategy=classic_strategy(dataset, model))
            for model in pool}
