"""The labels of a synthetic set: the class of each image, or soft labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Labels(nn.Module):
    """Called without arguments it returns what networks learn of each image.

    `classes` (n,) int64 are the classes of the images, `logits` None, or of soft labels (n / views, K): all `views`
    images of one thing have the same, probabilities that are the softmax of its logits.
    """

    classes: Tensor
    logits: nn.Parameter | None

    def __init__(self, classes: Int[Tensor, " n"], views: int = 1) -> None:
        super().__init__()
        self.register_buffer("classes", classes)
        self.register_parameter("logits", None)
        self.views = views

    def forward(self) -> Int[Tensor, " n"] | Float[Tensor, "n k"]:
        """Return `classes`, or soft labels (n, K), differentiable in `logits`."""
        if self.logits is None:
            return self.classes
        return self.logits.softmax(1).repeat_interleave(self.views, 0)

    def use_soft(self, logits: Float[Tensor, "m k"], learned: bool = True) -> None:
        """From now on labels are softmax(`logits`), (n, K); `learned` says whether they are parameters to learn.

        All views of one thing have the same: that of the mean of their logits. `logits` may be these means already,
        (n / views, K).
        """
        if len(logits) == len(self.classes):
            logits = logits.unflatten(0, (-1, self.views)).mean(1)
        self.logits = nn.Parameter(logits.detach().to(torch.float32).clone(), requires_grad=learned)

    def stored(self) -> int:
        """Return how many numbers soft labels take; 0 for classes, which are not counted."""
        return 0 if self.logits is None else self.logits.numel()
