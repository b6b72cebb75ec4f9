"""Time gradient matching at CIFAR-10 shapes: a matching step and an epoch of the network's training in between.

    python benchmarks/dc_step.py [--ipc 1 10] [--method DSA] [--device cuda] [--runs 5] [--precision fp32]

ConvNet, 10 classes, 256 real images per class. The matching step and the inner epoch of ours, of the plain way
(written out below as the yardstick) and of the bare convolutions take turns. The bare convolutions do the forward
pass, weight gradients and input gradients of the real images, and once those of the synthetic ones; of the
inner epoch, those of the synthetic images. Each in whichever layout and chunk runs fastest.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.dm_step import BATCH_REAL, CLASSES, random_cifar  # noqa: E402
from benchmarks.evaluation import EPOCHS, plain_training, random_set  # noqa: E402
from benchmarks.timing import bare_convolutions, fastest, interleaved, machine, peak_memory, table  # noqa: E402
from condense.augmentation import FULL_STRATEGY, draw_siamese  # noqa: E402
from condense.core.randomness import Streams  # noqa: E402
from condense.matching.class_gradients import class_gradients, matching_over_classes  # noqa: E402
from condense.matching.gradients import gradient_distance  # noqa: E402
from condense.networks import get_network, reset  # noqa: E402
from condense.operators import start_compute  # noqa: E402
from condense.synthetic import build_synthetic  # noqa: E402
from condense.training import Protocol  # noqa: E402
from condense.training.train import train_network  # noqa: E402
from main_DC import matching_loss  # noqa: E402

FORWARD_AND_GRADIENTS = ("forward", "weight", "input")


def our_step(real, compute, ipc, strategy):
    """The matching step of main_DC.py."""
    rng, it = Streams(0), iter(range(10**9))
    net = compute.prepare(get_network("ConvNet", *real.spec))
    gradients = class_gradients(net, compute, compute.chunk_for(real.im_size))
    distance = partial(matching_loss, metric="ours")
    synthetic = build_synthetic("pixels", real, ipc, "real", rng("init", 0))
    optimizer = torch.optim.SGD(synthetic.param_groups(0.1, momentum=0.5))

    def step():
        key = next(it)
        reset(net, rng("nets", 0, key))
        augment = draw_siamese(strategy, CLASSES, rng("augmentation", 0, key), real.device)
        batch = real.sample(real.classes, BATCH_REAL, rng("data", 0, key))
        loss = matching_over_classes(distance, gradients, batch, synthetic, augment)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_step(real, ipc, strategy):
    """The plain way: class by class, 256 real images at a time, default layout, one graph of all classes."""
    rng = Streams(0)
    images = real.normalise(real.images)
    rows = [real.indices_of(c) for c in real.classes]
    synthetic = build_synthetic("pixels", real, ipc, "real", rng("init", 0)).images().detach().requires_grad_()
    optimizer = torch.optim.SGD([synthetic], lr=0.1, momentum=0.5)

    def step():
        net = get_network("ConvNet", *real.spec).to(real.device)
        parameters = list(net.parameters())
        loss = 0
        for c in real.classes:
            chosen = rows[c][torch.randperm(len(rows[c]), device=real.device)[:BATCH_REAL]]
            augment = draw_siamese(strategy, 1, device=real.device)
            labels = torch.full((BATCH_REAL,), c, device=real.device)
            error = F.cross_entropy(net(augment(images[chosen])), labels)
            of_real = [g.detach().clone() for g in torch.autograd.grad(error, parameters)]
            error = F.cross_entropy(net(augment(synthetic[c * ipc:(c + 1) * ipc])), labels[:ipc])
            of_syn = torch.autograd.grad(error, parameters, create_graph=True)
            loss = loss + gradient_distance(of_real, of_syn)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def bare_step(ipc, device):
    """What a matching step cannot do without, each part in its fastest way."""
    real_name, real = fastest(bare_convolutions(CLASSES * BATCH_REAL, FORWARD_AND_GRADIENTS, device), device)
    syn_name, syn = fastest(bare_convolutions(CLASSES * ipc, (*FORWARD_AND_GRADIENTS, "pixels"), device), device)
    print(f"bare convolutions run fastest as: real {real_name}, synthetic {syn_name}")
    return lambda: (real(), syn())


def our_training(data, compute, strategy):
    """The training of main_DC.py between two matching steps."""
    net = compute.prepare(get_network("ConvNet", 3, CLASSES, (32, 32)))
    protocol = Protocol(EPOCHS, momentum=0, weight_decay=0, strategy=strategy, schedule="constant")
    rng = torch.Generator().manual_seed(0)
    return lambda: train_network(net, data, protocol, rng, compute.wrap(net), compute.chunk_for((32, 32)))


def time_matching(ipc, strategy, real, policies, runs):
    steps = {"bare convolutions": bare_step(ipc, real.device), "plain way": plain_step(real, ipc, strategy),
             **{name: our_step(real, compute, ipc, strategy) for name, compute in policies.items()}}
    median, warm = interleaved(steps, runs, real.device)
    print(f"\none matching step, ipc {ipc}")
    table(median, "bare convolutions", "plain way")
    if "ours, compiled" in warm:
        print(f"first compiled step, compilation included: {warm['ours, compiled']:.1f} s")


def time_training(ipc, strategy, device, policies, runs):
    data = random_set(ipc, device)
    name, bare = fastest(bare_convolutions(CLASSES * ipc, FORWARD_AND_GRADIENTS, device), device)
    steps = {"bare convolutions": lambda: [bare() for _ in range(EPOCHS)],
             "plain way": plain_training(data, strategy=strategy),
             **{name: our_training(data, compute, strategy) for name, compute in policies.items()}}
    median, _ = interleaved(steps, runs, device)
    print(f"\none inner epoch, ipc {ipc} (bare convolutions fastest as {name})")
    table({name: value / EPOCHS for name, value in median.items()}, "bare convolutions", "plain way")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--method", default="DSA", choices=("DC", "DSA"), help="DC does not augment")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    eager = start_compute(args.device, args.precision)
    print(machine(eager.device))
    compiled = start_compute(args.device, args.precision, compile=True)
    policies = {"ours, eager": eager, **({"ours, compiled": compiled} if compiled.compile else {})}
    strategy = FULL_STRATEGY if args.method == "DSA" else "none"
    real = random_cifar(eager.device)
    for ipc in args.ipc:
        time_matching(ipc, strategy, real, policies, args.runs)
        time_training(ipc, strategy, eager.device, policies, args.runs)
    print(f"\npeak memory of all of these together: {peak_memory(eager.device)}")


if __name__ == "__main__":
    main()
