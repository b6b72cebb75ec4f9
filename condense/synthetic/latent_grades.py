"""How large codes and decoders are, and how many of them a budget holds. All figures are our proposal.

The paper that codes and decoders are from (see `condense.synthetic.latent_decoder`) published none of its own.
"""

import math
from dataclasses import dataclass

from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.synthetic.decoders import Architecture, architecture_for, num_layers, sizes

# name: (channels L of a code, channels between the layers)
GRADES = {"XS": (12, (12, 6)), "S": (12, (16, 8)), "M": (24, (32, 16)), "B": (48, (48, 24)),
          "D1": (6, (8, 4)), "D10": (8, (16, 8)), "D50": (16, (32, 16)),
          "T1": (48, (48, 24, 12)), "T10": (96, (64, 32, 16))}

# (classes, channels, sides): {images per class that are stored: (grade, decoders)}
CELLS = {(10, 3, (32, 32)): {1: ("XS", 4), 10: ("M", 4), 50: ("B", 4)},
         (100, 3, (32, 32)): {1: ("S", 10), 10: ("B", 4)},
         (10, 1, (28, 28)): {1: ("D1", 2), 10: ("D10", 4), 50: ("D50", 4)},
         (200, 3, (64, 64)): {1: ("T1", 4), 10: ("T10", 4)}}

LARGEST_CODE = 4                           # a code has at most 1/4 of the numbers of an image
SHARE = 3                                  # decoders take at most 1/3 of the budget
NUMBERS = (4, 2, 1)                        # of decoders, the first that fits


@dataclass(frozen=True)
class Plan:
    """`codes_per_class` codes (M) and `number` decoders (D) of one `architecture`."""

    architecture: Architecture
    number: int
    codes_per_class: int


@dataclass(frozen=True)
class LatentChoices:
    """What to plan for: the set's shape and budget, and whatever its user has decided ("auto" or () is open)."""

    num_classes: int
    ipc: int
    channel: int
    im_size: tuple
    grade: str = "auto"
    latent_channels: int | str = "auto"
    hidden: tuple = ()
    number: int | str = "auto"
    codes: int | str = "auto"

    @property
    def image_floats(self) -> int:
        return self.channel * math.prod(self.im_size)

    @property
    def budget(self) -> int:
        return self.num_classes * self.ipc * self.image_floats

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of decoders to try."""
        return NUMBERS if self.number == "auto" else (self.number,)              # type: ignore[return-value]

    def room(self, architecture: Architecture, number: int) -> int:
        """Return how many codes per class fit with `number` decoders: floor((budget - D P) / (K z)); negative: none.

        P are the numbers of a decoder, z those of a code.
        """
        left = self.budget - number * architecture.decoder_floats
        return left // (self.num_classes * architecture.code_floats)

    def fits(self, architecture: Architecture, number: int) -> bool:
        """Whether the codes asked for fit; where none are, one for each class."""
        return self.room(architecture, number) >= (1 if self.codes == "auto" else self.codes)    # type: ignore[operator]


def plan(choices: LatentChoices) -> Plan:
    """Return the `Plan` for a `LatentChoices`, all of which fits into its budget.

    What is given is taken as it is. In a cell of CELLS, grade and decoders are those of the cell. Elsewhere, or where
    these do not fit what is given, grade "auto" tries codes of 1/4, 1/8, 1/16, ... of the numbers of an image, with
    L, L / 2, ... channels between the layers of decoders, and of each four decoders, then two: the first that fits
    with decoders which take a third of the budget at most; where there is none, the smallest code with four, two
    or one. Codes are as many as then fit. Raises ValueError, naming the mend, for channels that do not go with the
    image size, and where nothing fits.
    """
    _check(choices)
    candidates = list(_candidates(choices))
    for architecture, number in candidates:
        if choices.fits(architecture, number):
            codes = choices.room(architecture, number) if choices.codes == "auto" else choices.codes
            return Plan(architecture, number, codes)       # type: ignore[arg-type]
    raise InputError(_no_room(choices, *candidates[-1]))


def _check(choices):
    """Raise ValueError for a grade, or a number of hidden channels, that the image size does not go with."""
    layers, size = num_layers(choices.im_size), "{}x{}".format(*choices.im_size)
    if choices.hidden and len(choices.hidden) != layers - 1:
        raise InputError(f"--latent_hidden has {len(choices.hidden)} number{'s' * (len(choices.hidden) > 1)}, but "
                         f"decoders of {size} images, of {layers} layers, take {layers - 1}; give {layers - 1}")
    if choices.grade == "auto":
        return
    _, hidden = lookup(GRADES, choices.grade, "grade")
    if len(hidden) != layers - 1 and not choices.hidden:
        fit = [name for name, (_, widths) in GRADES.items() if len(widths) == layers - 1]
        raise InputError(f"--latent_grade {choices.grade} has {len(hidden) + 1} layers, but decoders of {size} images "
                         f"have {layers}; use one of: {', '.join(['auto', *fit])}")


def _candidates(choices):
    """Yield (architecture, number of decoders), the best first."""
    grade, number = CELLS.get((choices.num_classes, choices.channel, tuple(choices.im_size)), {}).get(
        choices.ipc, (None, None))
    untouched = choices.latent_channels == "auto" and not choices.hidden
    if grade and untouched and choices.grade in ("auto", grade):
        yield _architecture(choices, *GRADES[grade]), number if choices.number == "auto" else choices.number
    if choices.grade == "auto":
        forms = [(channels, choices.hidden or _halves(choices, channels)) for channels in _code_channels(choices)]
    else:
        latent_channels, hidden = GRADES[choices.grade]
        forms = [(latent_channels, choices.hidden or hidden)]
    yield from _numbered(choices, [_architecture(choices, *form) for form in forms])


def _numbered(choices, architectures):
    """Yield each architecture with each number of decoders that takes its share, then the last with any number."""
    for architecture in architectures:
        for number in choices.numbers():
            if SHARE * number * architecture.decoder_floats <= choices.budget and (number > 1 or choices.number == 1):
                yield architecture, number
    yield from ((architectures[-1], number) for number in choices.numbers())


def _architecture(choices, latent_channels, hidden):
    """Return the architecture of a grade, or of what is given in its place."""
    channels = latent_channels if choices.latent_channels == "auto" else choices.latent_channels
    return architecture_for(choices.channel, choices.im_size, channels, hidden)


def _code_channels(choices):
    """Return the channels of codes to try, from those of the largest code down to one."""
    if choices.latent_channels != "auto":
        return [choices.latent_channels]
    places = math.prod(sizes(choices.im_size)[0])
    found, part = [], LARGEST_CODE
    while not found or found[-1] > 1:
        found.append(max(1, round(choices.image_floats / (part * places))))
        part *= 2
    return found


def _halves(choices, channels):
    """Return the channels between the layers of a code of so many: as many, then half, a quarter, ..."""
    return tuple(max(1, channels >> layer) for layer in range(num_layers(choices.im_size) - 1))


def _no_room(choices, architecture, number):
    """Word the error for a budget that holds too few codes, with whatever is fewer, and the smallest ipc, that fit."""
    codes, classes = 1 if choices.codes == "auto" else choices.codes, choices.num_classes
    each, decoder = classes * architecture.code_floats, architecture.decoder_floats
    fewer = [("n_decoder", (choices.budget - codes * each) // decoder, number),
             ("codes_per_class", choices.room(architecture, number), codes)]
    mends = "".join(f"--{name} {fits} or less, or " for name, fits, asked in fewer if 1 <= fits < asked)
    smallest = -(-(number * decoder + codes * each) // (classes * choices.image_floats))
    return (f"the storage of --ipc {choices.ipc} does not hold {codes} code{'s' * (codes > 1)} of "
            f"{architecture.code_floats:,} numbers for each of {classes} classes next to {number} decoder"
            f"{'s' * (number > 1)} of {decoder:,}; use {mends}--ipc {smallest} or more")
