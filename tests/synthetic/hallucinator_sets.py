"""Bases and hallucinators for the tests of them, and hallucinators written as PyTorch's own layers."""

import torch
from torch import nn

from condense.synthetic.hallucinator import HallucinatedBases


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_set(num_classes=3, channel=2, im_size=(5, 6), n_style=4, bases_per_class=2, seed=0, **options):
    """A set in double precision that belongs to no real data, with nothing at its start value but the adversary."""
    synthetic, rng = HallucinatedBases(num_classes, 1, channel, im_size, n_style, bases_per_class=bases_per_class,
                                       **options).double(), seeded(seed)
    with torch.no_grad():
        for parameter in synthetic.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    if synthetic.adversary:
        synthetic.adversary.draw(rng)
    return synthetic


def as_layers(synthetic, j):
    """Return hallucinator `j` as a function of one base, made of PyTorch's layers."""
    own = {name: parameter[j].detach() for name, parameter in synthetic.hallucinators.named_parameters()}
    encoder = nn.Conv2d(own["encoder"].shape[1], own["encoder"].shape[0], 3).double()
    decoder = nn.ConvTranspose2d(*own["decoder"].shape[:2], 3).double()
    encoder.load_state_dict({"weight": own["encoder"], "bias": own["encoder_bias"]})
    decoder.load_state_dict({"weight": own["decoder"], "bias": own["decoder_bias"]})
    return lambda base: decoder(own["scale"] * encoder(base[None]) + own["shift"])[0]
