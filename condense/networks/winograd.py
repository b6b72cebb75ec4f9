"""3x3 convolution by Winograd's minimal filtering, for forward passes on a CPU that nobody differentiates.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: F(4x4, 3x3) makes a 4x4 tile of
output from 36 products per pair of channels where the direct way takes 144. The transforms are small matrix
products here, so that the whole runs at the speed of matrix multiplication. Real features and test passes,
most of the work of distribution matching, take it. The result differs from a direct convolution by float32
rounding, about 1e-5 of the map's scale; GPU libraries choose the same algorithm on their own.
"""

import torch
import torch.nn.functional as F
from torch import nn

TILE, PATCH = 4, 6                                       # outputs and inputs of a tile, per side
LEAST_SIDE, LEAST_CHANNELS = 8, 64                       # below, the transforms cost more than they save

_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
          [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
_KERNEL = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
           [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _both_sides(matrix, dtype=torch.float32):
    """Return the Kronecker square of `matrix`: the transform of a flattened patch along both of its axes."""
    matrix = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(matrix, matrix).to(dtype)


INPUT, KERNEL, OUTPUT = map(_both_sides, (_INPUT, _KERNEL, _OUTPUT))       # (36, 36), (36, 9), (16, 36)


def transform_kernel(weight):
    """Return the kernels of (K, C, 3, 3) in the domain of the products, (36, C, K)."""
    outputs, inputs = weight.shape[:2]
    return (KERNEL @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(PATCH**2, inputs, outputs)


def convolve(x, kernel, bias):
    """Convolve channels_last `x` (N, C, H, W), H and W multiples of 4, with padding 1 -> (N, K, H, W)."""
    count, inputs, height, width = x.shape
    rows, columns, outputs = height // TILE, width // TILE, kernel.shape[2]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, PATCH, TILE).unfold(2, PATCH, TILE)         # (N, rows, columns, C, 6, 6)
    tiles = count * rows * columns
    # One tile of zeros more: rows a power of two apart would fight for the same lines of the cache.
    patches = x.new_empty(PATCH**2, tiles + 1, inputs)
    patches[:, tiles] = 0
    patches[:, :tiles] = windows.permute(4, 5, 0, 1, 2, 3).reshape(PATCH**2, tiles, inputs)
    products = torch.bmm((INPUT @ patches.flatten(1)).view(PATCH**2, tiles + 1, inputs), kernel)
    y = (OUTPUT @ products.flatten(1)).view(TILE, TILE, tiles + 1, outputs)[:, :, :tiles]
    y = y.reshape(TILE, TILE, count, rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
    return (y.reshape(count, height, width, outputs) + bias).permute(0, 3, 1, 2)


class Conv3x3(nn.Conv2d):
    """3x3 convolution with padding 1 and bias; parameters and state-dict keys are those of `nn.Conv2d`."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x):
        if self._takes(x):
            return convolve(x, transform_kernel(self.weight), self.bias)
        return super().forward(x)

    def _takes(self, x):
        """Say whether `x` is worth the transforms: plain float32 on a CPU, channels_last, large and even enough."""
        if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active() or torch.is_autocast_enabled("cpu"):
            return False
        return (x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 4 and x.stride(1) == 1
                and min(self.weight.shape[:2]) >= LEAST_CHANNELS and min(x.shape[2:]) >= LEAST_SIDE
                and x.shape[2] % TILE == 0 and x.shape[3] % TILE == 0)
