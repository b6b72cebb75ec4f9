"""MTT: train a student on the synthetic images and match the parameters of an expert trained on real images.

Cazenavette, Wang, Torralba, Efros & Zhu, "Dataset Distillation by Matching Training Trajectories", CVPR 2022,
algorithm 1. With --unroll tesla and --teacher_label: Cui et al. (TESLA), ICML 2023; with a growing window of start
epochs, --lr_y and --threshold: Guo et al. (DATM), ICLR 2024.

    python buffer.py --dataset CIFAR10 --zca
    python main_MTT.py --dataset CIFAR10 --zca --ipc 1 --syn_steps 50 --expert_epochs 2 --max_start_epoch 2 --lr_img 100
    python main_MTT.py --config configs/MTT/CIFAR10_ipc10.yaml
"""

from dataclasses import dataclass, replace
from functools import partial

import torch

from augment import draw_independent
from condense import cli
from condense.cli import auto, flags, option, redefault
from condense.experts import expert_labels, right_images
from condense.experts.options import check, find_experts, strategies
from condense.matching import MODES, InnerSGD, Student, choose_mode, start_epochs, student_minibatches, unroll
from condense.run import run_script, start_run
from condense.synthetic import build_optimizer, build_synthetic
from networks import get_network, refuse_batchnorm
from utils import Scorer, SelectionImages, eval_pool, load_data, mtt_protocols

MOMENTUM_LABELS = 0.9                      # of soft labels, as published
TRUE_OR_FALSE = ("True", "False")


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.SetOptions, cli.ScoringOptions, cli.ComputeOptions, cli.RunOptions, flags.MTT):
    model: str = redefault("model", "auto", help="network of experts and student; auto: a ConvNet as deep as the "
                           "images need, 3 blocks at 32 pixels (and at an unknown size), 4 at 64, 5 at 128")
    init: str = redefault("init", "real", aliases=("pix_init",), help="start from noise, from real images, or from "
                          "samples_predicted_correctly: real images that an expert classifies correctly (DATM)",
                          choices=("real", "noise", "noise_scaled", "samples_predicted_correctly"))
    Iteration: int = option(5000, "updates of the synthetic images", ge=0)
    expert_epochs: int = option(3, "epochs M of the expert that the student has to match", ge=1)
    syn_steps: int = option(20, "steps N of the student on the synthetic images", ge=1)
    max_start_epoch: int = option(25, "segments start before this epoch of the expert", ge=1)
    min_start_epoch: int = option(0, "segments start at this epoch of the expert or later", ge=0)
    current_max_start_epoch: int | None = option(None, "value of --max_start_epoch at the beginning; it grows from "
                                                       "there (DATM)", ge=1)
    expansion_end_epoch: int | None = option(None, "iterations until --max_start_epoch has its full value (DATM)", ge=1)
    batch_syn: int | None = option(None, "synthetic images in a step of the student; all if not given", ge=1)
    inner_momentum: float = option(0.0, "momentum of the student's steps (published: none)", ge=0)
    unroll: str = option("auto", "how to differentiate through the student's steps: full keeps the whole graph, "
                         "checkpoint a part of it, constant that of one step, tesla that of one step with an "
                         "approximation; auto: full if it fits into memory, else constant", choices=("auto", *MODES))
    lr_img: float = option(1000.0, "learning rate of the synthetic images", gt=0)
    lr_lr: float = option(1e-5, "learning rate of the student's step size", ge=0)
    mom_img: float = option(0.5, "momentum of the synthetic images", ge=0)
    mom_lr: float = option(0.5, "momentum of the student's step size", ge=0)
    lr_teacher: float = option(0.01, "the student's first step size; it is learned", gt=0)
    lr_y: float | None = option(None, "learning rate of soft labels, which start as an expert's predictions (DATM); if "
                                "not given, labels are hard", gt=0)
    teacher_label: bool = option(False, "soft labels: the predictions of the matched expert (TESLA)")
    threshold: float | None = option(None, "skip the update where the matching loss is above this (DATM)", gt=0)
    dsa: str = option("True", "Siamese augmentation, also in evaluation", choices=TRUE_OR_FALSE)
    dsa_strategy: str = option("auto", "operators of the augmentation, joined by _ ; auto: "
                               "color_crop_cutout_flip_scale_rotate, for digits without flip; none: no augmentation")
    no_aug: str = option("False", "no augmentation in the student's steps", choices=TRUE_OR_FALSE)
    buffer_path: str = option("./buffers", "folder of the experts that buffer.py wrote", neutral=True)
    load_all: bool = option(False, "hold all experts in memory and draw one for each iteration")
    max_files: int | None = option(None, "most files of experts to use", ge=1)
    max_experts: int | None = option(None, "most experts of each file to use", ge=1)
    skip_bad: bool = option(False, "leave out files of experts that cannot be read")
    random_trajectory: bool = option(False, "random networks instead of experts (TESLA's control experiment)")
    select_on: str = option("val", "choose the best iteration on val (5,000 held-out training images, or a tenth of a "
                            "small set), on test, or not at all (none)", choices=("val", "test", "none"))
    eval_mode: str = redefault("eval_mode", "S", help="networks to evaluate on: S (the student's), C (and ConvNet), or "
                               "a pool: M, W, D, A, P, N, I")
    num_exp: int = redefault("num_exp", 1)
    num_eval: int = redefault("num_eval", 5)
    eval_every: int = redefault("eval_every", 100, ge=0, aliases=("eval_it",), help="iterations between "
                                "evaluations, 0: only the last")


def matching_loss(student, start, target):
    """||theta_N - theta*_{t+M}||^2 / ||theta*_t - theta*_{t+M}||^2 (equation 2); three vectors (P,) -> scalar.

    1 means no better than standing still.
    """
    return (student - target).square().sum() / (start - target).square().sum()


def student_step(student, rows, augment, descent=InnerSGD()):
    """Return one step of SGD on a minibatch, (step number, state, images, labels, step size) -> state.

    The state is theta (P,), or with momentum what `descent` makes of it.
    """
    def step(i, state, images, labels, syn_lr):
        x, y = augment[i](images[rows[i]]), labels[rows[i]]
        return descent.step(i, state, student.gradient(descent.weights(state), x, y), syn_lr)
    return step


def parameter_groups(cfg, synthetic):
    """Return the optimiser groups of images, step size and, where they are learned, soft labels."""
    learned = [("syn_lr", synthetic.learned_steps.size, cfg.lr_lr, cfg.mom_lr)]
    if cfg.lr_y:
        learned.append(("labels", synthetic.own_labels.logits, cfg.lr_y, MOMENTUM_LABELS))
    return synthetic.param_groups(cfg.lr_img, cfg.mom_img) + [
        {"name": name, "params": [parameter], "lr": lr, "momentum": momentum}
        for name, parameter, lr, momentum in learned]


def main(cfg, name="MTT"):
    check(cfg)
    cfg = replace(cfg, model=auto.model_for(cfg.model, cfg.dataset, cfg.im_size))
    pool = eval_pool(cfg.eval_mode, cfg.model, "MTT")
    run = start_run(cfg, name)
    real = load_data(cfg.data, device=run.device)
    strategy, eval_strategy = strategies(cfg, real.name)
    protocols = mtt_protocols(pool, real.name, cfg.epoch_eval_train, cfg.lr_teacher, cfg.batch_train, eval_strategy,
                              siamese=cfg.dsa == "True")
    selection = SelectionImages(real, run.rng("evaluation")) if cfg.select_on == "val" else None
    scorer = Scorer(real, protocols, cfg.num_eval, run.compute, run.rng, cfg.progress, selection)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    refuse_batchnorm(net, cfg.model, "whose statistics are no part of expert trajectories")
    student = Student(net, run.compute, run.compute.chunk_for(real.im_size))
    experts = find_experts(cfg, net, real)
    descent = InnerSGD(cfg.inner_momentum)
    window = (cfg.current_max_start_epoch, cfg.expansion_end_epoch) if cfg.expansion_end_epoch else None
    averaged = cfg.init == "samples_predicted_correctly"
    run.begin(real, scorer, cfg.eval_every, None if cfg.select_on == "none" else cfg.select_on,
              experts=experts.source)

    for exp in run.experiments():
        init = partial(right_images, real, student, experts, rng=run.rng("init", exp, 1)) if averaged else cfg.init
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, init),
                                    run.rng("init", exp), **cfg.form_options())
        synthetic.learned_steps.learn_one(cfg.lr_teacher)
        if cfg.lr_y or cfg.teacher_label:
            synthetic.own_labels.use_soft(expert_labels(synthetic, student, experts, averaged), learned=bool(cfg.lr_y))
        optimizer = build_optimizer(cfg.optimizer, parameter_groups(cfg, synthetic), cfg.clip_grad)
        num_images, views = len(synthetic.hard_labels), synthetic.views      # of a base a step sees one view
        batch_syn = min(cfg.batch_syn or num_images, num_images // views)
        mode = choose_mode(cfg.unroll, cfg.syn_steps, batch_syn, real.im_size, run.device)
        run.note(exp, unroll=mode)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            rng = run.rng("data", exp, it)
            epochs = start_epochs(it, cfg.min_start_epoch, cfg.max_start_epoch, window)
            start_epoch = epochs[int(torch.randint(len(epochs), (), generator=rng))]
            expert = experts.pick(it, partial(run.rng, "data", exp))
            start, target = experts.segment(expert, start_epoch, start_epoch + cfg.expert_epochs, run.device)
            images = synthetic.images()                          # (n, C, H, W)
            if cfg.teacher_label:
                synthetic.own_labels.use_soft(student.logits_of(target, images), learned=False)
            rows = student_minibatches(num_images, batch_syn, cfg.syn_steps, rng, run.device, views)
            rng = run.rng("augmentation", exp, it)
            augment = [draw_independent(strategy, batch_syn if isinstance(seen, slice) else len(seen), rng, run.device)
                       for seen in rows]
            of_set = [draw_independent(strategy, num_images, run.rng("augmentation", exp, it, term), run.device)
                      for term in (1, 2)]                        # for the set's own terms
            learned = images, synthetic.labels, synthetic.learned_steps.size
            step = student_step(student, rows, augment, descent)
            theta = descent.weights(unroll(step, descent.start(start), cfg.syn_steps, learned, mode))
            loss = matching_loss(theta, start, target) + synthetic.extra_loss(of_set[0], run.rng("set", exp, it, 0))
            run.log(loss=loss.detach())
            if cfg.threshold and loss > cfg.threshold:
                run.skip()
                del theta, loss                                  # or their graph would live on during the next one
                continue
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            synthetic.after_step(of_set[1], run.rng("set", exp, it, 1), end=True)
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
