"""DC and DSA: match the gradients of a network on real and on synthetic images, along its training.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, algorithm 1; with --method DSA
Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, algorithm 1.

    python main_DC.py --dataset CIFAR10 --ipc 10
    python main_DC.py --method DSA --init real --dataset CIFAR10 --ipc 10
    python main_DC.py --config configs/DSA/CIFAR10_ipc10.yaml
"""

import logging
from dataclasses import dataclass
from functools import partial

from augment import draw_siamese
from condense import cli
from condense.cli import auto, option, redefault
from condense.matching import class_distances, class_gradients, matching_over_classes
from condense.run import run_script, start_run
from condense.synthetic import build_optimizer, build_synthetic
from networks import freeze_batchnorm, get_network, has_batchnorm, reset
from utils import (
    Protocol,
    Scorer,
    TensorSet,
    dc_protocols,
    eval_pool,
    get_loops,
    load_data,
    siamese_protocols,
    train_network,
)

BATCHNORM_IMAGES = 16                     # real images per class that set batch norm's statistics


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.SetOptions, cli.EvaluationOptions, cli.ComputeOptions, cli.RunOptions):
    method: str = option("DC", "DC, or DSA: with Siamese augmentation", choices=("DC", "DSA"))
    Iteration: int = option(1000, "iterations, each with a fresh network", ge=0)
    outer_loop: int | str = option("auto", "matching steps per iteration; auto: as published for the ipc",
                                   choices=("auto",), ge=1)
    inner_loop: int | str = option("auto", "epochs the network trains on the synthetic set between matching steps; "
                                   "auto: as published for the ipc", choices=("auto",), ge=0)
    lr_img: float = option(0.1, "step size of the synthetic images (published for the MLP: 0.01)", gt=0)
    batch_real: int | str = option(256, "real images per class and matching step, or 'all'", choices=("all",), ge=1)
    dis_metric: str = option("ours", "distance of gradients: ours (cosine by output unit), mse, cos",
                             choices=("ours", "mse", "cos"))
    dsa_strategy: str = option("auto", "Siamese augmentation of DSA, operators joined by _ ; auto: "
                               "color_crop_cutout_flip_scale_rotate, for digits without flip; none: no augmentation")
    epoch_eval_train: int | str = redefault("epoch_eval_train", "auto", choices=("auto",), help="epochs that an "
                                            "evaluation network trains; auto: 1000, for DC without augmentation 300")
    eval_every: int | str = redefault("eval_every", "auto", choices=("auto",), ge=0, help="iterations between "
                                      "evaluations, 0: only the last; auto: 500, for pools only the last")


def matching_loss(gradients_real, gradients_syn, metric):
    """Distance of the gradients of each class, summed over classes. Lists of (k, *shape) -> scalar."""
    return class_distances(gradients_real, gradients_syn, metric).sum()


def recipes(cfg, pool, real):
    """Return the strategy that matching and network training augment by, and the protocol of each network scored."""
    how = cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train
    if cfg.method == "DC":
        return "none", dc_protocols(pool, real.name, *how)
    strategy = auto.strategy_for(cfg.dsa_strategy, real.name)
    return strategy, siamese_protocols(pool, *how, strategy)


def loops(cfg):
    """Return (outer loop, inner loop): given, or as published for the ipc."""
    published = get_loops(cfg.ipc)
    return tuple(auto if given == "auto" else given
                 for given, auto in zip((cfg.outer_loop, cfg.inner_loop), published))


def main(cfg, name=None):
    pool = eval_pool(cfg.eval_mode, cfg.model)
    auto.check_strategy(cfg.dsa_strategy)
    run = start_run(cfg, name or cfg.method)
    if cfg.method == "DC" and cfg.dsa_strategy not in ("auto", "none"):
        logging.getLogger("condense").info("--dsa_strategy has no effect with --method DC, which does not augment")
    real = load_data(cfg.data, device=run.device)
    strategy, protocols = recipes(cfg, pool, real)
    scorer = Scorer(real, protocols, cfg.num_eval, run.compute, run.rng, cfg.progress)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    chunk = run.compute.chunk_for(real.im_size)
    gradients = class_gradients(net, run.compute, chunk)
    forward = run.compute.wrap(net)
    distance = partial(matching_loss, metric=cfg.dis_metric)
    outer_loop, inner_loop = loops(cfg)
    training = Protocol(inner_loop, cfg.lr_net, cfg.batch_train, momentum=0, weight_decay=0, strategy=strategy,
                        schedule="constant")
    run.begin(real, scorer, auto.cadence_for(cfg.eval_every, 500, cfg.eval_mode))

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, cfg.init),
                                    run.rng("init", exp), **cfg.form_options())
        optimizer = build_optimizer(cfg.optimizer, synthetic.param_groups(cfg.lr_img, momentum=0.5), cfg.clip_grad)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            reset(net, run.rng("nets", exp, it))                 # a fresh random network, in place
            for outer in run.outer_steps(outer_loop):
                key = exp, it, outer
                if has_batchnorm(net):                           # statistics of real images, held still while matching
                    some = real.sample(real.classes, BATCHNORM_IMAGES, run.rng("data", *key, 1))
                    freeze_batchnorm(net, some.images(), forward)
                augment = draw_siamese(strategy, real.num_classes, run.rng("augmentation", *key), run.device)
                batch = real.sample(real.classes, auto.number_or_all(cfg.batch_real), run.rng("data", *key, 0))
                loss = matching_over_classes(distance, gradients, batch, synthetic, augment)
                loss = loss + synthetic.extra_loss(augment, run.rng("set", *key, 0))
                run.log(loss=loss.detach() / real.num_classes)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                last = outer == outer_loop - 1
                synthetic.after_step(augment, run.rng("set", *key, 1), end=last)
                if not last:                                     # after the last step the network is not needed
                    current = TensorSet(synthetic.images().detach(), synthetic.labels, views=synthetic.views)
                    train_network(net, current, training, run.rng("nets", *key), forward, chunk)
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
