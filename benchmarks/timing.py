"""What the benchmarks share: interleaved timing, the bare convolutions, peak memory."""

import itertools
import os
import resource
import statistics
import sys
import weakref
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.evaluation.score import seconds  # noqa: E402

LAYERS = ((3, 32), (128, 16), (128, 8))       # (input channels, map side) of the standard ConvNet at 32x32
WIDTH = 128


def interleaved(steps, runs, device):
    """Time each of `steps` {name: callable} once to warm up, then `runs` times in turn; median seconds of each.

    Returns ({name: median}, {name: warm-up seconds}). Taking turns keeps ratios honest on a machine whose
    speed drifts.
    """
    warm = {name: seconds(step, device) for name, step in steps.items()}
    times = {name: [] for name in steps}
    for _ in range(runs):
        for name, step in steps.items():
            times[name].append(seconds(step, device))
    return {name: statistics.median(values) for name, values in times.items()}, warm


def bare_convolutions(images, parts, device):
    """Return {(layout, chunk): callable} running only the 3x3 convolutions of `images` images, float32.

    `parts` names what runs: 'forward', 'input' (gradient), 'weight' (gradient). The first layer needs no input
    gradient unless 'pixels' is named too.
    """
    ways = {}
    for layout, chunk in itertools.product(("contiguous", "channels_last"), (16, 64, 256, images)):
        if chunk <= images:
            ways[layout, chunk] = _bare(images, chunk, layout, parts, device)
    return ways


def _bare(images, chunk, layout, parts, device):
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format

    def made(*shape):
        return torch.randn(*shape, device=device).contiguous(memory_format=memory)

    def layers(number):
        return [(made(number, c, side, side), made(WIDTH, c, 3, 3), made(number, WIDTH, side, side))
                for c, side in LAYERS]

    batches = [layers(chunk)] * (images // chunk) + [layers(images % chunk)] * (images % chunk > 0)
    masks = [["input" in parts and (number > 0 or "pixels" in parts), "weight" in parts, False]
             for number in range(len(LAYERS))]

    @torch.no_grad()
    def run():
        for batch in batches:
            for (x, weight, grad), mask in zip(batch, masks):
                F.conv2d(x, weight, padding=1)
                if any(mask):
                    torch.ops.aten.convolution_backward(grad, x, weight, [0], [1, 1], [1, 1], [1, 1], False, [0, 0],
                                                        1, mask)

    return run


def fastest(ways, device):
    """Return (name, callable) of the fastest of `ways` {name: callable}: the best three of one try have two more."""
    timed = {name: seconds(step, device) for name, step in ways.items()}
    finalists = sorted(timed, key=timed.get)[:3]
    again = {name: min(seconds(ways[name], device) for _ in range(2)) for name in finalists}
    name = min(again, key=again.get)
    return name, ways[name]


class LiveTensors(TorchDispatchMode):
    """Within: counts the bytes of tensors made and still alive; `peak` is the most there were at a time.

    Exact and the same on every machine, other than the resident memory of a process, which has what its allocator
    keeps.
    """

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if torch.is_tensor(value):
                self._note(value.untyped_storage())
        return result

    def _note(self, storage):
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key):
        self.now -= self.alive.pop(key)


def peak_memory(device):
    """Word the peak memory so far: of the GPU, and resident in this process."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform != "darwin" else 1 << 30)
    gpu = f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the GPU, " if device.type == "cuda" else ""
    return f"{gpu}{resident:.2f} GiB resident"


def machine(device):
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def table(median, bare, plain):
    """Print seconds and both ratios of every step of `median` {name: seconds}."""
    print(f"{'':34}{'s':>9}{'over bare':>11}{'plain over':>12}")
    for name, value in median.items():
        print(f"{name:34}{value:9.4f}{value / median[bare]:11.2f}{median[plain] / value:12.2f}")
