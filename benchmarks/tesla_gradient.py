"""How far TESLA's gradient is from the exact one, on real experts.

    python benchmarks/tesla_gradient.py --dataset Digits [--buffer_path buffers] [--syn_steps 1 10 20 50]

One segment of one expert, one real image per class, Siamese augmentation, step size 0.01. Printed are the distance
of the approximate gradient of the images from the exact one, relative to that one's norm, their cosine, and both
gradients of the step size.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.augmentation import default_strategy, draw_independent  # noqa: E402
from condense.core.randomness import Streams  # noqa: E402
from condense.data import default_side, load_data  # noqa: E402
from condense.experts import open_experts  # noqa: E402
from condense.matching.trajectories import Student  # noqa: E402
from condense.matching.unrolling import unroll  # noqa: E402
from condense.networks import get_network, network_for  # noqa: E402
from condense.operators import start_compute  # noqa: E402
from condense.synthetic import build_synthetic  # noqa: E402
from main_MTT import matching_loss, student_step  # noqa: E402

STEP_SIZE, EXPERT_EPOCHS = 0.01, 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Digits")
    parser.add_argument("--data_path", default="data")
    parser.add_argument("--buffer_path", default="buffers")
    parser.add_argument("--syn_steps", type=int, nargs="+", default=[1, 10, 20, 50])
    args = parser.parse_args()
    compute = start_compute()
    real = load_data(args.dataset, args.data_path, compute.device)
    model = network_for(default_side(args.dataset, None))
    net = compute.prepare(get_network(model, *real.spec))
    experts = open_experts(args.buffer_path, net, real, model, (0, EXPERT_EPOCHS))
    student = Student(net, compute, compute.chunk_for(real.im_size))
    segment = experts.segment(0, 0, EXPERT_EPOCHS, compute.device)
    synthetic = build_synthetic("pixels", real, 1, "real", Streams(0)("init", 0))
    for num_steps in args.syn_steps:
        exact, approximate = (gradients(mode, num_steps, student, segment, synthetic, default_strategy(args.dataset))
                              for mode in ("constant", "tesla"))
        distance = float((approximate[0] - exact[0]).norm() / exact[0].norm())
        cosine = float(F.cosine_similarity(approximate[0].flatten(), exact[0].flatten(), 0))
        print(f"{num_steps:3} steps: images off by {100 * distance:.0f} %, cosine {cosine:.3f}; step size "
              f"{float(approximate[1]):.3g}, exactly {float(exact[1]):.3g}")


def gradients(mode, num_steps, student, segment, synthetic, strategy):
    """Return the gradients of the matching loss with respect to images and step size."""
    start, target = segment
    rng, images = Streams(0)("augmentation"), synthetic.images()
    augment = [draw_independent(strategy, len(images), rng, images.device) for _ in range(num_steps)]
    syn_lr = torch.tensor(STEP_SIZE, device=images.device, requires_grad=True)
    step = student_step(student, [slice(None)] * num_steps, augment)
    theta = unroll(step, start, num_steps, (images, synthetic.labels, syn_lr), mode)
    return torch.autograd.grad(matching_loss(theta, start, target), (images, syn_lr))


if __name__ == "__main__":
    main()
