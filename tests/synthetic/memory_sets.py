"""Addressable memories for the tests of them."""

import torch

from condense.synthetic.memory import AddressableMemory


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_memory(num_classes=3, channel=2, im_size=(4, 6), n_basis=5, scale=2, num_per_class=4, seed=0):
    """A memory with standard normal tables, in double precision, that belongs to no real data."""
    memory, rng = AddressableMemory(num_classes, 1, channel, im_size, n_basis, scale, num_per_class).double(), seeded(
        seed)
    with torch.no_grad():
        for table in (memory.bases, memory.coefficients):
            table.copy_(torch.randn(table.shape, generator=rng, dtype=torch.float64))
    return memory
