"""Real digits as raw pixels, from which tests make sets in every space."""

import torch


def chosen(digits, ipc=10, seed=1):
    """Raw pixels of real images in double precision, and their labels."""
    batch = digits.sample(digits.classes, ipc, torch.Generator().manual_seed(seed))
    return digits.images[batch.index].double() / 255, batch.labels.clone()
