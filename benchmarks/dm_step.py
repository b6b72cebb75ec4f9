"""Time one step of distribution matching at CIFAR-10 shapes: ours, the plain way, and the bare convolutions.

    python benchmarks/dm_step.py [--device cuda] [--runs 5] [--precision fp32]

ConvNet, 10 classes, ipc 10, 256 real images per class, Siamese augmentation on. The three take turns; the
plain way is written out below as the yardstick. The bare convolutions do the real forward pass, the synthetic
forward pass and its input gradient, in whichever layout and chunk runs fastest.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import bare_convolutions, fastest, interleaved, machine, peak_memory, table  # noqa: E402
from condense.augmentation import FULL_STRATEGY, draw_siamese  # noqa: E402
from condense.core.randomness import Streams  # noqa: E402
from condense.data import RealData  # noqa: E402
from condense.matching.features import class_means  # noqa: E402
from condense.networks import get_network, reset  # noqa: E402
from condense.operators import start_compute  # noqa: E402
from condense.synthetic import build_synthetic  # noqa: E402
from main_DM import matching_loss  # noqa: E402

IPC, BATCH_REAL, CLASSES = 10, 256, 10


def random_cifar(device, per_class=1000):
    """CIFAR-10's shapes with random pixels: what the pixels show does not change the time."""
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (CLASSES * per_class, 3, 32, 32), generator=rng, dtype=torch.uint8)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    return RealData("random", pixels, labels, pixels[:100], labels[:100], list(range(CLASSES)), device=device)


def our_step(real, compute):
    """The step of main_DM.py."""
    rng, it = Streams(0), iter(range(10**9))
    net = compute.prepare(get_network("ConvNet", *real.spec)).requires_grad_(False)
    embed, chunk = compute.wrap(net.embed), compute.chunk_for(real.im_size)
    synthetic = build_synthetic("pixels", real, IPC, "real", rng("init", 0))
    optimizer = torch.optim.SGD(synthetic.param_groups(1.0, momentum=0.5))

    def step():
        key = next(it)
        reset(net, rng("nets", 0, key))
        augment = draw_siamese(FULL_STRATEGY, CLASSES, rng("augmentation", 0, key), real.device)
        batch = real.sample(real.classes, BATCH_REAL, rng("data", 0, key))
        with torch.no_grad():
            mean_real = class_means(embed, batch, augment, chunk)
        loss = matching_loss(mean_real, class_means(embed, synthetic, augment, chunk))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_step(real):
    """The plain way: class by class, the network frozen, 256 real images at a time, default layout."""
    rng = Streams(0)
    images = real.normalise(real.images)
    rows = [real.indices_of(c) for c in real.classes]
    synthetic = build_synthetic("pixels", real, IPC, "real", rng("init", 0)).images().detach().requires_grad_()
    optimizer = torch.optim.SGD([synthetic], lr=1.0, momentum=0.5)

    def step():
        net = get_network("ConvNet", *real.spec).to(real.device).requires_grad_(False)
        loss = 0
        for c in real.classes:
            chosen = rows[c][torch.randperm(len(rows[c]), device=real.device)[:BATCH_REAL]]
            augment = draw_siamese(FULL_STRATEGY, 1, device=real.device)
            with torch.no_grad():
                mean_real = net.embed(augment(images[chosen])).mean(0)
            mean_syn = net.embed(augment(synthetic[c * IPC:(c + 1) * IPC])).mean(0)
            loss = loss + (mean_real - mean_syn).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def bare_step(device):
    """Real forward, synthetic forward and input gradient; the fastest way of each."""
    real_name, real = fastest(bare_convolutions(CLASSES * BATCH_REAL, ("forward",), device), device)
    syn_name, syn = fastest(bare_convolutions(CLASSES * IPC, ("forward", "input", "pixels"), device), device)
    print(f"bare convolutions run fastest as: real {real_name}, synthetic {syn_name}")
    return lambda: (real(), syn())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    eager = start_compute(args.device, args.precision)
    print(machine(eager.device))
    real = random_cifar(eager.device)
    steps = {"bare convolutions": bare_step(eager.device), "plain way": plain_step(real),
             "ours, eager": our_step(real, eager)}
    compiled = start_compute(args.device, args.precision, compile=True)
    if compiled.compile:
        steps["ours, compiled"] = our_step(real, compiled)
    median, warm = interleaved(steps, args.runs, eager.device)
    table(median, "bare convolutions", "plain way")
    if compiled.compile:
        print(f"first compiled step, compilation included: {warm['ours, compiled']:.1f} s")
    print(f"peak memory of all of these together: {peak_memory(eager.device)}")


if __name__ == "__main__":
    main()
