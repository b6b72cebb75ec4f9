"""3x3 convolution by Winograd's minimal filtering on a CPU, its gradients, and the gradients of those.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: F(4x4, 3x3) makes a 4x4 tile of
output from 36 products per pair of channels where the direct way takes 144. The transforms are small matrix
products here, so that the whole runs at the speed of matrix multiplication. The gradients are the transposes of
the same three steps, so that they cost a quarter of the products, too; they are bilinear themselves, and so are
theirs. Values and gradients differ from a direct convolution's by float32 rounding, about 1e-5 of their scale; GPU
libraries choose the same algorithm on their own.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from condense.core.torch_private import inside_transform
from condense.operators.switch import own_operators

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


def transform_kernel(weight: Float[Tensor, "k c 3 3"]) -> Float[Tensor, "36 c k"]:
    """Return the kernels of (K, C, 3, 3) in the domain of the products, (36, C, K)."""
    outputs, inputs = weight.shape[:2]
    return (KERNEL @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(PATCH**2, inputs, outputs)


def convolve(x: Float[Tensor, "n c h w"], weight: Float[Tensor, "k c 3 3"],
             bias: Float[Tensor, " k"]) -> Float[Tensor, "n k h w"]:
    """Convolve channels_last `x` (N, C, H, W), H and W multiples of 4, with (K, C, 3, 3), padding 1 -> (N, K, H, W).

    Differentiable twice in all three.
    """
    return _Convolution.apply(x, weight, bias)


class _Convolution(torch.autograd.Function):
    """The three steps: patches to the domain of the products, products, products to tiles."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        kernel = transform_kernel(weight)                                  # (36, C, K)
        patches = _transformed(INPUT, _patches(x))                         # (36, tiles + 1, C)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, weight, patches if ctx.needs_input_grad[1] else None, kernel)
        tiles = _transformed(OUTPUT, torch.bmm(patches, kernel))           # (16, tiles + 1, K)
        return (_from_tiles(tiles, x.shape) + bias).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad):
        wanted = ctx.needs_input_grad[:2]
        of_both = _Gradients.apply(grad, *ctx.saved_tensors, wanted) if any(wanted) else (None, None)
        return *of_both, grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class _Gradients(torch.autograd.Function):
    """(grad, x, weight) -> gradients of the convolution by x and weight: the transposed steps.

    Bilinear in grad and weight, and in grad and x, so that its own gradients are made of the same steps again.
    `patches` and `kernel` are x and weight in the domain of the products, where the convolution left them.
    """

    @staticmethod
    def forward(ctx, grad, x, weight, patches, kernel, wanted):
        products = _transformed(OUTPUT.T, _to_tiles(_channels_last(grad)))            # (36, tiles + 1, K)
        ctx.save_for_backward(products, patches, kernel)
        ctx.size = x.shape
        ctx.set_materialize_grads(False)
        grad_x = _to_input(products, kernel, x.shape) if wanted[0] else None
        grad_weight = _to_weight(patches, products) if wanted[1] else None
        return grad_x, grad_weight

    @staticmethod
    @once_differentiable
    def backward(ctx, of_x, of_weight):
        products, patches, kernel = ctx.saved_tensors
        grad = grad_x = grad_weight = None
        tiles = []
        if of_x is not None:
            moved = _transformed(INPUT, _patches(_channels_last(of_x)))
            tiles.append(torch.bmm(moved, kernel))
            grad_weight = _to_weight(moved, products) if ctx.needs_input_grad[2] else None
        if of_weight is not None:
            changed = transform_kernel(of_weight)
            tiles.append(torch.bmm(patches, changed))
            grad_x = _to_input(products, changed, ctx.size) if ctx.needs_input_grad[1] else None
        if tiles and ctx.needs_input_grad[0]:
            total = tiles[0] if len(tiles) == 1 else tiles[0].add_(tiles[1])
            grad = _from_tiles(_transformed(OUTPUT, total), ctx.size).permute(0, 3, 1, 2)
        return grad, grad_x, grad_weight, None, None, None


def _channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def _to_input(products, kernel, size):
    """Gradient by the input of `size`: products (36, tiles + 1, K) with kernel (36, C, K) -> (N, C, H, W)."""
    return _add_patches(_transformed(INPUT.T, torch.bmm(products, kernel.transpose(1, 2))), size)


def _to_weight(patches, products):
    """Gradient by the weight: patches (36, tiles + 1, C) with products (36, tiles + 1, K) -> (K, C, 3, 3)."""
    return transposed_kernel(torch.bmm(patches.transpose(1, 2), products))


def transposed_kernel(grad: Float[Tensor, "36 c k"]) -> Float[Tensor, "k c 3 3"]:
    """Return the gradient (K, C, 3, 3) of kernels whose transforms have the gradient (36, C, K)."""
    return (KERNEL.T @ grad.flatten(1)).view(3, 3, *grad.shape[1:]).permute(3, 2, 0, 1)


def _transformed(matrix, blocks):
    """Return `matrix` (to, from) applied to flattened blocks (from, tiles, C): (to, tiles, C)."""
    return (matrix @ blocks.flatten(1)).view(len(matrix), *blocks.shape[1:])


def _blocks(x, size, tiles):
    """Return an empty (size, tiles + 1, C) for the blocks of `x`; the last tile is zero and is nobody's.

    Without it rows a power of two apart would fight for the same lines of the cache.
    """
    blocks = x.new_empty(size, tiles + 1, x.shape[1])
    blocks[:, tiles] = 0
    return blocks


def _grid(size):
    """Return (rows, columns) of tiles in maps of `size` (N, C, H, W)."""
    return size[2] // TILE, size[3] // TILE


def _patches(x):
    """Return the overlapping 6x6 patches around all 4x4 tiles of `x` (N, C, H, W), (36, tiles + 1, C)."""
    tiles = len(x) * x[0, 0].numel() // TILE**2
    windows = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).unfold(1, PATCH, TILE).unfold(2, PATCH, TILE)
    blocks = _blocks(x, PATCH**2, tiles)
    blocks[:, :tiles] = windows.permute(4, 5, 0, 1, 2, 3).reshape(PATCH**2, tiles, -1)
    return blocks


def _add_patches(patches, size):
    """Transpose of `_patches`: add up overlapping patches (36, tiles + 1, C) -> (N, C, H, W)."""
    (count, channels, height, width), (rows, columns) = size, _grid(size)
    patches = patches[:, :-1].reshape(PATCH, PATCH, count, rows, columns, channels)
    padded = patches.new_zeros(count, rows + 1, TILE, columns + 1, TILE, channels)
    cells = padded.permute(2, 4, 0, 1, 3, 5)                               # (4, 4, N, rows + 1, columns + 1, C)
    rest = PATCH - TILE                                                    # a patch reaches so far into the next tile
    cells[:, :, :, :rows, :columns] += patches[:TILE, :TILE]
    cells[:rest, :, :, 1:, :columns] += patches[TILE:, :TILE]
    cells[:, :rest, :, :rows, 1:] += patches[:TILE, TILE:]
    cells[:rest, :rest, :, 1:, 1:] += patches[TILE:, TILE:]
    padded = padded.view(count, (rows + 1) * TILE, (columns + 1) * TILE, channels)
    return padded[:, 1:height + 1, 1:width + 1].permute(0, 3, 1, 2)


def _from_tiles(tiles, size):
    """Put tiles (16, tiles + 1, K) together: (N, H, W, K), for maps of `size` (N, C, H, W)."""
    (count, _, height, width), (rows, columns) = size, _grid(size)
    tiles = tiles[:, :-1].reshape(TILE, TILE, count, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
    return tiles.reshape(count, height, width, -1)


def _to_tiles(maps):
    """Transpose of `_from_tiles`: cut maps (N, K, H, W) into tiles (16, tiles + 1, K)."""
    (count, channels, _, _), (rows, columns) = maps.shape, _grid(maps.shape)
    blocks = _blocks(maps, TILE**2, count * rows * columns)
    cells = maps.permute(0, 2, 3, 1).reshape(count, rows, TILE, columns, TILE, channels).permute(2, 4, 0, 1, 3, 5)
    blocks[:, :-1] = cells.reshape(TILE**2, -1, channels)
    return blocks


class Conv3x3(nn.Conv2d):
    """3x3 convolution with padding 1 and bias; parameters and state-dict keys are those of `nn.Conv2d`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        if self._takes(x):
            return convolve(x, self.weight, self.bias)                # type: ignore[arg-type]
        return super().forward(x)

    def _takes(self, x):
        """Say whether `x` is worth the transforms: plain float32 on a CPU, channels_last, large and even enough."""
        if not own_operators():
            return False
        if torch.is_grad_enabled() and torch.compiler.is_compiling():
            return False                             # compiled, the transposed steps are slower than a direct gradient
        if inside_transform() or torch.is_autocast_enabled("cpu"):
            return False
        return (x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 4 and x.stride(1) == 1
                and min(self.weight.shape[:2]) >= LEAST_CHANNELS and min(x.shape[2:]) >= LEAST_SIDE
                and x.shape[2] % TILE == 0 and x.shape[3] % TILE == 0)
