"""Small decoders that turn latent codes into images by transposed convolutions, all of them at once.

Lee, Lee & Hwang, "Dataset Condensation with Latent Space Knowledge Factorization and Sharing", arXiv 2208.10494,
2022, shares such decoders between classes. What they look like was not published; everything here is our proposal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from condense.core.registry import lookup
from condense.core.types import Forward

CODE_SIDE = 4                              # what the smaller side of a code comes as near to as it can
FEWEST_LAYERS = 2                          # one alone would be linear
ACTIVATIONS: dict[str, Forward] = {"relu": F.relu, "leaky": partial(F.leaky_relu, negative_slope=0.2)}


@dataclass(frozen=True)
class Architecture:
    """What the decoders of one set have in common, made by `architecture_for`.

    `channels` (L, h1, ..., C) before, between and after the layers, `kernels` (kh, kw) of each layer, `code_size`
    (h, w) of a code.
    """

    channels: tuple
    kernels: tuple
    code_size: tuple

    @property
    def code_floats(self) -> int:
        """Numbers in one code."""
        return self.channels[0] * math.prod(self.code_size)

    @property
    def decoder_floats(self) -> int:
        """Numbers in one decoder, biases included."""
        return sum(c_in * c_out * math.prod(kernel) + c_out for c_in, c_out, kernel in self.layers())

    def layers(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Return (channels in, channels out, kernel) of each layer."""
        return list(zip(self.channels, self.channels[1:], self.kernels))


def num_layers(im_size: Sequence[int]) -> int:
    """Return how many layers make images of `im_size` (H, W): those whose code is nearest to 4 on its smaller side."""
    side = min(im_size)
    depths = range(FEWEST_LAYERS, FEWEST_LAYERS + side.bit_length())
    return min(depths, key=lambda depth: abs(-(-side // 2**depth) - CODE_SIDE))


def sizes(im_size: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the sizes (h, w) before, between and after the layers, from that of a code to `im_size`."""
    depth = num_layers(im_size)
    return [tuple(-(-side // 2**(depth - layer)) for side in im_size) for layer in range(depth + 1)]


def architecture_for(channel: int, im_size: Sequence[int], latent_channels: int, hidden: Sequence[int]) -> Architecture:
    """Return the `Architecture` that makes images (channel, *im_size) from codes of `latent_channels`.

    `hidden` are the channels between the layers, one number fewer than `num_layers`. Each layer has stride 2 and
    padding 1; where it has to end at an odd side, its kernel is 3 (s -> 2 s - 1), else 4 (s -> 2 s).
    """
    code_size, *after = sizes(im_size)
    kernels = tuple(tuple(4 - side % 2 for side in size) for size in after)
    return Architecture((latent_channels, *hidden, channel), kernels, code_size)


class Decoders(nn.Module):
    """`number` decoders of one `architecture`: (n, D, L, h, w) codes, one for each decoder -> (n, D, C, H, W).

    Parameters `weights` (D, in, out, kh, kw) and `biases` (D, out) of each layer, float32, 0 until they are drawn.
    Each layer is one grouped convolution for all decoders: on a CPU about as fast as decoder after decoder for the
    larger ones, up to twice as fast for the small ones, and on a GPU a few kernels, however many decoders there are.
    Raises ValueError for an unknown activation.
    """

    def __init__(self, number: int, architecture: Architecture, act: str = "relu") -> None:
        super().__init__()
        self.number, self.architecture = number, architecture
        self.activation = lookup(ACTIVATIONS, act, "activation")
        layers = architecture.layers()
        self.weights = nn.ParameterList(torch.zeros(number, c_in, c_out, *kernel) for c_in, c_out, kernel in layers)
        self.biases = nn.ParameterList(torch.zeros(number, c_out) for _, c_out, _ in layers)

    def forward(self, codes: Float[Tensor, "n d l h w"]) -> Float[Tensor, "n d c H W"]:
        x = codes.flatten(1, 2)                            # (n, D L, h, w)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = x if layer == 0 else self.activation(x)
            x = F.conv_transpose2d(x, weight.flatten(0, 1), bias.flatten(), stride=2, padding=1, groups=self.number)
        return x.unflatten(1, (self.number, -1))

    @torch.no_grad()
    def draw(self, rng: torch.Generator) -> None:
        """Draw all weights from the generator `rng` such that standard normal codes give images of about unit variance.

        Normal with variance 2 / fan (1 / fan in the last layer), biases 0. A pixel of a transposed convolution of
        stride 2 sees a quarter of the kernel on average: fan = in * kh * kw / 4.
        """
        for layer, (c_in, _, kernel) in enumerate(self.architecture.layers()):
            gain = 1 if layer == len(self.weights) - 1 else 2
            std = math.sqrt(gain / (c_in * math.prod(kernel) / 4))
            self.weights[layer].copy_(std * torch.randn(self.weights[layer].shape, generator=rng))
            self.biases[layer].zero_()
