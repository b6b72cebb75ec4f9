"""The adversary of hallucinators: it learns to see one base behind all its images, they learn to look different to it.

Liu et al., "Dataset Distillation via Factorization", NeurIPS 2022, with the losses of their published code.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

WIDTH, LR, MOMENTUM, TEMPERATURE = 128, 0.001, 0.9, 0.07   # as published
LAST_SIDE = 4                                              # of the last maps, where images allow it: 32x32 is published
PER_BLOCK = 4                                              # tensors: kernels and bias, gain and offset of the norm


def depth_for(im_size: Sequence[int]) -> int:
    """Return how many blocks bring images (H, W) to maps of about 4x4: 3 for 28 and 32, 4 for 64; at least 1."""
    return max(1, math.ceil(math.log2(min(im_size) / LAST_SIDE)))


class Adversary(nn.Module):
    """A ConvNet (3x3, 128 wide, instance norm, ReLU, average pooling) with a linear classifier.

    It is no part of what is learned for the set, and yet of the state of a run: its parameters `theta` (P,) and their
    `velocity` are buffers, and its steps of SGD are its own. Images are 2x2 at least: a norm layer would turn single
    pixels into its offset.
    """

    theta: Tensor
    velocity: Tensor

    def __init__(self, channel: int, num_classes: int, im_size: Sequence[int]) -> None:
        super().__init__()
        depth = depth_for(im_size)
        features = WIDTH * math.prod(side >> depth for side in im_size)
        self.shapes: list[tuple[int, ...]] = [
            shape for block in range(depth)
            for shape in ((WIDTH, WIDTH if block else channel, 3, 3), (WIDTH,), (WIDTH,), (WIDTH,))]
        self.shapes += [(num_classes, features), (num_classes,)]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        for name in ("theta", "velocity"):
            self.register_buffer(name, torch.zeros(sum(self.sizes)))

    @torch.no_grad()
    def draw(self, rng: torch.Generator) -> None:
        """Start afresh: layers uniform in ±1/sqrt(inputs of a unit), as PyTorch starts them, norms at 1 and 0."""
        parts = self._parts(self.theta)
        for number in range(0, len(parts), PER_BLOCK):
            bound = 1 / math.sqrt(parts[number][0].numel())
            for part in parts[number:number + 2]:
                part.copy_(bound * (2 * torch.rand(part.shape, generator=rng) - 1))
            for part, value in zip(parts[number + 2:number + PER_BLOCK], (1, 0)):
                part.fill_(value)
        self.velocity.zero_()

    def _parts(self, theta):
        return [part.view(shape) for part, shape in zip(theta.split(self.sizes), self.shapes)]

    def features(self, images: Float[Tensor, "n c h w"],
                 theta: Float[Tensor, " p"] | None = None) -> Float[Tensor, "n d"]:
        """(n, C, H, W) -> (n, D), none below 0; differentiable in the images, and in `theta` where it is given."""
        parts = self._parts(self.theta if theta is None else theta)
        for first in range(0, len(parts) - 2, PER_BLOCK):
            weight, bias, gain, offset = parts[first:first + PER_BLOCK]
            maps = F.group_norm(F.conv2d(images, weight, bias, padding=1), WIDTH, gain, offset)
            images = F.avg_pool2d(maps.relu(), 2)
        return images.flatten(1)

    def loss(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], of_classes: float, of_views: float,
             of_contrast: float, theta: Float[Tensor, " p"] | None = None) -> Float[Tensor, ""]:
        """Return L_F, a weighted sum of cross-entropy, attraction of views, and supervised contrast.

        `images` (2n, C, H, W) are n bases under one hallucinator, then the same under another; `labels` (2n,).
        """
        features = self.features(images, theta)
        weight, bias = self._parts(self.theta if theta is None else theta)[-2:]
        return (of_classes * F.cross_entropy(F.linear(features, weight, bias), labels)
                + of_views * (1 - similarity(*features.chunk(2)))
                + of_contrast * supervised_contrast(features, labels))

    @torch.enable_grad()
    def step(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], of_classes: float, of_views: float,
             of_contrast: float) -> None:
        """Take one step of SGD down `loss`; the images are constants."""
        theta = self.theta.detach().clone().requires_grad_()
        loss = self.loss(images.detach(), labels, of_classes, of_views, of_contrast, theta)
        (gradient,) = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            self.velocity.mul_(MOMENTUM).add_(gradient)
            self.theta.sub_(LR * self.velocity)


def similarity(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return L_cos, the mean of (cos(f, g) + 1) / 2 over rows f of `one` and g of `other`, (n, D) each: in [0, 1]."""
    return ((F.cosine_similarity(one, other) + 1) / 2).mean()


def supervised_contrast(features: Float[Tensor, "n d"], labels: Int[Tensor, " n"],
                        temperature: float = TEMPERATURE) -> Float[Tensor, ""]:
    """Return the supervised contrastive loss of features (n, D), which are brought to length 1, and labels (n,).

    Mean over a of -1/|P(a)| sum_{p in P(a)} log(exp(z_a z_p / t) / sum_{q != a} exp(z_a z_q / t)), where P(a) are all
    others of a's class; there has to be one. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
    """
    z = F.normalize(features, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    scores = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    positive = (labels[:, None] == labels) & ~itself
    logs = (scores - scores.logsumexp(1, keepdim=True)).masked_fill(~positive, 0)
    return -(logs.sum(1) / positive.sum(1)).mean()
