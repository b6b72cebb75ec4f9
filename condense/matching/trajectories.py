"""Trajectory matching: the student, a network as a function of one flat vector, and what its steps see.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022, algorithm 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from condense.core.types import Labels, Rows
from condense.matching.unrolling import gradient
from condense.operators import Compute


class Student:
    """`net`'s architecture as a function of a flat parameter vector (P,), in the order of `net.parameters()`.

    `compute` is the device policy; minibatches go through `chunk` images at a time. The parameters of `net` itself
    are not used.
    """

    def __init__(self, net: nn.Module, compute: Compute, chunk: int | None = None) -> None:
        self.net, self.chunk = net, chunk
        self.names = [name for name, _ in net.named_parameters()]
        self.shapes = [parameter.shape for parameter in net.parameters()]
        self.sizes = [shape.numel() for shape in self.shapes]
        self.forward, self.twice = (compute.wrap_stacked(self._call, twice=twice) for twice in (False, True))

    def parameters(self, theta: Float[Tensor, " p"]) -> dict[str, Tensor]:
        """Split (P,) into {name: parameter}, as views."""
        parts = theta.split(self.sizes)
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes)}

    def _call(self, theta, images):
        return functional_call(self.net, self.parameters(theta), (images,))

    def logits(self, theta: Float[Tensor, " p"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """(P,), (n, C, H, W) -> (n, K), differentiable once."""
        return self.forward(theta, images.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def logits_of(self, theta: Float[Tensor, " p"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The same for any number of images, a chunk at a time; no gradient."""
        return torch.cat([self.logits(theta, part) for part in images.split(self.chunk or len(images))])

    def gradient(self, theta: Float[Tensor, " p"], images: Float[Tensor, "n c h w"],
                 targets: Labels) -> Float[Tensor, " p"]:
        """Gradient (P,) of the mean cross-entropy on images (n, C, H, W) with targets (n,) or probabilities (n, K).

        Differentiable in all three where gradients are recorded.
        """
        forward = self.twice if torch.is_grad_enabled() else self.forward
        images = images.contiguous(memory_format=torch.channels_last)
        chunk = self.chunk or len(images)

        def error(theta, x, y):
            return F.cross_entropy(forward(theta, x), y, reduction="sum") / len(images)

        return sum(gradient(lambda theta: error(theta, x, y), theta)         # type: ignore[return-value]  # noqa: B023
                   for x, y in zip(images.split(chunk), targets.split(chunk)))                   # called at once


def student_minibatches(num_images: int, size: int, num_steps: int, rng: torch.Generator,
                        device: torch.device | str = "cpu", views: int = 1) -> list[Rows]:
    """Return which images each of `num_steps` steps sees: index tensors on `device`, or slices where it is all of them.

    A random order of all images is cut into minibatches of `size`; they are used from the end, the short
    remainder first, and when none is left a new order is drawn: as the published code does. Where every `views` images
    in a row are views of one thing, minibatches of `size` things are drawn so, and for each of them one view.
    """
    if views > 1:
        things = student_minibatches(num_images // views, size, num_steps, rng, device)
        chosen = torch.randint(views, (num_steps,), generator=rng).tolist()
        return [slice(view, None, views) if isinstance(rows, slice) else rows * views + view
                for rows, view in zip(things, chosen)]
    if size >= num_images:
        return [slice(None)] * num_steps
    left, batches = [], []
    for _ in range(num_steps):
        left = left or list(torch.randperm(num_images, generator=rng).split(size))
        batches.append(left.pop())
    sizes = [len(batch) for batch in batches]
    return list(torch.cat(batches).to(device).split(sizes)) if batches else []         # one copy for all steps


def start_epochs(it: int, first: int, last: int, window: tuple[int, int] | None = None) -> range:
    """Return the range of epochs that a segment may start from at iteration `it`: first .. last - 1.

    With `window` (end at the beginning, iterations) the upper end grows linearly from the former to `last` within
    the latter: U(it) = min(T+, T + floor((T+ - T) it / expansion)). Guo et al., "Towards Lossless Dataset
    Distillation via Difficulty-Aligned Trajectory Matching", ICLR 2024.
    """
    if window:
        begin, expansion = window
        last = min(last, begin + (last - begin) * it // expansion)
    return range(first, last)
