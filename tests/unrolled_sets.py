"""Results of unrolled training as a run writes them, without the run: real digits with step sizes, scored."""

from dataclasses import asdict
from functools import partial

import torch

from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.run.results import describe, save_result
from condense.run.stored_steps import stored_steps
from condense.training import TensorSet
from condense.training.protocols import StepProtocol
from condense.training.steps import Steps, split_steps

NAME, SEED, ITERATION = "res_DD_Digits_MLP_2ipc.pt", 3, 7
STORAGE = {"floats": 1280, "bytes": 5120, "budget_floats": 1280, "budget_bytes": 5120}
PROTOCOL = StepProtocol(3, momentum=0.5, distill_steps=2, net_init="default")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed):
    return reset(get_network("MLP", 1, 10, (8, 8)), seeded(seed))


def unrolled_set(real, seed=0, fixed=0):
    """Return two real digits of each class in two batches for three epochs, with `fixed` starts if any."""
    batch = real.sample(real.classes, 2, seeded(seed))
    sizes = (0.05 + 0.2 * torch.rand(6, generator=seeded(seed + 50))).tolist()
    starts = [torch.cat([p.detach().flatten() for p in network(9 + i).parameters()]) for i in range(fixed)]
    steps = Steps(split_steps(batch.labels, 2), tuple(sizes), *((torch.stack(starts), "MLP") if fixed else ()))
    return TensorSet(batch.images(), batch.labels, steps)


def unrolled_result(folder, fixed=0, protocol=PROTOCOL, num_eval=2, zca=False):
    """Write a result of two experiments, scored as a run of that seed and length scores it; returns (path, sets)."""
    real = load_data("Digits", zca=zca)
    sets = [unrolled_set(real, exp, fixed) for exp in range(2)]
    scores = [evaluate(one, real, {"MLP": protocol}, num_eval, partial(Streams(SEED), "evaluation", exp, ITERATION),
                       Compute(), progress=False)["MLP"] for exp, one in enumerate(sets)]
    means = [one.steps.mean_size() for one in sets]
    options = {"dataset": "Digits", "model": "MLP", "ipc": 2, "seed": SEED, "num_eval": num_eval, "precision": "fp32",
               "Iteration": ITERATION, "parameterization": "pixels", "zca": zca}
    meta = describe(real, "DD", options, STORAGE, syn_lr=means,
                    protocols={"MLP": asdict(protocol.with_step_size(sum(means) / 2))})
    steps, starts = zip(*(stored_steps(one.steps) for one in sets))
    save_result(folder / NAME, [(one.tensor, one.labels) for one in sets],
                {"MLP": [score.test_accuracy for per_set in scores for score in per_set]}, meta, steps=steps,
                start=starts if fixed else ())
    return folder / NAME, sets
