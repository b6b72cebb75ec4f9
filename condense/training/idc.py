"""IDC's recipes: how its sets are scored, and how the networks that it matches train on real images.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022. Both share learning rate,
minibatches and CutMix. "auto" leaves a value as published for the data.
"""

from collections.abc import Iterable
from dataclasses import replace

from condense.augmentation.siamese import default_strategy, parse_strategy
from condense.core.types import Described
from condense.training.protocols import Protocol
from condense.training.published import DataFacts, named_protocols

MIXUPS = ("auto", "cut", "vanilla")
USUAL_CUTMIX = 0.5                         # where a protocol has none


def is_large(real: Described) -> bool:
    """Say whether IDC takes the images of `real` for ImageNet's."""
    return DataFacts(real.name, min(real.im_size)).large


def idc_protocols(models: Iterable[str], real: Described, num_images: int | None, epochs: int | str = "auto",
                  lr: float | str = "auto", batch_size: int | str = "auto", mixup: str = "auto",
                  mix_p: float | str = "auto", strategy: str = "auto", factor: int = 1) -> dict[str, Protocol]:
    """Return {network name: `Protocol`} by which sets with `num_images` training images per class are scored.

    `mixup` "cut" mixes minibatches by CutMix with probability `mix_p`, which takes the place of cutout, and "vanilla"
    mixes none. `strategy` are the operators of a composed augmentation. `factor` is the
    number of tiles per side of a stored image. Raises ValueError as `parse_strategy` does.
    """
    return {model: _varied(protocol, real.name, mixup, mix_p, strategy) for model, protocol
            in _published(models, real, num_images, epochs, lr, batch_size, factor).items()}


def following_protocol(model: str, real: Described, strategy: str, lr: float | str = "auto",
                       batch_size: int | str = "auto", mixup: str = "cut", mix_p: float | str = "auto") -> Protocol:
    """Return the `Protocol` by which network `model` follows the real data: one learning rate, no end.

    Augmented by `strategy`, magnitudes per image; `mixup` and `mix_p` as in `idc_protocols`.
    """
    protocol = _published([model], real, None, 1, lr, batch_size)[model]
    return replace(protocol, augmentation="composed", strategy=_beside(mixup == "cut", strategy), schedule="constant",
                   cutmix=_probability(protocol, mix_p) if mixup == "cut" else 0.0)


def _published(models, real, num_images, epochs, lr, batch_size, factor=1):
    given = {"epochs": epochs, "lr": lr, "batch_size": batch_size}
    return named_protocols("idc", models, real, num_images=num_images, factor=factor,
                           **{name: None if value == "auto" else value for name, value in given.items()})


def _varied(protocol, dataset, mixup, mix_p, strategy):
    cut = protocol.cutmix > 0 if mixup == "auto" else mixup == "cut"
    probability = _probability(protocol, mix_p) if cut else 0.0
    if strategy != "auto":
        parse_strategy(strategy)
        return replace(protocol, cutmix=probability, augmentation="composed", strategy=strategy)
    if cut != (protocol.cutmix > 0) and protocol.augmentation == "composed":
        protocol = replace(protocol, strategy=_beside(cut, default_strategy(dataset)))
    return replace(protocol, cutmix=probability)


def _probability(protocol, mix_p):
    """Return how likely a minibatch is mixed where any is."""
    return (protocol.cutmix or USUAL_CUTMIX) if mix_p == "auto" else mix_p


def _beside(cut, strategy):
    """Return the operators of `strategy` that are used with CutMix: all but cutout."""
    return "_".join(name for name in parse_strategy(strategy) if not (cut and name == "cutout")) or "none"
