"""Test a network: the fraction of images that it classifies correctly, and the confusion of classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from condense.core.types import Forward, Tested


@torch.no_grad()
def guesses(net: nn.Module, real: Tested, forward: Forward | None = None,
            batch_size: int = 256) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Return (labels (n,), guesses (n,)) on `real`'s test images, int64 on the device; nothing syncs before.

    `real` has `test_batches(size)`, which yields (images, labels). `forward` (default `net`) maps images to logits.
    """
    forward = forward or net
    net.eval()
    pairs = [(labels, forward(images).argmax(-1)) for images, labels in real.test_batches(batch_size)]
    net.train()
    labels, guessed = zip(*pairs)
    return torch.cat(labels), torch.cat(guessed)


def accuracy(net: nn.Module, real: Tested, forward: Forward | None = None, batch_size: int = 256) -> Float[Tensor, ""]:
    """Return the fraction of `real`'s test images that `net` classifies correctly; arguments as of `guesses`."""
    return fraction_right(*guesses(net, real, forward, batch_size))


def fraction_right(labels: Int[Tensor, " n"], guessed: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the fraction of `guessed` (n,) that equal `labels` (n,), a float32 tensor."""
    return (guessed == labels).sum(dtype=torch.float32) / len(labels)


def confusion_counts(labels: Int[Tensor, " n"], guessed: Int[Tensor, " n"], num_classes: int) -> Int[Tensor, "k k"]:
    """Return (K, K) int64: how many images of the true class (row) were taken for each class (column)."""
    cells = torch.bincount(labels * num_classes + guessed, minlength=num_classes**2)
    return cells.view(num_classes, num_classes)
