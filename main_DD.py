"""DD: learn images, and the size of each step on them, such that a few steps of descent train a network.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018 (arXiv 1811.10959), algorithm 1 with many steps and epochs.
With --inner_momentum and --window: Deng & Russakovsky, NeurIPS 2022, and Feng, Vedantam & Kempe (RaT-BPTT), ICLR 2024.

    python main_DD.py --dataset MNIST --ipc 1 --distill_steps 1 --train_nets_type known_init
    python main_DD.py --config configs/DD/CIFAR10_ipc10.yaml
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F

from networks import get_network, has_batchnorm
from utils import (
    REGIMES,
    InnerSGD,
    Passes,
    RunConfig,
    Scorer,
    Starts,
    StepProtocol,
    Student,
    build_optimizer,
    build_synthetic,
    choose_mode,
    crop_and_flip,
    draw_window,
    eval_pool,
    load_data,
    option,
    redefault,
    run_script,
    split_steps,
    start_run,
)

MOMENTUM = 0.5                             # of the outer Adam, its first beta, as published
REAL_CHUNK = 256                           # real images at a time: fewer take longer, with networks of few channels
NUM_EVAL = 20                              # held-out networks; the paper's ± are over 200
ELSEWHERE = "--{} has no effect: {}"


@dataclass(frozen=True)
class Config(RunConfig):
    dataset: str = redefault("dataset", "MNIST")
    data_path: str = redefault("data_path", "data", aliases=("dataset_root",))
    model: str = redefault("model", "LeNet", aliases=("arch",), help="network to condense with; published: LeNet, and "
                           "AlexCifarNet for CIFAR-10")
    ipc: int = redefault("ipc", 10, help="images per class: what the synthetic set may store, in all steps together")
    distill_steps: int = option(10, "batches S of synthetic images, one after another; has to divide the images of a "
                                "class", least=1)
    distill_epochs: int = option(3, "times E that the steps are gone through; each time with step sizes of their own",
                                 least=1)
    distill_lr: float = option(0.02, "step size of each of the S E steps to begin with; all are learned (published "
                               "for CIFAR-10: 0.001)", above=0)
    lr: float = option(0.01, "learning rate of images and step sizes (Adam)", above=0, aliases=("lr_img",))
    epochs: int = option(400, "passes over the real images", least=0)
    Iteration: int | None = option(None, "updates of the synthetic images, in the place of --epochs", least=0)
    decay_epochs: int = option(40, "passes after each of which the learning rate falls", least=1)
    decay_factor: float = option(0.5, "factor by which it does", above=0)
    batch_size: int = option(1024, "real images per update", least=1)
    augment_real: str = option("auto", "real images mirrored at their edges, cropped at random and flipped; auto: for "
                               "CIFAR10, as published", choices=("auto", "crop_flip", "none"))
    train_nets_type: str = option("unknown_init", "networks to learn for: fresh ones in each update (unknown_init), or "
                                  "a few that stay and are scored, too (known_init)", choices=REGIMES)
    n_nets: int = option(1, "networks per update, or, with known_init, those that there are", least=1)
    sample_n_nets: int | None = option(None, "of those of known_init, how many are drawn for an update; all if not "
                                       "given", least=1)
    net_init: str = option("xavier", "how networks start: xavier (normal), or default, PyTorch's own",
                           choices=("xavier", "default"))
    init_param: float = option(1.0, "gain of --net_init xavier", above=0)
    inner_momentum: float = option(0.0, "momentum of the steps on the synthetic images", least=0)
    window: int | None = option(None, "differentiate so many steps only, the last before an end that is drawn anew for "
                                "each update (RaT-BPTT)", least=1)
    unroll: str = option("auto", "how the steps are differentiated: full keeps their graph, checkpoint parts of it, "
                         "constant one step's. auto: full where it fits, else constant",
                         choices=("auto", "full", "checkpoint", "constant"))
    optimizer: str = redefault("optimizer", "adam")
    eval_mode: str = redefault("eval_mode", "SS")
    num_exp: int = redefault("num_exp", 1)
    num_eval: int | None = redefault("num_eval", None, aliases=("test_n_nets",), help="fresh networks per evaluation; "
                                     f"{NUM_EVAL} if not given, with known_init the --n_nets networks themselves")
    eval_every: int = redefault("eval_every", 2000, least=0, help="updates between evaluations, 0: only the last")
    seed: int = redefault("seed", 0, aliases=("base_seed",))
    save_path: str = redefault("save_path", "result", aliases=("results_dir",))
    lr_net: ClassVar[None] = None                          # networks take the learned steps, and no others
    epoch_eval_train: ClassVar[None] = None
    batch_train: ClassVar[None] = None
    distilled_images_per_class_per_step: int | None = option(None, "", dead="--distilled_images_per_class_per_step is "
                                                             "refused")
    mode: str | None = option(None, "", choices=("distill_basic",), dead=ELSEWHERE.format("mode", "it is the only one"))
    phase: str | None = option(None, "", choices=("train",), dead=ELSEWHERE.format("phase", "evaluate.py scores a set"))
    test_nets_type: str | None = option(None, "", dead=ELSEWHERE.format("test_nets_type", "--train_nets_type says it"))
    test_batch_size: int | None = option(None, "", dead=ELSEWHERE.format("test_batch_size", "see --chunk"))
    test_niter: int | None = option(None, "", dead=ELSEWHERE.format("test_niter", "all test images count"))
    log_interval: int | None = option(None, "", dead=ELSEWHERE.format("log_interval", "losses are logged as they come"))
    checkpoint_interval: int | None = option(None, "", dead=ELSEWHERE.format("checkpoint_interval", "see "
                                                                             "--checkpoint_every, in updates"))
    num_workers: int | None = option(None, "", dead=ELSEWHERE.format("num_workers", "images are on the device"))
    device_id: int | None = option(None, "", dead=ELSEWHERE.format("device_id", "see --device"))
    world_size: int | None = option(None, "", dead=ELSEWHERE.format("world_size", "one process does it all"))
    no_log: bool = option(False, "", dead=ELSEWHERE.format("no_log", "the journal is beside the result"))


def check(cfg):
    """Raise ValueError for options that do not go together."""
    if cfg.distilled_images_per_class_per_step:
        raise ValueError("--distilled_images_per_class_per_step is told by --ipc, which counts all steps; give --ipc "
                         f"{cfg.distilled_images_per_class_per_step * cfg.distill_steps}")
    if cfg.train_nets_type == "unknown_init" and cfg.sample_n_nets not in (None, cfg.n_nets):
        raise ValueError("--train_nets_type unknown_init draws every network afresh, none from others; give --n_nets "
                         f"{cfg.sample_n_nets} and leave --sample_n_nets out")
    if (cfg.sample_n_nets or 1) > cfg.n_nets:
        raise ValueError(f"--sample_n_nets {cfg.sample_n_nets} of --n_nets {cfg.n_nets} are too many; lower it")
    if cfg.net_init == "default" and cfg.init_param != 1:
        raise ValueError("--init_param is the gain of --net_init xavier; leave it out")
    if cfg.window and cfg.window > cfg.distill_steps * cfg.distill_epochs:
        raise ValueError(f"--window {cfg.window} is longer than all {cfg.distill_steps * cfg.distill_epochs} steps; "
                         "lower it")
    if cfg.train_nets_type == "known_init" and cfg.num_eval not in (None, cfg.n_nets):
        raise ValueError(f"--train_nets_type known_init is scored on its own --n_nets {cfg.n_nets}; leave --num_eval "
                         "out")
    if cfg.train_nets_type == "known_init" and eval_pool(cfg.eval_mode, cfg.model) != (cfg.model,):
        raise ValueError(f"--train_nets_type known_init is scored on its own {cfg.model}; leave --eval_mode out")


def real_loss(student, theta, images, labels, chunk):
    """Return (CE(f(x; theta_T), y), its gradient lambda_T by theta_T (P,)): the mean over a real minibatch.

    It is taken after the last step alone, of first order, and `chunk` images at a time.
    """
    theta, total = theta.detach().requires_grad_(), 0
    for x, y in zip(images.split(chunk), labels.split(chunk)):
        loss = F.cross_entropy(student.logits(theta, x), y, reduction="sum") / len(images)
        loss.backward()
        total = total + loss.detach()
    return total, theta.grad


def inner_gradient(student, batches):
    """Return the gradient that step t descends, that of the mean cross-entropy on batch t mod S: (t, theta, x, y)."""
    def gradient(t, theta, images, labels):
        rows = batches[t % len(batches)]
        return student.gradient(theta, images[rows], labels[rows])
    return gradient


def main(cfg, name="DD"):
    check(cfg)
    descent, num_steps = InnerSGD(cfg.inner_momentum), cfg.distill_steps * cfg.distill_epochs
    pool = eval_pool(cfg.eval_mode, cfg.model)
    known = cfg.train_nets_type == "known_init"
    cfg = replace(cfg, num_eval=cfg.num_eval or (cfg.n_nets if known else NUM_EVAL))
    run = start_run(cfg, name)
    real = load_data(cfg.dataset, cfg.data_path, run.device, im_size=cfg.im_size, resize=cfg.resize, seed=cfg.seed,
                     progress=cfg.progress, zca=cfg.zca, subset=cfg.subset, classes=cfg.classes)
    protocol = StepProtocol(cfg.distill_epochs, momentum=cfg.inner_momentum, distill_steps=cfg.distill_steps,
                            net_init=cfg.net_init, gain=cfg.init_param)
    scorer = Scorer(real, dict.fromkeys(pool, protocol), cfg.num_eval, run.compute, run.rng, cfg.progress)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    if has_batchnorm(net):
        raise ValueError(f"--model {cfg.model} has batch norm, whose statistics no step learns; choose one with "
                         "another norm")
    student = Student(net, run.compute, run.compute.chunk_for(real.im_size))
    chunk = cfg.chunk or max(REAL_CHUNK, run.compute.chunk_for(real.im_size))
    number = (cfg.sample_n_nets or cfg.n_nets) if known else cfg.n_nets
    starts = Starts(net, cfg.train_nets_type, cfg.n_nets, number, cfg.net_init, cfg.init_param, run.rng)
    augmented = cfg.augment_real == "crop_flip" or (cfg.augment_real == "auto" and real.name == "CIFAR10")
    per_epoch = Passes(real, cfg.batch_size, None).length
    iterations = cfg.epochs * per_epoch if cfg.Iteration is None else cfg.Iteration
    run.begin(real, scorer, cfg.eval_every, iterations=iterations)

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, cfg.init, run.rng("init", exp),
                                    **cfg.form_options())
        synthetic.learn_step_sizes(cfg.distill_lr, cfg.distill_steps, cfg.distill_epochs)
        fixed = starts.fixed(exp)                                # (n_nets, P), or None
        synthetic.start_from_networks(cfg.model, fixed)
        groups = [*synthetic.param_groups(cfg.lr, MOMENTUM),
                  {"params": [synthetic.raw_step_sizes], "lr": cfg.lr, "momentum": MOMENTUM}]
        optimizer = build_optimizer(cfg.optimizer, groups, cfg.clip_grad)
        passes = Passes(real, cfg.batch_size, lambda epoch: run.rng("data", exp, epoch))     # noqa: B023
        batches = split_steps(synthetic.hard_labels, cfg.distill_steps)                      # S tensors of indices
        mode = choose_mode(cfg.unroll, cfg.window or num_steps, len(batches[0]), real.im_size, run.device)
        run.note(exp, unroll=mode, iterations=iterations)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            for group in optimizer.param_groups:                 # falls where an epoch ends, not where it begins
                group["lr"] = cfg.lr * cfg.decay_factor ** (it // per_epoch // cfg.decay_epochs)
            batch = passes.batch(it)
            x = batch.images()
            x = crop_and_flip(x, run.rng("augmentation", exp, it)) if augmented else x
            steps, first = num_steps, 0
            if cfg.window:
                steps, first = draw_window(cfg.window, num_steps, run.rng("set", exp, it, 2))
            learned = synthetic.images(), synthetic.step_sizes   # (n, C, H, W), (T,)
            loss, gradients = 0, [0, 0]
            for theta in starts.of_step(exp, it, fixed):         # (P,), one network after another: memory of one
                theta = descent.unroll(inner_gradient(student, batches), theta, learned[1], steps,
                                       (learned[0], synthetic.labels), mode, first)
                of_one, adjoint = real_loss(student, theta, x, batch.labels, chunk)
                found = torch.autograd.grad(theta, learned, adjoint / number)
                loss, gradients = loss + of_one / number, [a + b for a, b in zip(gradients, found)]
            run.log(loss=loss)
            optimizer.zero_grad()
            torch.autograd.backward(learned, gradients)          # once through softplus, and what images are made of
            extra = synthetic.extra_loss(None, run.rng("set", exp, it, 0))
            if torch.is_tensor(extra):
                extra.backward()
            optimizer.step()
            synthetic.after_step(None, run.rng("set", exp, it, 1), end=True)
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
