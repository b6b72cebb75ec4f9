"""DD: learn images, and the size of each step on them, such that a few steps of descent train a network.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018 (arXiv 1811.10959), algorithm 1 with many steps and epochs.
With --train_nets_type loaded networks are trained before, and what they learn is said by --objective.
With --inner_steps training goes on for many steps, on minibatches of the set, with momentum: Deng & Russakovsky,
"Remember the Past", NeurIPS 2022; with --window through its last steps alone: Feng, Vedantam & Kempe (RaT-BPTT), ICLR
2024.

    python main_DD.py --dataset MNIST --ipc 1 --distill_steps 1 --train_nets_type known_init
    python main_DD.py --config configs/DD/CIFAR10_ipc10.yaml
    python main_DD.py --config configs/DD/MNIST_ipc10_from_Digits.yaml      # networks of buffer.py
    python main_DD.py --config configs/RTP/CIFAR10_ipc1.yaml
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F

from augment import draw_siamese
from networks import get_network, has_batchnorm
from utils import (
    NUM_EVAL,
    OBJECTIVES,
    REGIMES,
    BeforeAfter,
    InnerSGD,
    OptionError,
    Passes,
    RunConfig,
    Scorer,
    Starts,
    StepProtocol,
    Student,
    accuracy_alone,
    build_optimizer,
    build_synthetic,
    choose_mode,
    class_minibatches,
    crop_and_flip,
    draw_classes,
    draw_window,
    eval_pool,
    load_data,
    named_protocols,
    num_steps_of,
    open_banks,
    option,
    outline_synthetic,
    poisoned,
    redefault,
    require_alike,
    run_script,
    settle_steps,
    split_steps,
    start_run,
)

MOMENTUM = 0.5                             # of the updates of the set: Adam's first beta, and with SGD, as published
REAL_CHUNK = 256                           # real images at a time: fewer take longer, with networks of few channels
BATCH_REAL = 64                            # real images per class and update of Remember the Past
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
    inner_steps: int | None = option(None, "steps T on minibatches drawn from the set, in the place of S batches E "
                                     "times; --distill_lr is the size of each and stays (Remember the Past: 150, 0.01)",
                                     least=1, aliases=("bptt_inner_steps",))
    batch_syn: int | None = option(None, "images of each class in such a minibatch; all if not given, or -1", least=-1,
                                   aliases=("compressor_minibatch_size",))
    batch_real: int | None = option(None, "real images of each class in an update with --inner_steps; "
                                    f"{BATCH_REAL} if not given", least=1)
    task_sampler_nc: int | None = option(None, "classes drawn for such an update; all if not given, or -1", least=-1)
    dsa_strategy: str = option("none", "operators, joined by _: one draw in an update for all synthetic and real "
                               "images; with --inner_steps, networks that are scored draw per image",
                               aliases=("interventions",))
    lr: float = option(0.01, "learning rate of images and step sizes", above=0, aliases=("lr_img", "compressor_lr"))
    epochs: int = option(400, "passes over the real images", least=0)
    Iteration: int | None = option(None, "updates of the synthetic images, in the place of --epochs", least=0)
    decay_epochs: int = option(40, "passes after each of which the learning rate falls", least=1)
    decay_factor: float = option(0.5, "factor by which it does", above=0)
    batch_size: int = option(1024, "real images per update", least=1)
    augment_real: str = option("auto", "real images mirrored at their edges, cropped at random and flipped; auto: for "
                               "CIFAR10, as published", choices=("auto", "crop_flip", "none"))
    train_nets_type: str = option("unknown_init", "networks to learn for: fresh ones in each update (unknown_init), a "
                                  "few that stay and are scored, too (known_init), or the first --n_nets that "
                                  "buffer.py trained (loaded; scored on the next --num_eval, one alone on itself)",
                                  choices=REGIMES)
    n_nets: int = option(1, "networks per update, or, with known_init and loaded, those that there are", least=1)
    sample_n_nets: int | None = option(None, "of those of known_init and loaded, how many are drawn for an update; all "
                                       "if not given", least=1)
    objective: str = option("distill", "what the steps are to teach: the real images (distill), the same to networks "
                            "that --source_dataset trained (adapt), or to call one class another (poison)",
                            choices=tuple(OBJECTIVES))
    source_dataset: str | None = option(None, "data set that the networks of --objective adapt were trained on")
    source_data_path: str | None = option(None, "its folder (or file); that of --dataset if not given", neutral=True)
    buffer_path: str = option("./buffers", "folder of the experts that buffer.py wrote", neutral=True)
    attack_class: int = option(0, "class that --objective poison attacks, counted from 0 (within --classes)", least=0)
    target_class: int = option(1, "class that it is to be taken for", least=0)
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
    num_eval: int | None = redefault("num_eval", None, aliases=("test_n_nets",), help="fresh networks per evaluation "
                                     f"(with loaded, held-out ones); {NUM_EVAL} if not given, with known_init the "
                                     "--n_nets networks themselves")
    eval_every: int = redefault("eval_every", 2000, least=0, help="updates between evaluations, 0: only the last")
    seed: int = redefault("seed", 0, aliases=("base_seed",))
    save_path: str = redefault("save_path", "result", aliases=("results_dir",))
    lr_net: float | None = redefault("lr_net", None, help="of protocol rtp, by which a set of --inner_steps is scored; "
                                     "0.01 if not given")
    epoch_eval_train: int | None = redefault("epoch_eval_train", None, help="the same; 300 if not given")
    batch_train: int | None = redefault("batch_train", None, help="the same; 640 if not given")
    distilled_images_per_class_per_step: int | None = option(None, "", dead="--distilled_images_per_class_per_step is "
                                                             "refused")
    mode: str | None = option(None, "", choices=tuple(OBJECTIVES.values()), dead="--mode is called --objective here")
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


def inner_gradient(student, rows, augment):
    """Return the gradient that step t descends, that of the mean cross-entropy on images rows[t]: (t, theta, x, y)."""
    def gradient(t, theta, images, labels):
        return student.gradient(theta, augment(images[rows[t]]), labels[rows[t]])
    return gradient


def or_all(number):
    """Return `number`, or None for -1, the original's word for all."""
    return None if number == -1 else number


def method_of(cfg):
    """Return the name that results bear: DD, or with --inner_steps BPTT, and RTP where the set is a memory."""
    if not cfg.inner_steps:
        return "DD"
    return "RTP" if cfg.parameterization == "memory" else "BPTT"


def protocols_of(cfg, pool, real):
    """Return {network name: `Protocol`}: the learned steps, or with --inner_steps those of Remember the Past."""
    if not cfg.inner_steps:
        return dict.fromkeys(pool, StepProtocol(cfg.distill_epochs, momentum=cfg.inner_momentum, net_init=cfg.net_init,
                                                distill_steps=cfg.distill_steps, gain=cfg.init_param))
    protocols = named_protocols("rtp", pool, real, epochs=cfg.epoch_eval_train, lr=cfg.lr_net,
                                batch_size=cfg.batch_train)
    if cfg.dsa_strategy == "none":
        return protocols
    return {model: replace(protocol, augmentation="siamese", strategy=cfg.dsa_strategy)
            for model, protocol in protocols.items()}


def load_banks(cfg, net, real, device):
    """Return the networks that are trained already, (to learn for, to score on); None where there are none."""
    if cfg.train_nets_type != "loaded":
        return None
    source, path = real, cfg.source_data_path or cfg.data_path
    subset = cfg.subset if (cfg.source_dataset or cfg.dataset) == "ImageNet" else None
    if cfg.source_dataset:
        source = load_data(cfg.source_dataset, path, im_size=cfg.im_size, resize=cfg.resize, seed=cfg.seed,
                           progress=cfg.progress, zca=cfg.zca, subset=subset, classes=cfg.classes)
        require_alike(source, real)
    return open_banks(cfg.buffer_path, net, source, cfg.model, cfg.n_nets, cfg.num_eval, device, subset=subset,
                      data_path=None if path == Config.data_path else path, seed=cfg.seed, resize=cfg.resize)


def main(cfg, name=None):
    cfg = settle_steps(cfg)
    descent, num_steps = InnerSGD(cfg.inner_momentum), num_steps_of(cfg)
    pool = eval_pool(cfg.eval_mode, cfg.model)
    run = start_run(cfg, name or method_of(cfg))
    real = load_data(cfg.dataset, cfg.data_path, run.device, im_size=cfg.im_size, resize=cfg.resize, seed=cfg.seed,
                     progress=cfg.progress, zca=cfg.zca, subset=cfg.subset, classes=cfg.classes)
    outline = outline_synthetic(cfg.parameterization, real, cfg.ipc, **cfg.form_options())
    if not cfg.inner_steps:                                      # refuses steps that it cannot be cut into
        outline.learned_steps.learn_each(cfg.distill_lr, cfg.distill_steps, cfg.distill_epochs)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    if has_batchnorm(net):
        raise OptionError(f"--model {cfg.model} has batch norm, whose statistics no step learns; choose one with "
                          "another norm")
    student = Student(net, run.compute, run.compute.chunk_for(real.im_size))
    chunk = cfg.chunk or max(REAL_CHUNK, run.compute.chunk_for(real.im_size))
    banks, number = load_banks(cfg, net, real, run.device), cfg.sample_n_nets or cfg.n_nets
    starts = Starts(net, cfg.train_nets_type, cfg.n_nets, number, cfg.net_init, cfg.init_param, run.rng, banks)
    augmented = cfg.augment_real == "crop_flip" or (cfg.augment_real == "auto" and real.name == "CIFAR10"
                                                    and not cfg.inner_steps)
    per_epoch = Passes(real, cfg.batch_size, None).length
    iterations = cfg.epochs * per_epoch if cfg.Iteration is None else cfg.Iteration
    scorer = Scorer(real, protocols_of(cfg, pool, real), cfg.num_eval, run.compute, run.rng, cfg.progress)
    relabel, figures = (lambda labels: labels), accuracy_alone
    if cfg.objective == "poison":                                # of the outer loss alone, not of the synthetic images
        relabel, figures = poisoned(cfg.attack_class, cfg.target_class, real.num_classes)
    if cfg.train_nets_type != "unknown_init":
        scorer = BeforeAfter(**vars(scorer) | {"confusion": True}, figures=figures, last=iterations, note=run.note)
    run.begin(real, scorer, cfg.eval_every, iterations=iterations, **({"bank": banks[0].source} if banks else {}))

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, cfg.init),
                                    run.rng("init", exp), **cfg.form_options())
        groups = synthetic.param_groups(cfg.lr, MOMENTUM)
        if cfg.inner_steps:
            drawn = partial(class_minibatches, synthetic.counts, or_all(cfg.batch_syn), device=run.device,
                            views=synthetic.views)
            batches = drawn(1, run.rng("data", exp, 0, 1))
        else:
            synthetic.learned_steps.learn_each(cfg.distill_lr, cfg.distill_steps, cfg.distill_epochs)
            groups += [{"params": [synthetic.learned_steps.raw_sizes], "lr": cfg.lr, "momentum": MOMENTUM}]
            batches = split_steps(synthetic.hard_labels, cfg.distill_steps)                  # S tensors of indices
        fixed = starts.fixed(exp)                                # (n_nets, P) or as many to read, or None
        synthetic.learned_steps.start_from(cfg.model, starts.scored(fixed))
        optimizer = build_optimizer(cfg.optimizer, groups, cfg.clip_grad)
        passes = Passes(real, cfg.batch_size, lambda epoch: run.rng("data", exp, epoch))     # noqa: B023
        mode = choose_mode(cfg.unroll, cfg.window or num_steps, len(batches[0]), real.im_size, run.device)
        run.note(exp, unroll=mode, iterations=iterations)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            if cfg.inner_steps:
                classes = draw_classes(real.num_classes, or_all(cfg.task_sampler_nc), run.rng("data", exp, it, 0))
                rows = drawn(num_steps, run.rng("data", exp, it, 1), classes)
                batch = real.sample(classes, cfg.batch_real or BATCH_REAL, run.rng("data", exp, it, 2))
            else:
                rows, batch = batches * cfg.distill_epochs, passes.batch(it)
                for group in optimizer.param_groups:             # falls where an epoch ends, not where it begins
                    decayed = cfg.decay_factor ** (it // per_epoch // cfg.decay_epochs)
                    group["lr"] = group.setdefault("initial_lr", group["lr"]) * decayed
            augment = draw_siamese(cfg.dsa_strategy, 1, run.rng("augmentation", exp, it, 1), run.device)
            x = batch.images()
            x = augment(crop_and_flip(x, run.rng("augmentation", exp, it)) if augmented else x)
            steps, first = num_steps, 0
            if cfg.window:
                steps, first = draw_window(cfg.window, num_steps, run.rng("set", exp, it, 2))
            sizes = synthetic.learned_steps.sizes
            sizes = torch.tensor(cfg.distill_lr, device=run.device) if sizes is None else sizes
            images = synthetic.images()                          # (n, C, H, W); sizes () or (T,)
            learned = [tensor for tensor in (images, sizes) if tensor.requires_grad]
            loss, gradients = 0, [0] * len(learned)
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


if __name__ == "__main__":
    run_script(main, Config, __doc__)
