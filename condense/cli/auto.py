"""What `auto` stands for, in one place."""

from typing import Any

from condense.augmentation import default_strategy, parse_strategy
from condense.data import default_side
from condense.networks import network_for


def check_strategy(given: str) -> None:
    """Raise InputError for an augmentation of no known operators; auto is one."""
    parse_strategy("none" if given == "auto" else given)


def strategy_for(given: str, dataset: str) -> str:
    """Return the Siamese augmentation: as given, or that of the papers for `dataset`, which flips no digits."""
    return default_strategy(dataset) if given == "auto" else given


def cadence_for(given: Any, every: int, eval_mode: str) -> int:
    """Return the iterations between evaluations: as given, or `every`; pools are scored at the end alone (0)."""
    if given != "auto":
        return given
    return every if eval_mode in ("S", "SS") else 0


def model_for(given: str, dataset: str, im_size: int | None) -> str:
    """Return the network's name: as given, or a ConvNet as deep as the images of `dataset` need."""
    return network_for(default_side(dataset, im_size)) if given == "auto" else given


def number_or_all(given: Any) -> int | None:
    """Return a number of images as given; None, which takes all, for the words that mean it: 'all' and -1."""
    return None if given in ("all", -1) else given
