"""Low-rank sets for the tests of them."""

import torch

from condense.synthetic.low_rank import LowRank


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_set(num_classes=3, channel=2, im_size=(5, 7), rank=2, num_per_class=4, seed=0):
    """A set with standard normal factors that belongs to no real data."""
    synthetic = LowRank(num_classes, 1, channel, im_size, rank, num_per_class)
    return synthetic.init_from(None, "noise", seeded(seed))
