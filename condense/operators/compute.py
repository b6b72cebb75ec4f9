"""The compute policy: in which precision and layout networks run, compiled or not, how many images at a time."""

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from condense.core.device import resolve_device
from condense.core.torch_private import allow_recompiling
from condense.core.types import Forward
from condense.operators.allocator import keep_freed_memory

log = logging.getLogger("condense")

PRECISIONS = ("fp32", "tf32", "bf16")
CPU_CHUNK_BYTES = 8 << 20                 # one chunk's largest activation stays in the last-level cache
GPU_CHUNK_BYTES = 4 << 30
WIDTH = 128                               # channels of the standard ConvNet, which the chunk is sized for


def can_compile(device: torch.device) -> bool:
    """Say whether torch.compile works here, by trying it; without a compiler it logs one line."""
    try:
        torch.compile(lambda x: (x @ x + 1).relu().sum())(torch.ones(64, 64, device=device))
    except Exception as error:                            # the compiler stack raises whatever its parts raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("--compile: continuing without it, because torch.compile does not work here (%s)", reason[:120])
        return False
    finally:
        torch.compiler.reset()
    return True


@dataclass(frozen=True)
class Compute:
    """How networks are run: `device`, `precision` (fp32, tf32 or bf16), `compile`, and `chunk` images at a time.

    `chunk` None chooses by device and image size: what fits a CPU's cache, or a few GiB of a GPU.
    """

    device: torch.device = torch.device("cpu")
    precision: str = "fp32"
    compile: bool = False
    chunk: int | None = None

    def prepare(self, net: nn.Module) -> nn.Module:
        """Move `net` to the device in channels_last layout, which is the faster one for its convolutions."""
        return net.to(self.device, memory_format=torch.channels_last)           # type: ignore[call-overload]

    def wrap(self, function: Forward, compiled: bool = True, twice: bool = False) -> Forward:
        """Return `function` (images -> tensor) run in this precision and layout; its result has the images' dtype.

        Compiled where --compile asks for it, unless `compiled` is False. `twice`: the result can be differentiated
        twice, which compiled code cannot.
        """
        wrapped = self.wrap_stacked(function, compiled, twice)
        return lambda images: wrapped(images.contiguous(memory_format=torch.channels_last))

    def wrap_stacked(self, function: Callable[..., torch.Tensor], compiled: bool = True,
                     twice: bool = False) -> Callable[..., torch.Tensor]:
        """Like `wrap`, for a function whose last argument are images in any layout."""
        call = self.call(function, compiled, twice)
        return lambda *args: call(*args).to(args[-1].dtype)

    def call(self, function: Callable, compiled: bool = True, twice: bool = False) -> Callable:
        """Like `wrap`, for any function: it gets its arguments, and its result is returned, as they are."""
        if self.compile and compiled and not twice:
            function = torch.compile(function, dynamic=False)

        def run(*args):
            with self.autocast():
                return function(*args)

        return run

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def chunk_for(self, im_size: Sequence[int]) -> int:
        """Return how many images of `im_size` (H, W) go through a network at a time."""
        if self.chunk:
            return self.chunk
        budget = CPU_CHUNK_BYTES if self.device.type == "cpu" else GPU_CHUNK_BYTES
        return max(4, budget // (4 * WIDTH * im_size[0] * im_size[1]))


def start_compute(device: str = "auto", precision: str = "fp32", compile: bool = False, chunk: int | None = None,
                  deterministic: bool = False) -> Compute:
    """Resolve the policy once per run and set PyTorch's global switches accordingly.

    Raises ValueError for a device that is not here. bf16 runs networks in bfloat16 autocast; images, features'
    means and losses stay float32.
    """
    device = resolve_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    tf32 = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = tf32
    torch.backends.cudnn.conv.fp32_precision = tf32                         # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    compile = compile and can_compile(device)
    if compile:
        allow_recompiling()
    return Compute(device, precision, compile, chunk)
