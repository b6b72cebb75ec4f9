"""DM: match the mean features of real and synthetic images under random networks.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, algorithm 1.

    python main_DM.py --dataset CIFAR10 --ipc 10
    python main_DM.py --config configs/DM/CIFAR10_ipc10.yaml
"""

from dataclasses import dataclass

import torch

from augment import draw_siamese
from condense import cli
from condense.cli import auto, flags, option, redefault
from condense.matching import class_means
from condense.run import run_script, start_run
from condense.synthetic import build_optimizer, build_synthetic
from networks import get_network, has_batchnorm, reset
from utils import Scorer, eval_pool, load_data, siamese_protocols


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.SetOptions, cli.EvaluationOptions, cli.ComputeOptions, cli.RunOptions, flags.DM):
    ipc: int = redefault("ipc", 50)
    init: str = redefault("init", "real")
    Iteration: int = option(20000, "updates of the synthetic images", ge=0)
    lr_img: float = option(1.0, "step size of the synthetic images (published for CIFAR-10 from ipc 100: 10)", gt=0)
    batch_real: int | str = option(256, "real images per class and iteration, or 'all'", choices=("all",), ge=1)
    dsa_strategy: str = option("auto", "Siamese augmentation, operators joined by _ ; auto: "
                               "color_crop_cutout_flip_scale_rotate, for digits without flip; none: no augmentation")
    eval_mode: str = redefault("eval_mode", "SS")
    eval_every: int | str = redefault("eval_every", "auto", choices=("auto",), ge=0, help="iterations between "
                                      "evaluations, 0: only the last; auto: 2000, for pools only the last")


def matching_loss(mean_real, mean_syn):
    """Squared distance of class means, summed over features and classes. (K, D), (K, D) -> scalar."""
    return (mean_real - mean_syn).square().sum()


def main(cfg, name="DM"):
    pool = eval_pool(cfg.eval_mode, cfg.model)
    auto.check_strategy(cfg.dsa_strategy)
    run = start_run(cfg, name)
    real = load_data(cfg.data, device=run.device)
    strategy = auto.strategy_for(cfg.dsa_strategy, real.name)
    protocols = siamese_protocols(pool, cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train, strategy)
    scorer = Scorer(real, protocols, cfg.num_eval, run.compute, run.rng, cfg.progress)
    net = run.compute.prepare(get_network(cfg.model, *real.spec)).requires_grad_(False)
    embed = run.compute.wrap(net.embed)
    chunk = None if has_batchnorm(net) else run.compute.chunk_for(real.im_size)     # batch norm mixes all classes
    run.begin(real, scorer, auto.cadence_for(cfg.eval_every, 2000, cfg.eval_mode))

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, cfg.init),
                                    run.rng("init", exp), **cfg.form_options())
        optimizer = build_optimizer(cfg.optimizer, synthetic.param_groups(cfg.lr_img, momentum=0.5), cfg.clip_grad)
        for it in run.iterations(exp, synthetic, optimizer):     # progress, due evaluations, checkpoints
            reset(net, run.rng("nets", exp, it))                 # a fresh random network, in place
            augment = draw_siamese(strategy, real.num_classes, run.rng("augmentation", exp, it), run.device)
            batch = real.sample(real.classes, auto.number_or_all(cfg.batch_real), run.rng("data", exp, it))
            with torch.no_grad():                                # no gradient flows to real images
                mean_real = class_means(embed, batch, augment, chunk)         # (K, D)
            mean_syn = class_means(embed, synthetic, augment, chunk)          # same augmentation for both
            loss = matching_loss(mean_real, mean_syn) + synthetic.extra_loss(augment, run.rng("set", exp, it, 0))
            run.log(loss=loss.detach() / real.num_classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            synthetic.after_step(augment, run.rng("set", exp, it, 1), end=True)
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
