"""Types that the annotations of several rooms name. A tensor's letters are its axes: "n c h w" as in the docstrings."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor
from torch import device as Device

Size = tuple[int, int]                                              # (height, width)
Labels = Int[Tensor, " n"] | Float[Tensor, "n k"]                   # classes, or probabilities of k classes
Rows = slice | Int[Tensor, " m"]                                    # some images of a set, by position
# what picks images of a synthetic set: positions, or a mask
Index = slice | Sequence[int] | Int[ndarray, " _"] | Int[Tensor, " _"] | Bool[Tensor, " _"]
Forward = Callable[[Tensor], Tensor]                                # images (n, c, h, w) -> logits or features
Groups = Sequence[int] | Int[ndarray, " n"]                         # on the host: which group each image belongs to
Augment = Callable[[Tensor, Int[ndarray, " n"]], Tensor]            # (images, class positions) -> images
Tick = Callable[[], object]                                         # called after every epoch


class LabelledImages(Protocol):
    """What networks train on: a synthetic set, a batch of real images, tensors."""

    @property
    def labels(self) -> Shaped[Tensor, " n *k"]:
        """Classes (n,) int64, or probabilities (n, k)."""

    def images(self, index: Rows, /) -> Float[Tensor, "m c h w"]:
        """Return the images at `index`, normalised."""


class ClassMajor(LabelledImages, Protocol):
    """Labelled images class after class: `counts` says how many of each."""

    @property
    def counts(self) -> list[int]:
        """How many images there are of each class."""

    def images(self, index: Rows | None = None, /) -> Float[Tensor, "m c h w"]:
        """Return the images at `index`, normalised; all of them for None."""


class Described(Protocol):
    """What published protocols go by: a data set, or what is known of one."""

    @property
    def name(self) -> str:
        """The data set's name."""

    @property
    def im_size(self) -> Size:
        """(height, width)."""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""


class Tested(Protocol):
    """What networks are scored on: real data, or a part of them."""

    @property
    def spec(self) -> tuple[int, int, Size]:
        """(channel, num_classes, im_size): what a network needs to know."""

    @property
    def im_size(self) -> Size:
        """(height, width)."""

    @property
    def device(self) -> Device:
        """Where the images are."""

    @property
    def test_labels(self) -> Int[Tensor, " n"]:
        """The classes of the test images."""

    def test_batches(self, size: int, /) -> Iterator[tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]]:
        """Yield (images, labels), `size` at a time, on the device."""
