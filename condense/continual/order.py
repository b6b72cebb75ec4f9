"""Class orders, and the random memory that is drawn along with them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from condense.core.errors import InputError
from condense.data.real import RealData


@dataclass(frozen=True)
class ClassOrder:
    """The order in which one seed brings the classes: `steps`, a tuple of tuples of class ids, all of one size."""

    seed: int
    steps: tuple

    def seen(self, step: int) -> tuple[int, ...]:
        """Return the classes of steps 0..`step`, in the order they came."""
        return tuple(label for classes in self.steps[:step + 1] for label in classes)


def class_order(num_classes: int, steps: int, seed: int) -> ClassOrder:
    """Return the `ClassOrder` of `seed` with `steps` steps, as the published programs draw it.

    NumPy's legacy generator (`RandomState`), whose permutation of all classes is cut into equal steps. Raises
    ValueError where steps would be unequal (the published programs drop the classes left over) or of one class.
    """
    require_equal_steps(num_classes, steps)
    order = np.random.RandomState(seed).permutation(num_classes).tolist()
    size = num_classes // steps
    return ClassOrder(seed, tuple(tuple(order[first:first + size]) for first in range(0, num_classes, size)))


def require_equal_steps(num_classes: int, steps: int) -> None:
    """Raise ValueError, naming the numbers that do, unless `steps` cut `num_classes` into equal parts of 2 or more."""
    fit = [number for number in range(1, num_classes // 2 + 1) if num_classes % number == 0]
    if steps not in fit:
        raise InputError(f"--steps {steps} does not divide {num_classes} classes into equal steps of at least 2; use "
                         f"{' or '.join(map(str, fit))}")


def random_rows(real: RealData, order: ClassOrder, ipc: int) -> list[Int[Tensor, " n"]]:
    """Return the rows of `real` that the random memory of `order` holds: a list over steps of (classes * ipc,) int64.

    As published: the generator that drew the class order goes on, and permutes the images of each class in turn; the
    first `ipc` are taken. Images count in the order they came in, so that the same data give the same memory.
    Raises ValueError where a class has fewer images.
    """
    stream = np.random.RandomState(order.seed)
    stream.permutation(real.num_classes)                   # the class order itself
    return [torch.cat([_draw(stream, real.indices_of(label).cpu(), ipc) for label in classes])
            for classes in order.steps]


def _draw(stream, rows, ipc):
    """Return the first `ipc` of permuted `rows`, which lie in the order that the images of the class came in."""
    if len(rows) < ipc:
        raise InputError(f"a random memory of {ipc} images per class needs as many images of every class, but one "
                         f"class has {len(rows)}; lower --ipc, or compare at equal --compare bytes")
    return rows[torch.from_numpy(stream.permutation(len(rows))[:ipc])]
