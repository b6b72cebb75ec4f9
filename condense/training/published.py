"""The published evaluation protocols by name, for sets of any origin.

An accuracy means something only together with its protocol: IDC's is much stronger than DC's on the same images.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from condense.augmentation.classic import classic_strategy
from condense.augmentation.siamese import DIGIT_STRATEGY, default_strategy
from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.core.types import Described
from condense.training.pools import eval_pool
from condense.training.protocols import AUGMENTATIONS, NamedProtocol, Protocol, StepProtocol

LARGE_SIDE = 64                            # pixels: above it IDC takes images for ImageNet's
LARGE_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))    # IDC's: at most so many a class, epochs
FULL_EPOCHS: dict[str, Any] = {"epochs": 100}
FULL_DIGITS: dict[str, Any] = {"epochs": 30, "batch_size": 32}
BY_NAME = {name: name for name in AUGMENTATIONS}
DCBENCH = {"none": "none", "dsa": "siamese", "autoaugment": "autoaugment", "randaugment": "randaugment",
           "imagenet": "jitter", "cifar": "cifar"}          # its names of augmentations -> ours


@dataclass(frozen=True)
class DataFacts:
    """What a protocol may depend on, apart from the network. None: not known; for `epochs`: none are asked for.

    `num_images` are the training images per class; `factor` is the number of tiles per side of a stored image.
    """

    dataset: str
    side: int | None = None
    num_classes: int | None = None
    num_images: int | None = None
    epochs: int | None = None
    factor: int = 1

    @property
    def num_stored(self) -> int | None:
        """How many images of a class are stored, None where that is not known."""
        return None if self.num_images is None else self.num_images // self.factor**2

    @property
    def large(self) -> bool:
        """Whether these are ImageNet's images, or as large as those."""
        return self.dataset == "ImageNet" or (self.side or 0) > LARGE_SIDE


@dataclass(frozen=True)
class Published:
    """A published protocol: `build(model, facts, kind)` makes it, `kind` an augmentation other than its own, or None.

    `pool` is the evaluation mode that its networks come from where none is asked for. `augmentations` {name: kind}
    are those it can be varied by. With `learned` networks are trained with the step size that a set has learned.
    """

    about: str
    source: str
    build: Callable
    pool: str = "S"
    augmentations: dict = field(default_factory=lambda: {"dsa": "siamese", **BY_NAME})
    learned: bool = False


def named_protocols(name: str, models: Iterable[str], dataset: str | Described, *, epochs: int | None = None,
                    lr: float | None = None, batch_size: int | None = None, augmentation: str | None = None,
                    num_images: int | None = None, lr_learned: float | None = None,
                    factor: int = 1) -> dict[str, Protocol]:
    """Return {network name: `Protocol`} of the protocol called `name` in PROTOCOLS, for `models`.

    `dataset` is a data set's name, or the `RealData` itself: IDC also needs the size of the images and the number
    of classes. `num_images` is the number of training images per class (after decoding), and `factor` the number of
    tiles per side of a stored image: IDC needs both. `lr_learned` is the step size that the set has learned: mtt trains
    with it, and so does dd if the set has no steps.
    `epochs`, `lr`, `batch_size` and `augmentation` take the place of the protocol's own. Raises ValueError for an
    unknown name, where IDC lacks a figure, and for what dd has not.
    """
    record, facts = lookup(PROTOCOLS, name, "protocol"), _facts_of(dataset, num_images, epochs, factor)
    kind = None if augmentation is None else lookup(record.augmentations, augmentation, f"augmentation of {name}")
    given = {key: value for key, value in (("epochs", epochs), ("lr", lr), ("batch_size", batch_size))
             if value is not None}
    built = {model: replace(record.build(model, facts, kind), **given) for model in models}
    if record.learned and lr is None and lr_learned is not None:
        return {model: protocol.with_step_size(lr_learned) for model, protocol in built.items()}
    return built


def varied(protocol: Protocol, name: str, augmentation: str, model: str, real: str | Described) -> Protocol:
    """Return `protocol`, of the kind called `name`, with another augmentation of those that kind has.

    Raises ValueError for one that it has not.
    """
    kind = lookup(lookup(PROTOCOLS, name, "protocol").augmentations, augmentation, f"augmentation of {name}")
    strategy = strategy_of(kind, _facts_of(real), model, cutmix=protocol.cutmix > 0)
    return replace(protocol, augmentation=kind, strategy=strategy)


def default_models(name: str, model: str) -> tuple[str, ...]:
    """Return the networks that protocol `name` scores a set condensed with `model` on, a tuple."""
    return eval_pool(lookup(PROTOCOLS, name, "protocol").pool, model)


def strategy_of(kind: str, facts: DataFacts, model: str, cutmix: bool = False) -> str:
    """Return the `strategy` that augmentation `kind` has on this data; `cutmix`: cutout gives way to CutMix."""
    if kind == "classic":
        return classic_strategy(facts.dataset, model)
    if kind == "autoaugment":
        return "imagenet" if facts.large or facts.dataset == "TinyImageNet" else "cifar10"
    if kind == "cifar":
        return "cutout"
    if kind not in ("siamese", "composed"):
        return "none"
    names = default_strategy(facts.dataset).split("_")
    return "_".join(name for name in names if not (cutmix and name == "cutout"))


def _facts_of(dataset, num_images=None, epochs=None, factor=1):
    if isinstance(dataset, str):
        return DataFacts(dataset, num_images=num_images, epochs=epochs, factor=factor)
    return DataFacts(dataset.name, min(dataset.im_size), dataset.num_classes, num_images, epochs, factor)


def dc(model: str, facts: DataFacts, kind: str | None = None) -> Protocol:
    """DC: SGD 0.01, momentum 0.9, weight decay 5e-4, minibatches of 256, 300 epochs, or 1000 where it augments.

    It augments MNIST, and wherever it trains ConvNetBN, by its own operations.
    """
    kind = kind or "classic"
    strategy = strategy_of(kind, facts, model)
    idle = kind == "none" or (kind == "classic" and strategy == "none")
    return Protocol(300 if idle else 1000, augmentation=kind, strategy=strategy)


def dsa(model: str, facts: DataFacts, kind: str | None = None) -> Protocol:
    """DSA and DM: as DC, 1000 epochs, with DSA's augmentation; digits are not flipped."""
    kind = kind or "siamese"
    return Protocol(augmentation=kind, strategy=strategy_of(kind, facts, model))


def idc(model: str, facts: DataFacts, kind: str | None = None) -> Protocol:
    """IDC: SGD 0.01, momentum 0.9, weight decay 5e-4, minibatches of 64; the learning rate falls to a fifth twice.

    Images up to 64 pixels: 1000 epochs, CutMix on every other minibatch, after flip (digits: none), colour and one of
    crop, scale and rotate; DenseNet 400 epochs on sets of mosaics, from 50 stored images per
    class on. SVHN at one image per class: no CutMix, but cutout, as published. MNIST with mosaics:
    neither. Larger ones: ImageNet's augmentation, CutMix on every minibatch, epochs by the images per class; of
    100 classes and more two thirds of them, rounded down to hundreds, at learning rate 0.1, weight decay 1e-4 and
    minibatches of 128.

    The published program tests four times and prints the best of the four and the last; the best is chosen on the
    test set, which flatters, so the last is what counts here.
    """
    if facts.large:
        return _idc_large(model, facts, kind)
    if facts.dataset == "SVHN" and facts.num_images == 1 and kind is None:
        return Protocol(1000, batch_size=64, augmentation="composed", strategy=DIGIT_STRATEGY, schedule="idc")
    kind, mosaics = kind or "composed", facts.factor > 1
    epochs = 400 if model == "DenseNet" and mosaics and (facts.num_stored or 0) >= 50 else 1000
    return Protocol(epochs, batch_size=64, augmentation=kind, strategy=strategy_of(kind, facts, model, cutmix=True),
                    schedule="idc", cutmix=0.0 if facts.dataset == "MNIST" and mosaics else 0.5)


def _idc_large(model, facts, kind):
    kind, many = kind or "imagenet", (facts.num_classes or 10) >= 100
    protocol = Protocol(_large_epochs(facts, many), batch_size=64, augmentation=kind, schedule="idc", cutmix=1.0,
                        strategy=strategy_of(kind, facts, model, cutmix=True))
    return replace(protocol, lr=0.1, weight_decay=1e-4, batch_size=128) if many else protocol


def _large_epochs(facts, many):
    """Return the epochs that are asked for, or those of IDC's table."""
    if facts.epochs is not None:
        return facts.epochs
    if facts.num_images is None:
        raise InputError("IDC's epochs on large images depend on the images per class; give num_images, or epochs")
    epochs = next((epochs for most, epochs in LARGE_EPOCHS if facts.num_images <= most), 300)
    return 2 * epochs // 300 * 100 if many else epochs


def dcbench(model: str, facts: DataFacts, kind: str | None = None) -> Protocol:
    """DC-BENCH: SGD 0.01, momentum 0.9, weight decay 5e-4, minibatches of 256, five networks, DC's schedule.

    One recipe for the sets of every method, varied by the augmentation: none (the evaluator's default) with 300 epochs,
    any other with 1000. Its names: dsa; autoaugment (CIFAR's policy, ImageNet's for Tiny ImageNet); randaugment (one
    operation); imagenet (crop with padding 4, flip, jitter of brightness, contrast and saturation by 0.4 and of hue by
    0.2); cifar (crop with padding 4, flip, then a hole of 16 x 16 filled with the mean colour). All but dsa are drawn
    once for a whole minibatch, on 8-bit pixels. The published comparisons report the best and the mean over
    augmentations. (Its program cuts to 8 bits, ours rounds; its Adam at 0.003 is an option that no default takes.)
    """
    kind = kind or "none"
    return Protocol(300 if kind == "none" else 1000, augmentation=kind, strategy=strategy_of(kind, facts, model))


def full(model: str, facts: DataFacts, kind: str | None = None) -> Protocol:
    """How the whole training set is trained: DSA's optimiser and augmentation, 100 epochs.

    Digits, which are few: 30 epochs and minibatches of 32, so that there are enough steps.
    """
    return replace(dsa(model, facts, kind), **(FULL_DIGITS if facts.dataset == "Digits" else FULL_EPOCHS))


def dd(model: str, facts: DataFacts, kind: str | None = None) -> StepProtocol:
    """Dataset Distillation: plain descent along the steps of a set, 10 batches 3 times over where it has none."""
    return StepProtocol()


def rtp(model: str, facts: DataFacts, kind: str | None = None) -> NamedProtocol:
    """RTP: SGD 0.01, momentum 0.9, no weight decay, minibatches of 640, 300 epochs at one learning rate, ten networks.

    As published without augmentation, or with one that is drawn anew for every step and image (siamese). The number of
    updates follows the number of images: a set of up to 640 has one in an epoch.
    """
    kind = kind or "none"
    return NamedProtocol(300, batch_size=640, weight_decay=0.0, augmentation=kind,
                         strategy=strategy_of(kind, facts, model), schedule="constant", name="rtp")


PROTOCOLS = {
    "dc": Published("300 epochs without augmentation; 1000 where DC augments",
                    "Zhao, Mopuri & Bilen, ICLR 2021", dc),
    "dsa": Published("1000 epochs with DSA's augmentation; also DM's", "Zhao & Bilen, ICML 2021 and WACV 2023", dsa),
    "mtt": Published("as dsa, at the step size that the set has learned", "Cazenavette et al., CVPR 2022", dsa,
                     learned=True),
    "idc": Published("stronger augmentation, CutMix, minibatches of 64", "Kim et al., ICML 2022", idc),
    "dcbench": Published("one recipe for all methods, varied by the augmentation",
                         "Cui et al., NeurIPS 2022 Datasets and Benchmarks; github.com/justincui03/dc_benchmark",
                         dcbench, augmentations=DCBENCH),
    "dd": Published("a few steps of plain descent, learned with the set, from a fresh or its own start",
                    "Wang et al., 2018", dd, augmentations={"none": "none"}, learned=True),
    "rtp": Published("300 epochs at one learning rate, minibatches of 640, neither augmentation nor weight decay",
                     "Deng & Russakovsky, NeurIPS 2022", rtp),
    "full": Published("the whole training set: 100 epochs of dsa", "this toolkit", full),
}
