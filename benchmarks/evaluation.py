"""Time one epoch of an evaluation network's training, and a whole scoring: ours, the plain way, bare convolutions.

    python benchmarks/evaluation.py [--device cuda] [--runs 5] [--ipc 10] [--networks 5]

ConvNet at CIFAR-10 shapes, 10 classes, ipc 10, Siamese augmentation with magnitudes per image. The plain way is
written out below: a DataLoader, default layout, one network at a time. The bare convolutions do the forward
pass, weight gradients and input gradients, in whichever layout and chunk runs fastest. On a GPU, `together`
trains --networks networks in one vectorised call; its seconds are per network.

A whole scoring trains and tests --networks fresh networks on one set, each way in processes of its own, as its users
run it: the plain way without our hold on freed memory. Both train SCORED_EPOCHS epochs and test on a tenth as many
images as they saw, the proportion of the published 1000 epochs on 100 images and 10,000 test images.
"""

import argparse
import statistics
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import bare_convolutions, fastest, interleaved, machine, peak_memory, table  # noqa: E402
from condense.augmentation import FULL_STRATEGY, draw_independent  # noqa: E402
from condense.core.device import resolve_device  # noqa: E402
from condense.core.randomness import Streams  # noqa: E402
from condense.evaluation import evaluate  # noqa: E402
from condense.evaluation.score import seconds  # noqa: E402
from condense.networks import get_network  # noqa: E402
from condense.operators import start_compute  # noqa: E402
from condense.training import Protocol, TensorSet  # noqa: E402
from condense.training.train import train_network, train_stacked  # noqa: E402

EPOCHS = 4                                    # of one timed training, so that setting up does not count
SCORED_EPOCHS = 20                            # of every network of a whole scoring
PROTOCOL = Protocol(epochs=EPOCHS - 1, strategy=FULL_STRATEGY)
CLASSES, SIZE = 10, (32, 32)


def random_set(ipc, device):
    """A synthetic set of CIFAR-10's shape: what the pixels show does not change the time."""
    images = torch.randn(CLASSES * ipc, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    return TensorSet(images.to(device), torch.arange(CLASSES, device=device).repeat_interleave(ipc))


def our_training(data, compute):
    net = compute.prepare(get_network("ConvNet", 3, CLASSES, SIZE))
    forward = compute.wrap(net)
    rng = torch.Generator().manual_seed(0)
    return lambda: train_network(net, data, PROTOCOL, rng, forward, compute.chunk_for(SIZE))


def our_training_together(data, compute, networks):
    nets = [compute.prepare(get_network("ConvNet", 3, CLASSES, SIZE)) for _ in range(networks)]
    rngs = [torch.Generator().manual_seed(i) for i in range(networks)]
    return lambda: train_stacked(nets, [data] * networks, PROTOCOL, rngs, compute.wrap_stacked)


def plain_training(data, net=None, epochs=EPOCHS, strategy=FULL_STRATEGY, **sgd):
    """The plain way: DataLoader, one augmentation per minibatch, default layout, a sync per minibatch."""
    net = net or get_network("ConvNet", 3, CLASSES, SIZE).to(data.labels.device)
    loader = DataLoader(TensorDataset(data.tensor, data.labels), batch_size=256, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, **sgd)

    def train():
        for _ in range(epochs):
            for images, labels in loader:
                images = draw_independent(strategy, len(images), device=images.device)(images)
                loss = F.cross_entropy(net(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

    return train


class TestImages:
    """Random test images: what `evaluate` needs of real data."""

    spec, im_size = (3, CLASSES, SIZE), SIZE

    def __init__(self, number, device):
        self.device = torch.device(device)
        self.images = torch.randn(number, 3, *SIZE, generator=torch.Generator().manual_seed(1)).to(device)
        self.test_labels = torch.arange(number, device=device) % CLASSES

    def test_batches(self, size):
        yield from zip(self.images.split(size), self.test_labels.split(size))


def our_scoring(data, compute, networks):
    protocol = replace(PROTOCOL, epochs=SCORED_EPOCHS - 1)
    tests = TestImages(SCORED_EPOCHS * len(data.labels) // 10, data.labels.device)
    return lambda: evaluate(data, tests, {"ConvNet": protocol}, networks, partial(Streams(0), "evaluation"), compute,
                            progress=False)


def plain_scoring(data, networks):
    """The plain way: a network after the other, trained as in `plain_training`, tested in the default layout."""
    tests = TestImages(SCORED_EPOCHS * len(data.labels) // 10, data.labels.device)
    loader = DataLoader(TensorDataset(tests.images, tests.test_labels), batch_size=256)

    def score():
        return [_plain_score(data, loader) for _ in range(networks)]

    return score


def _plain_score(data, loader):
    net = get_network("ConvNet", 3, CLASSES, SIZE).to(data.labels.device)
    plain_training(data, net, SCORED_EPOCHS, momentum=0.9, weight_decay=5e-4)()
    net.eval()
    with torch.no_grad():
        right = sum((net(images).argmax(1) == labels).sum().item() for images, labels in loader)
    return right / len(loader.dataset)


def scorings(args):
    """Return {way: median seconds of a whole scoring}, the ways in turn, every run in a process of its own."""
    command = [sys.executable, __file__, "--device", args.device, "--precision", args.precision, "--ipc", str(args.ipc),
               "--networks", str(args.networks), "--scoring"]
    taken = {"plain way": [], "ours": []}
    for _ in range(args.runs):
        for way, times in taken.items():
            times.append(float(subprocess.run([*command, way], check=True, capture_output=True, text=True).stdout))
    return {way: statistics.median(times) for way, times in taken.items()}


def print_scoring(args):
    """Be the process of one scoring: print its seconds, after a short one to warm up."""
    device = resolve_device(args.device)
    compute = start_compute(args.device, args.precision) if args.scoring == "ours" else None
    data = random_set(args.ipc, device)
    score = our_scoring(data, compute, args.networks) if compute else plain_scoring(data, args.networks)
    (our_training(data, compute) if compute else plain_training(data))()
    print(seconds(score, device))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--scoring", choices=("plain way", "ours"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.scoring:
        return print_scoring(args)
    compute = start_compute(args.device, args.precision)
    device, data = compute.device, random_set(args.ipc, compute.device)
    print(machine(device))
    name, bare = fastest(bare_convolutions(CLASSES * args.ipc, ("forward", "input", "weight"), device), device)
    print(f"bare convolutions run fastest as {name}")
    steps = {"bare convolutions": lambda: [bare() for _ in range(EPOCHS)],
             "plain way": plain_training(data, momentum=0.9, weight_decay=5e-4),
             "ours, eager": our_training(data, compute)}
    compiled = start_compute(args.device, args.precision, compile=True)
    if compiled.compile:
        steps["ours, compiled"] = our_training(data, compiled)
    together = {}
    if device.type == "cuda":
        together[f"ours, {args.networks} together"] = our_training_together(data, compute, args.networks)
    median, warm = interleaved({**steps, **together}, args.runs, device)
    per_epoch = {name: value / EPOCHS / (args.networks if name in together else 1) for name, value in median.items()}
    table(per_epoch, "bare convolutions", "plain way")
    if compiled.compile:
        print(f"first compiled training, compilation included: {warm['ours, compiled']:.1f} s")
    print(f"\na whole scoring: {args.networks} networks of {SCORED_EPOCHS} epochs, trained and tested")
    scored = scorings(args)
    for name, value in scored.items():
        print(f"{name:12}{value:8.2f} s  plain way over it {scored['plain way'] / value:.2f}")
    print(f"peak memory of all of these together: {peak_memory(device)}")


if __name__ == "__main__":
    main()
