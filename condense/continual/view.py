"""The test images of the classes seen so far, as evaluation takes a data set."""

from collections.abc import Iterable, Iterator

from jaxtyping import Float, Int
from torch import Tensor

from condense.data.real import RealData


class SeenClasses:
    """A part of `real` for `evaluate`: all its classes to guess, test images of `classes` alone.

    Networks have an output for every class of `real` (`spec`), so that they may guess one not seen yet; labels are the
    original ones. Test images keep their order.
    """

    def __init__(self, real: RealData, classes: Iterable[int]) -> None:
        self.real, self.spec, self.im_size, self.device = real, real.spec, real.im_size, real.device
        seen = real.test_labels.new_zeros(real.num_classes)
        seen[list(classes)] = 1
        rows = seen[real.test_labels].nonzero().flatten()
        self.test_images, self.test_labels = real.test_images[rows], real.test_labels[rows]

    def __len__(self) -> int:
        return len(self.test_labels)

    def test_batches(self, size: int = 256) -> Iterator[tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]]:
        """Yield (images as `real` normalises them, labels), `size` at a time, on the device."""
        for pixels, labels in zip(self.test_images.split(size), self.test_labels.split(size)):
            yield self.real.normalise(pixels), labels
