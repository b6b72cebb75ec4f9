"""Find the space of a set's pixels, and hold the real data in each space that is needed."""

import copy
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data import RealData, Whitening
from condense.data.constants import PUBLISHED
from condense.data.space import SPACES, Space
from condense.sharing.likeness import ASK, nearest_space
from condense.sharing.stored import SetFile

log = logging.getLogger("condense")


class Spaces:
    """The real data of a set in whichever space is needed, each loaded once: `load(zca)` returns a `RealData`."""

    def __init__(self, load: Callable[[bool], RealData]) -> None:
        self.load = load
        self._whitened = {}

    @cached_property
    def normalised(self) -> RealData:
        return self.load(False)

    def whitened(self, state: Mapping[str, Any] | None = None) -> RealData:
        """Return the data whitened by the transform `state` (`Whitening.state()`), or by one fitted anew for None.

        A fitted one is equal to the set's own only if that was fitted on the same images, which a warning says.
        """
        whitening = Whitening.from_state(state) if state is not None else None
        key = whitening and whitening.fingerprint
        if key not in self._whitened:
            self._whitened[key] = self._with(whitening) if whitening else self._refitted()
        return self._whitened[key]

    def _with(self, whitening):
        real = copy.copy(self.normalised)                  # the pixels are shared until `whiten` puts others there
        real.whiten(whitening)
        return real

    def _refitted(self):
        log.warning("the set does not hold its ZCA whitening, so one is fitted on the training images; it is the same "
                    "only if the set's was fitted on these images with eps 0.1")
        return self.load(True)


def space_of(file: SetFile, spaces: Spaces, space: str | None = None) -> tuple[str, str]:
    """Return (space of the pixels of `file`, how it is known in words); `space` overrides what the file says.

    Raises ValueError asking for --space where neither the file nor statistics of its pixels decide.
    """
    if space is not None:
        lookup(dict.fromkeys(SPACES), space, "space")
        other = f", though {file.said_by} that it is {file.space}" if file.space not in (None, space) else ""
        return space, f"{space}, as --space says{other}"
    if file.space is not None:
        return file.space, f"{file.space}: {file.said_by}"
    if file.layout == "idc":                               # statistics are those of whole images, not of mosaics
        pixels = file.sets[0].images
        raise InputError(f"{file.path} is named as multi-formation names its raw pixels, but these run from "
                         f"{float(pixels.min()):.2f} to {float(pixels.max()):.2f}; {ASK}")
    return nearest_space(file, spaces)


def source_space(file: SetFile, name: str, real: RealData) -> tuple[Space, str | None]:
    """Return (the `Space` of the pixels of `file` in the space `name`, words about it or None): `real`'s where it is.

    A file says it itself, or is named after a data set of published constants. Trajectory matching's code takes those
    of CIFAR-10 for CIFAR-100, too.
    """
    if name == "raw":
        return Space("raw"), None
    own = Space.of(real)
    if name == "zca":
        return own, None
    stated, words = stated_space(file, real.name)
    if stated is None or stated == own or len(stated.mean) != real.channel:  # type: ignore[arg-type]
        return own, None
    return stated, f"taken from {words} to the data set's"


def stated_space(file: SetFile, dataset: str | None = None) -> tuple[Space | None, str | None]:
    """Return (`Space` of the normalised pixels of `file`, whose it is in words), (None, None) where unknown.

    `dataset` is the one it is used with, for files that do not name theirs.
    """
    if file.mean is not None and file.std is not None:
        return Space("normalised", tuple(file.mean), tuple(file.std)), "the mean and std that it states"
    name = file.dataset or dataset
    if file.layout == "mtt" and name == "CIFAR100":
        return PUBLISHED["CIFAR10"], "CIFAR-10's mean and std, which trajectory matching used for CIFAR-100,"
    if name in PUBLISHED:
        return PUBLISHED[name], f"the published mean and std of {name}"
    return None, None
