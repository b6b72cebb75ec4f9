"""Time one iteration of trajectory matching at CIFAR-10 shapes, and measure its peak memory, for each way to unroll.

    python benchmarks/mtt_step.py [--ipc 1] [--syn_steps 10 20 80] [--device cuda] [--runs 3] [--precision fp32]

ConvNet, 10 classes, Siamese augmentation in every step of the student, the whole synthetic set as its minibatch.
The plain way, written out below as the yardstick, keeps the full graph and puts each step's parameters into the module
one by one, in the default layout. Times take turns. The peak is the most bytes of tensors alive at a time.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.func import functional_call

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import LiveTensors, interleaved, machine  # noqa: E402
from condense.augmentation import FULL_STRATEGY, draw_independent  # noqa: E402
from condense.core.randomness import Streams  # noqa: E402
from condense.matching.trajectories import Student, student_minibatches  # noqa: E402
from condense.matching.unrolling import MODES, unroll  # noqa: E402
from condense.networks import get_network  # noqa: E402
from condense.operators import start_compute  # noqa: E402
from main_MTT import matching_loss, student_step  # noqa: E402

CLASSES, IM_SIZE = 10, (32, 32)
WAYS = ("plain way", *MODES)


class Setting:
    """What all ways share: an expert's segment and a synthetic set, random numbers of the right shapes."""

    def __init__(self, ipc, compute):
        rng = Streams(0)
        self.compute, self.rng, self.number = compute, rng, CLASSES * ipc
        self.net = compute.prepare(get_network("ConvNet", 3, CLASSES, IM_SIZE, rng("nets")))
        self.start = torch.cat([p.detach().flatten() for p in self.net.parameters()])
        noise = torch.randn(self.start.shape, generator=rng("nets", 1)).to(self.start)
        self.target = self.start + 0.01 * noise
        self.images = torch.randn(self.number, 3, *IM_SIZE, generator=rng("init")).to(compute.device)
        self.labels = torch.arange(CLASSES, device=compute.device).repeat_interleave(ipc)
        self.syn_lr = torch.tensor(0.01, device=compute.device)
        for leaf in (self.images, self.syn_lr):
            leaf.requires_grad_()

    def augmentations(self, num_steps):
        rng = self.rng("augmentation")
        return [draw_independent(FULL_STRATEGY, self.number, rng, self.compute.device) for _ in range(num_steps)]


def our_iteration(setting, num_steps, mode):
    """An iteration of main_MTT.py up to the gradients."""
    student = Student(setting.net, setting.compute, setting.compute.chunk_for(IM_SIZE))

    def run():
        rows = student_minibatches(setting.number, setting.number, num_steps, None)
        step = student_step(student, rows, setting.augmentations(num_steps))
        theta = unroll(step, setting.start, num_steps, (setting.images, setting.labels, setting.syn_lr), mode)
        loss = matching_loss(theta, setting.start, setting.target)
        torch.autograd.grad(loss, (setting.images, setting.syn_lr))

    return run


def plain_iteration(setting, num_steps):
    """The plain way: a list of parameters, all images at once, one graph of all steps."""
    names = [name for name, _ in setting.net.named_parameters()]
    net = get_network("ConvNet", 3, CLASSES, IM_SIZE).to(setting.compute.device)

    def run():
        parameters = [p.detach().clone().contiguous().requires_grad_() for p in setting.net.parameters()]
        for augment in setting.augmentations(num_steps):
            logits = functional_call(net, dict(zip(names, parameters)), (augment(setting.images),))
            error = F.cross_entropy(logits, setting.labels)
            gradients = torch.autograd.grad(error, parameters, create_graph=True)
            parameters = [p - setting.syn_lr * g for p, g in zip(parameters, gradients)]
        theta = torch.cat([p.flatten() for p in parameters])
        loss = matching_loss(theta, setting.start, setting.target)
        torch.autograd.grad(loss, (setting.images, setting.syn_lr))

    return run


def iteration(way, setting, num_steps):
    return plain_iteration(setting, num_steps) if way == "plain way" else our_iteration(setting, num_steps, way)


def peak_bytes(run, device):
    """Return the most bytes of tensors that live at the same time while `run()` runs, without what was there before."""
    run()                                                  # what layers make once, they have now
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveTensors() as tensors:
        run()
    return tensors.peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--syn_steps", type=int, nargs="+", default=[10, 20, 80])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    compute = start_compute(args.device, args.precision)
    setting = Setting(args.ipc, compute)
    print(f"{machine(compute.device)}; ipc {args.ipc}, a snapshot of the student is "
          f"{4 * setting.start.numel() / 2**20:.2f} MiB")
    for num_steps in args.syn_steps:
        steps = {way: partial(run) for way in WAYS for run in [iteration(way, setting, num_steps)]}
        median, _ = interleaved(steps, args.runs, compute.device)
        print(f"\n{num_steps} steps{'':17}{'s':>9}{'over full':>11}{'plain over':>12}{'peak MiB':>10}")
        for way, value in median.items():
            print(f"{way:26}{value:9.3f}{value / median['full']:11.2f}{median['plain way'] / value:12.2f}"
                  f"{peak_bytes(steps[way], compute.device) / 2**20:10.0f}")


if __name__ == "__main__":
    main()
