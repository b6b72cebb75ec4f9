"""RTP: learn a set so that many momentum steps on minibatches of it train a network.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks", NeurIPS
2022: the set is an addressable memory (RTP), or with --parameterization pixels plain images (BPTT). With --window only
the last steps are differentiated: Feng, Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation" (RaT-BPTT),
ICLR 2024.

    python main_RTP.py --dataset CIFAR10 --ipc 1
    python main_RTP.py --config configs/RTP/CIFAR10_ipc1.yaml
    python main_RTP.py --config configs/BPTT/CIFAR10_ipc1.yaml
"""

from dataclasses import dataclass, replace
from functools import partial

import torch

from augment import draw_siamese
from condense import cli
from condense.cli import auto, flags, option, redefault
from condense.experts import NetworkStarts
from condense.matching import InnerSGD, Student, choose_mode, draw_window, inner_gradient, real_loss
from condense.methods import METHODS
from condense.run import run_script, start_run
from condense.synthetic import build_optimizer, build_synthetic
from condense.training import class_minibatches, crop_and_flip, draw_classes
from condense.training.unrolled_options import check_sampled
from networks import get_network, refuse_batchnorm
from utils import Scorer, eval_pool, load_data, named_protocols

MOMENTUM = 0.5                             # of the updates of the set: Adam's first beta, and with SGD, as published
REAL_CHUNK = 256                           # real images at a time: fewer take longer, with networks of few channels
# the defaults of main_DD.py, for its --inner_steps
AS_DD = {"dataset": "MNIST", "model": "LeNet", "ipc": 10, "parameterization": "pixels", "distill_lr": 0.02, "lr": 0.01,
         "optimizer": "adam", "clip_grad": None, "net_init": "xavier", "inner_momentum": 0.0, "batch_syn": None}


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.SetOptions, cli.ComputeOptions, cli.RunOptions, flags.RTP):
    data_path: str = redefault("data_path", "data", aliases=("dataset_root",))
    model: str = redefault("model", "ConvNet", aliases=("arch",))
    parameterization: str = redefault("parameterization", "memory")
    inner_steps: int = option(150, "number T of steps on minibatches drawn from the "
                                   "set", ge=1, aliases=("bptt_inner_steps",))
    distill_lr: float = option(0.01, "size of each of the T steps; it is not learned", gt=0)
    inner_momentum: float = option(0.9, "momentum of the T steps", ge=0)
    batch_syn: int | None = option(32, "images of each class in a minibatch of the T steps; -1: all", ge=-1,
                                   aliases=("compressor_minibatch_size",))
    batch_real: int = option(64, "real images of each class in an update", ge=1)
    task_sampler_nc: int | None = option(None, "classes drawn for an update; all if not given or -1", ge=-1)
    dsa_strategy: str = option("none", "augmentation operators, joined by _ ; drawn once per update for all synthetic "
                               "and real images, in evaluation for each image", aliases=("interventions",))
    optimizer: str = redefault("optimizer", "sgd")
    lr: float = option(0.1, "learning rate of the set", gt=0, aliases=("lr_img", "compressor_lr"))
    clip_grad: float | None = redefault("clip_grad", 2.0)
    Iteration: int = option(50000, "updates of the set (the original runs until it is stopped)", ge=0)
    augment_real: str = option("none", "augmentation of real images: padded by mirroring, cropped at random and "
                                       "flipped (crop_flip), or none",
                               choices=("auto", "crop_flip", "none"))
    n_nets: int = option(1, "fresh networks per update", ge=1)
    net_init: str = option("default", "initialisation of networks: default (PyTorch's), or xavier (normal)",
                           choices=("xavier", "default"))
    init_param: float = option(1.0, "gain of --net_init xavier", gt=0)
    window: int | None = option(None, "differentiate only this many steps: the last ones before a step that is drawn "
                                "for each update (RaT-BPTT)", ge=1)
    unroll: str = option("auto", "how to differentiate through the steps: full keeps the whole graph, checkpoint a "
                         "part of it, constant that of one step; auto: full if it fits into memory, else constant",
                         choices=("auto", "full", "checkpoint", "constant"))
    eval_mode: str = redefault("eval_mode", "SS")
    num_exp: int = redefault("num_exp", 1)
    num_eval: int = redefault("num_eval", 10, aliases=("test_n_nets",))
    eval_every: int = redefault("eval_every", 2000, ge=0, help="updates between evaluations, 0: only the last")
    seed: int = redefault("seed", 0, aliases=("base_seed",))
    save_path: str = redefault("save_path", "result", aliases=("results_dir",))
    lr_net: float | None = redefault("lr_net", None, help="learning rate of protocol rtp, which evaluates the set; "
                                     "0.01 if not given")
    epoch_eval_train: int | None = redefault("epoch_eval_train", None, help="epochs of protocol rtp, which evaluates "
                                                                            "the set; 300 if not given")
    batch_train: int | None = redefault("batch_train", None, help="minibatch size of protocol rtp; 640 if not given")


def method_of(cfg):
    """Return the name that results bear: RTP where the set is a memory, else BPTT."""
    return "RTP" if cfg.parameterization == METHODS["RTP"].form else "BPTT"


def protocols_of(cfg, pool, real):
    """Return {network name: `Protocol`}: that of Remember the Past, with the run's augmentation where it has one."""
    protocols = named_protocols("rtp", pool, real, epochs=cfg.epoch_eval_train, lr=cfg.lr_net,
                                batch_size=cfg.batch_train)
    if cfg.dsa_strategy == "none":
        return protocols
    return {model: replace(protocol, augmentation="siamese", strategy=cfg.dsa_strategy)
            for model, protocol in protocols.items()}


def main(cfg, name=None):
    check_sampled(cfg)
    descent = InnerSGD(cfg.inner_momentum)
    pool = eval_pool(cfg.eval_mode, cfg.model)
    run = start_run(cfg, name or method_of(cfg))
    real = load_data(cfg.data, device=run.device)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    refuse_batchnorm(net, cfg.model, "whose statistics no step learns")
    student = Student(net, run.compute, run.compute.chunk_for(real.im_size))
    chunk = cfg.chunk or max(REAL_CHUNK, run.compute.chunk_for(real.im_size))
    starts = NetworkStarts(net, "unknown_init", cfg.n_nets, cfg.n_nets, cfg.net_init, cfg.init_param, run.rng)
    scorer = Scorer(real, protocols_of(cfg, pool, real), cfg.num_eval, run.compute, run.rng, cfg.progress)
    sizes = torch.tensor(cfg.distill_lr, device=run.device)
    run.begin(real, scorer, cfg.eval_every)

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, cfg.init),
                                    run.rng("init", exp), **cfg.form_options())
        synthetic.learned_steps.start_from(cfg.model, None)
        minibatches = partial(class_minibatches, synthetic.counts, auto.number_or_all(cfg.batch_syn),
                              device=run.device, views=synthetic.views)
        batch_size = len(minibatches(1, run.rng("data", exp, 0, 1))[0])
        optimizer = build_optimizer(cfg.optimizer, synthetic.param_groups(cfg.lr, MOMENTUM), cfg.clip_grad)
        mode = choose_mode(cfg.unroll, cfg.window or cfg.inner_steps, batch_size, real.im_size, run.device)
        run.note(exp, unroll=mode, iterations=cfg.Iteration)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            classes = draw_classes(real.num_classes, auto.number_or_all(cfg.task_sampler_nc),
                                   run.rng("data", exp, it, 0))
            rows = minibatches(cfg.inner_steps, run.rng("data", exp, it, 1), classes)
            batch = real.sample(classes, cfg.batch_real, run.rng("data", exp, it, 2))
            augment = draw_siamese(cfg.dsa_strategy, 1, run.rng("augmentation", exp, it, 1), run.device)
            x = batch.images()
            if cfg.augment_real == "crop_flip":
                x = crop_and_flip(x, run.rng("augmentation", exp, it))
            x, steps, first = augment(x), cfg.inner_steps, 0
            if cfg.window:
                steps, first = draw_window(cfg.window, cfg.inner_steps, run.rng("set", exp, it, 2))
            images, loss, gradient = synthetic.images(), 0, 0    # (n, C, H, W)
            for theta in starts.of_step(exp, it, None):          # (P,), one network after another: memory of one
                theta = descent.unroll(inner_gradient(student, rows, augment), theta, sizes, steps,
                                       (images, synthetic.labels), mode, first)
                of_one, adjoint = real_loss(student, theta, x, batch.labels, chunk)
                (found,) = torch.autograd.grad(theta, images, adjoint / cfg.n_nets)
                loss, gradient = loss + of_one / cfg.n_nets, gradient + found
            run.log(loss=loss)
            optimizer.zero_grad()
            images.backward(gradient)                            # once through what images are made of
            extra = synthetic.extra_loss(None, run.rng("set", exp, it, 0))
            if torch.is_tensor(extra):
                extra.backward()
            optimizer.step()
            synthetic.after_step(None, run.rng("set", exp, it, 1), end=True)
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
