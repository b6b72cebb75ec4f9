"""Know the space a set's pixels are in, and place it beside the real data that live there."""

import copy
import logging
from dataclasses import dataclass
from functools import cached_property

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.data import RealData, Whitening
from condense.sharing.classes import class_numbers, require_shape
from condense.sharing.conversion import PUBLISHED, SPACES, Constants, from_pixels, to_pixels
from condense.sharing.likeness import ASK, nearest_space
from condense.synthetic.multi_formation import decode as decode_tiles
from condense.training import TensorSet

__all__ = ["SPACES", "Constants", "Placed", "Spaces", "from_pixels", "place", "space_of", "to_pixels"]

log = logging.getLogger("condense")


class Spaces:
    """The real data of a set in whichever space is needed, each loaded once: `load(zca)` returns a `RealData`."""

    def __init__(self, load):
        self.load = load
        self._whitened = {}

    @cached_property
    def normalised(self):
        return self.load(False)

    def whitened(self, state=None):
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
        log.warning("the set does not hold the ZCA it was whitened with: one is fitted on the training images in its "
                    "place, which is the same only if its own was fitted on these images with eps 0.1")
        return self.load(True)


@dataclass(frozen=True)
class Placed:
    """A set beside the real data it lives with.

    `real` is normalised or whitened; `sets` and `best` are `TensorSet`s on its device and in its space, decoded.
    `space` is the one the file has, `evidence` says in words how that is known; `decode` is the factor applied.
    """

    real: RealData
    sets: list
    best: list
    space: str
    evidence: str
    decode: int


def place(file, spaces, space=None, decode=None):
    """Return the sets of `file` (a `SetFile`) as a `Placed`, ready to train on and to test with its `real`.

    Whitened sets stay whitened, with the transform they bring; normalised ones and raw ones become normalised with
    the data's own constants. `space` and `decode` override what the file says. Raises ValueError in one line where
    the space or the decode factor is unknown, and where images or classes are not the data's.
    """
    factor = file.factor(decode)
    require_shape(file, spaces.normalised)
    space, evidence = space_of(file, spaces, space)
    real = spaces.whitened(file.zca) if space == "zca" else spaces.normalised
    convert, how = _conversion(file, space, real, factor)
    renumber, words = class_numbers(file, real)
    sets, best = ([_tensor_set(one, convert, renumber, factor, real) for one in of] for of in (file.sets, file.best))
    return Placed(real, sets, best, space, "; ".join(filter(None, [evidence, how, words])), factor)


def space_of(file, spaces, space=None):
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


def _conversion(file, space, real, factor):
    """Return (function from stored to placed images, what it does in words), both None where nothing is to be done."""
    source, how = source_constants(file, space, real)
    target = "zca" if space == "zca" else "normalised"
    if space == target and factor == 1 and source is real:
        return None, None
    words = [how, "normalised with the data set's constants" if space == "raw" else None,
             f"decoded by factor {factor}" if factor > 1 else None]

    def convert(images):
        return from_pixels(decode_tiles(to_pixels(images, space, source), factor), target, real)

    return convert, ", ".join(filter(None, words))


def source_constants(file, space, real):
    """Return (what the pixels of `file` in `space` were made with, words about it or None): `real` where that is it.

    A file says it itself, or is named after a data set of published constants. Trajectory matching's code takes those
    of CIFAR-10 for CIFAR-100, too.
    """
    if space != "normalised":
        return real, None
    constants, words = stated_constants(file, real.name)
    if constants is None or _same(constants, real) or len(constants.mean) != real.channel:
        return real, None
    return constants, f"taken from {words} to the data set's"


def stated_constants(file, dataset=None):
    """Return (`Constants` of the normalised pixels of `file`, whose they are in words), (None, None) where unknown.

    `dataset` is the one it is used with, for files that do not name theirs.
    """
    if file.mean is not None and file.std is not None:
        return Constants(file.mean, file.std), "the mean and std that it states"
    name = file.dataset or dataset
    if file.layout == "mtt" and name == "CIFAR100":
        return PUBLISHED["CIFAR10"], "CIFAR-10's mean and std, which trajectory matching used for CIFAR-100,"
    if name in PUBLISHED:
        return PUBLISHED[name], f"the published mean and std of {name}"
    return None, None


def _same(constants, real):
    return tuple(constants.mean) == tuple(real.mean) and tuple(constants.std) == tuple(real.std)


def _tensor_set(one, convert, renumber, factor, real):
    images = one.images if convert is None else convert(one.images)
    labels = renumber(one.labels)
    labels = labels.repeat(factor**2, *[1] * (labels.dim() - 1))              # tiles are slow, images fast
    return TensorSet(images.to(real.device), labels.to(real.device))
