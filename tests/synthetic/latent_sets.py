"""Latent codes and decoders for the tests of them."""

import torch
import torch.nn.functional as F

from condense.synthetic.latent_decoder import LatentDecoder

SMALL = dict(latent_channels=3, latent_hidden=(4,), n_decoder=3, codes_per_class=2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_set(num_classes=3, ipc=10, channel=2, im_size=(8, 8), seed=0, **options):
    """A set with random codes, decoders and biases, in double precision, that belongs to no real data."""
    latent, rng = LatentDecoder(num_classes, ipc, channel, im_size, **{**SMALL, **options}).double(), seeded(seed)
    with torch.no_grad():
        for parameter in latent.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return latent


def decoded_one_by_one(latent):
    """All images of a set, each code through each decoder with PyTorch's own single transposed convolution."""
    images = []
    for code in latent.codes:
        for d in range(latent.plan.number):
            x = code[None]
            for layer, (weight, bias) in enumerate(zip(latent.decoders.weights, latent.decoders.biases)):
                x = x if layer == 0 else F.leaky_relu(x, 0.2) if latent.act == "leaky" else x.clamp(min=0)
                x = F.conv_transpose2d(x, weight[d], bias[d], stride=2, padding=1)
            if latent.out == "sigmoid":
                x = (1 / (1 + torch.exp(-x)) - latent.mean.view(-1, 1, 1)) / latent.std.view(-1, 1, 1)
            images.append(x[0])
    return torch.stack(images)
