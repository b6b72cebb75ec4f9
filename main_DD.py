"""DD: learn images, and the size of each step on them, so that a few gradient steps train a network.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018 (arXiv 1811.10959), algorithm 1 with many steps and epochs.
With --train_nets_type loaded, networks were trained before, and --objective says what they are to learn.

    python main_DD.py --dataset MNIST --ipc 1 --distill_steps 1 --train_nets_type known_init
    python main_DD.py --config configs/DD/CIFAR10_ipc10.yaml
    python main_DD.py --config configs/DD/MNIST_ipc10_from_Digits.yaml      # networks of buffer.py
"""

import logging
from dataclasses import dataclass

import torch

from augment import draw_siamese
from condense import cli
from condense.cli import flags, is_given, option, redefault
from condense.evaluation import BeforeAfter, accuracy_alone, poisoned
from condense.experts import REGIMES, NetworkStarts, open_banks
from condense.matching import InnerSGD, Student, choose_mode, draw_window, inner_gradient, real_loss
from condense.methods import METHODS
from condense.run import run_script, start_run
from condense.synthetic import build_optimizer, build_synthetic, outline_synthetic
from condense.training import Passes, StepProtocol, crop_and_flip, split_steps
from condense.training.unrolled_options import NUM_EVAL, OBJECTIVES, num_steps_of, settle_steps, source_of
from networks import get_network, refuse_batchnorm
from utils import Scorer, eval_pool, load_data

MOMENTUM = 0.5                             # of the updates of the set: Adam's first beta, and with SGD, as published
REAL_CHUNK = 256                           # real images at a time: fewer take longer, with networks of few channels


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.SetOptions, cli.ComputeOptions, cli.RunOptions, flags.DD):
    dataset: str = redefault("dataset", "MNIST")
    data_path: str = redefault("data_path", "data", aliases=("dataset_root",))
    model: str = redefault("model", "LeNet", aliases=("arch",), help="network to condense with; published: LeNet, and "
                           "AlexCifarNet for CIFAR-10")
    ipc: int = redefault("ipc", 10, help="images per class in all steps together: the storage that the synthetic set "
                                         "may take")
    distill_steps: int = option(10, "number S of batches of synthetic images, used one after another; must divide the "
                                "images of a class", ge=1)
    distill_epochs: int = option(3, "number E of passes through the S batches; each pass has its own step sizes",
                                 ge=1)
    distill_lr: float = option(0.02, "first step size of each of the S E steps; all are learned (published for "
                               "CIFAR-10: 0.001)", gt=0)
    inner_steps: int | None = option(None, "take this many steps on minibatches drawn from the set instead of S E "
                                     "steps: runs main_RTP.py", ge=1, aliases=("bptt_inner_steps",), neutral=True)
    dsa_strategy: str = option("none", "augmentation operators, joined by _ ; drawn once per update for all synthetic "
                               "and real images", aliases=("interventions",))
    lr: float = option(0.01, "learning rate of images and step sizes", gt=0, aliases=("lr_img", "compressor_lr"))
    epochs: int = option(400, "passes over the real images", ge=0)
    Iteration: int | None = option(None, "updates of the synthetic images, instead of --epochs", ge=0)
    decay_epochs: int = option(40, "the learning rate falls each time after this many passes", ge=1)
    decay_factor: float = option(0.5, "factor of the learning rate at each fall", gt=0)
    batch_size: int = option(1024, "real images per update", ge=1)
    augment_real: str = option("auto", "augmentation of real images: padded by mirroring, cropped at random and "
                               "flipped (crop_flip), or none; auto: crop_flip for CIFAR10, as "
                               "published", choices=("auto", "crop_flip", "none"))
    train_nets_type: str = option("unknown_init", "networks that the set is learned for: fresh ones in each update "
                                  "(unknown_init); a few fixed ones, which also evaluate it (known_init); or the first "
                                  "--n_nets that buffer.py trained (loaded), evaluated on the next --num_eval ones, a "
                                  "single one on itself",
                                  choices=REGIMES)
    n_nets: int = option(1, "fresh networks per update; with known_init and loaded: number of networks", ge=1)
    sample_n_nets: int | None = option(None, "with known_init and loaded: networks drawn for each update; all if not "
                                       "given", ge=1)
    objective: str = option("distill", "what the steps teach: the real images (distill), the real images to networks "
                            "trained on --source_dataset (adapt), or to take one class for another (poison)",
                            choices=tuple(OBJECTIVES))
    source_dataset: str | None = option(None, "data set that the networks of --objective adapt were trained on")
    source_data_path: str | None = option(None, "folder (or file) of --source_dataset; if not given, that of "
                                                "--dataset", neutral=True)
    buffer_path: str = option("./buffers", "folder of the experts that buffer.py wrote", neutral=True)
    attack_class: int = option(0, "class that --objective poison attacks, counted from 0 (within --classes)", ge=0)
    target_class: int = option(1, "class that --attack_class should be taken for", ge=0)
    net_init: str = option("xavier", "initialisation of networks: xavier (normal), or default (PyTorch's)",
                           choices=("xavier", "default"))
    init_param: float = option(1.0, "gain of --net_init xavier", gt=0)
    inner_momentum: float = option(0.0, "momentum of the steps on the synthetic images", ge=0)
    window: int | None = option(None, "differentiate only this many steps: the last ones before a step that is drawn "
                                "for each update (RaT-BPTT)", ge=1)
    unroll: str = option("auto", "how to differentiate through the steps: full keeps the whole graph, checkpoint a "
                         "part of it, constant that of one step; auto: full if it fits into memory, else constant",
                         choices=("auto", "full", "checkpoint", "constant"))
    optimizer: str = redefault("optimizer", "adam")
    eval_mode: str = redefault("eval_mode", "SS")
    num_exp: int = redefault("num_exp", 1)
    num_eval: int | None = redefault("num_eval", None, aliases=("test_n_nets",), help="fresh networks per evaluation "
                                     f"(with loaded: held-out networks); {NUM_EVAL} if not given, with known_init the "
                                     "--n_nets networks")
    eval_every: int = redefault("eval_every", 2000, ge=0, help="updates between evaluations, 0: only the last")
    seed: int = redefault("seed", 0, aliases=("base_seed",))
    save_path: str = redefault("save_path", "result", aliases=("results_dir",))
    mode: str | None = option(None, "", choices=tuple(OBJECTIVES.values()), dead="--mode is called --objective here")


def main(cfg, name="DD"):
    cfg = settle_steps(cfg)
    descent, num_steps = InnerSGD(cfg.inner_momentum), num_steps_of(cfg)
    pool = eval_pool(cfg.eval_mode, cfg.model)
    run = start_run(cfg, name)
    real = load_data(cfg.data, device=run.device)
    outline = outline_synthetic(cfg.parameterization, real, cfg.ipc, **cfg.form_options())
    outline.learned_steps.learn_each(cfg.distill_lr, cfg.distill_steps, cfg.distill_epochs)     # refuses odd cuts
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    refuse_batchnorm(net, cfg.model, "whose statistics no step learns")
    student = Student(net, run.compute, run.compute.chunk_for(real.im_size))
    chunk = cfg.chunk or max(REAL_CHUNK, run.compute.chunk_for(real.im_size))
    banks, number = None, cfg.sample_n_nets or cfg.n_nets
    if cfg.train_nets_type == "loaded":                          # (to learn for, to score on)
        banks = open_banks(cfg.buffer_path, net, real, cfg.model, cfg.n_nets, cfg.num_eval, cfg.data, run.device,
                           source_of(cfg))
    starts = NetworkStarts(net, cfg.train_nets_type, cfg.n_nets, number, cfg.net_init, cfg.init_param, run.rng, banks)
    augmented = cfg.augment_real == "crop_flip" or (cfg.augment_real == "auto" and real.name == "CIFAR10")
    per_epoch = Passes(real, cfg.batch_size, None).length
    iterations = cfg.epochs * per_epoch if cfg.Iteration is None else cfg.Iteration
    protocols = dict.fromkeys(pool, StepProtocol(cfg.distill_epochs, momentum=cfg.inner_momentum, gain=cfg.init_param,
                                                 net_init=cfg.net_init, distill_steps=cfg.distill_steps))
    scorer = Scorer(real, protocols, cfg.num_eval, run.compute, run.rng, cfg.progress)
    relabel, figures = (lambda labels: labels), accuracy_alone
    if cfg.objective == "poison":                                # of the outer loss alone, not of the synthetic images
        relabel, figures = poisoned(cfg.attack_class, cfg.target_class, real.num_classes)
    if cfg.train_nets_type != "unknown_init":
        scorer = BeforeAfter(**vars(scorer) | {"confusion": True}, figures=figures, last=iterations, note=run.note)
    run.begin(real, scorer, cfg.eval_every, iterations=iterations, **({"bank": banks[0].source} if banks else {}))

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, cfg.init),
                                    run.rng("init", exp), **cfg.form_options())
        synthetic.learned_steps.learn_each(cfg.distill_lr, cfg.distill_steps, cfg.distill_epochs)
        groups = [*synthetic.param_groups(cfg.lr, MOMENTUM),
                  {"params": [synthetic.learned_steps.raw_sizes], "lr": cfg.lr, "momentum": MOMENTUM}]
        batches = split_steps(synthetic.hard_labels, cfg.distill_steps)                  # S tensors of indices
        rows = batches * cfg.distill_epochs
        fixed = starts.fixed(exp)                                # (n_nets, P) or as many to read, or None
        synthetic.learned_steps.start_from(cfg.model, starts.scored(fixed))
        optimizer = build_optimizer(cfg.optimizer, groups, cfg.clip_grad)
        passes = Passes(real, cfg.batch_size, lambda epoch: run.rng("data", exp, epoch))     # noqa: B023
        mode = choose_mode(cfg.unroll, cfg.window or num_steps, len(batches[0]), real.im_size, run.device)
        run.note(exp, unroll=mode, iterations=iterations)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            batch = passes.batch(it)
            for group in optimizer.param_groups:                 # falls where an epoch ends, not where it begins
                decayed = cfg.decay_factor ** (it // per_epoch // cfg.decay_epochs)
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * decayed
            augment = draw_siamese(cfg.dsa_strategy, 1, run.rng("augmentation", exp, it, 1), run.device)
            x = batch.images()
            x = augment(crop_and_flip(x, run.rng("augmentation", exp, it)) if augmented else x)
            steps, first = num_steps, 0
            if cfg.window:
                steps, first = draw_window(cfg.window, num_steps, run.rng("set", exp, it, 2))
            learned = images, sizes = synthetic.images(), synthetic.learned_steps.sizes           # (n, C, H, W), (S E,)
            loss, gradients = 0, [0, 0]
            for theta in starts.of_step(exp, it, fixed):         # (P,), one network after another: memory of one
                theta = descent.unroll(inner_gradient(student, rows, augment), theta, sizes, steps,
                                       (images, synthetic.labels), mode, first)
                of_one, adjoint = real_loss(student, theta, x, relabel(batch.labels), chunk)
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


def start(argv=None):
    """Run this script. With --inner_steps, run main_RTP.py instead, with the defaults of this script."""
    if not is_given(Config, "inner_steps", argv):
        return run_script(main, Config, __doc__, argv)
    logging.getLogger("condense").info("--inner_steps: many steps on minibatches of the set are those of main_RTP.py, "
                                       "which runs now")
    other = METHODS["RTP"].load()
    return run_script(other.main, other.Config, other.__doc__, argv, defaults=other.AS_DD)


if __name__ == "__main__":
    start()
