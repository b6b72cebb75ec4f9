"""Map sizes worked out before a network is built, so that an image it cannot take is refused at once.

A plan is a list of steps in forward order: `conv(kernel, padding, stride)`, `POOL` (2x2, stride 2, flooring)
and `INSTANCE` (instance norm). Refused are maps that vanish, and instance norm over fewer than three pixels:
of one pixel it leaves nothing and of two only the sign of their difference, so that the output would
not depend on the image, or have no gradient with respect to it.
"""

import bisect
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral

from condense.core.errors import InputError
from condense.core.types import Size

Step = tuple[str | int, ...]                      # its kind, then its numbers

MNIST_SIZE = (28, 28)
POOL: Step = ("pool",)
INSTANCE: Step = ("instance",)


class TooSmall(Exception):
    """The reason why a map of a plan cannot be computed."""


def conv(kernel: int, padding: int, stride: int = 1) -> Step:
    """Return the plan step of a square convolution."""
    return "conv", kernel, padding, stride


def as_pair(im_size: int | Sequence[int] | None, channel: int) -> Size:
    """Return (height, width) of an int, a pair, or None: 28x28 for one channel, 32x32 otherwise.

    Raises ValueError for anything that is not one or two positive whole numbers.
    """
    if im_size is None:
        return MNIST_SIZE if channel == 1 else (32, 32)
    pair = (int(im_size),) * 2 if isinstance(im_size, (int, Integral)) else tuple(int(side) for side in im_size)
    if len(pair) != 2 or min(pair) < 1:
        raise InputError(f"im_size must be one or two positive whole numbers, not {im_size!r}")
    return pair[0], pair[1]


def first_padding(channel: int, size: Size, usual: int, mnist: int) -> int:
    """Return the first layer's padding: `mnist`, which makes 28x28 one-channel images 32x32, or `usual`."""
    return mnist if channel == 1 and size == MNIST_SIZE else usual


def trace(plan: Iterable[Step], size: Size) -> list[Size]:
    """Return the map sizes after every step of `plan` for images of `size`; raises TooSmall."""
    maps = []
    for step in plan:
        size = _after(step, size)
        maps.append(size)
    return maps


def check(network: str, plan_of: Callable[[Size], list[Step]], size: Size, mend: str = "") -> None:
    """Raise ValueError unless the plan `plan_of(size)` has no map too small for images of `size`.

    The message gives the reason, `mend` where there is one, and the smallest image that works.
    """
    try:
        trace(plan_of(size), size)
    except TooSmall as reason:
        smallest = _smallest(plan_of)
        hint = f"{mend}, or " if mend else ""
        raise InputError(f"{network} cannot take {size[0]}x{size[1]} images: {reason}; "
                         f"use {hint}images of at least {smallest}x{smallest}") from None


def fits(plan: Iterable[Step], size: Size) -> bool:
    """Return whether no map of `plan` is too small for images of `size`."""
    try:
        trace(plan, size)
    except TooSmall:
        return False
    return True


def _after(step, size):
    height, width = size
    if step == INSTANCE:
        if height * width < 3:
            raise TooSmall(f"instance norm would see a {height}x{width} map and lose the image")
        return size
    if step == POOL:
        after = height // 2, width // 2
    else:
        _, kernel, padding, stride = step
        after = tuple((side + 2 * padding - kernel) // stride + 1 for side in size)
    if min(after) < 1:
        raise TooSmall(f"nothing would be left of a {height}x{width} map after {step[0]}")
    return after


def _smallest(plan_of):
    """Return the smallest side from which on images fit; found by doubling, then by halving the interval."""
    def enough(side):
        size = side, side + 1                     # not square, so never the 28x28 that some plans pad
        return fits(plan_of(size), size)

    upper = 1
    while not enough(upper):
        upper *= 2
    return 1 + bisect.bisect_left(range(1, upper + 1), True, key=enough)
