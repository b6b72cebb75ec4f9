"""IDC: match the gradients of networks that train on real data; one stored image holds several training images.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, algorithm 1. With
--factor 1, or --parameterization pixels, it is IDC-I: the same objective for ordinary images. Real images are drawn
anew for each step, not in passes, and networks with batch norm are matched with the statistics of real images.

    python main_IDC.py --dataset CIFAR10 --ipc 10
    python main_IDC.py --parameterization pixels --dataset CIFAR10 --ipc 10
    python main_IDC.py --config configs/IDC/CIFAR10_ipc10.yaml
"""

import math
from dataclasses import dataclass
from functools import partial

import torch

from augment import draw_composed
from condense import cli
from condense.cli import auto, flags, option, redefault
from condense.experts import open_expert_starts
from condense.matching import class_gradients, class_means, matching_over_classes, refined
from condense.run import run_script, start_run
from condense.synthetic import build_optimizer, build_synthetic
from condense.training import MIXUPS, ContinuedTraining, Passes, following_protocol, idc_protocols, is_large
from condense.training import idc_options as idc
from condense.training.idc_options import check, settled
from networks import freeze_batchnorm, get_network, has_batchnorm
from utils import Scorer, eval_pool, load_data

BATCHNORM_IMAGES = 16                     # real images per class that set batch norm's statistics
AUTO, TRUE_OR_FALSE = ("auto",), ("True", "False")


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.SetOptions, cli.EvaluationOptions, cli.ComputeOptions, cli.RunOptions, flags.IDC):
    dataset: str = redefault("dataset", "CIFAR10", aliases=("d",))
    data_path: str = redefault("data_path", "data", aliases=("data_dir", "imagenet_dir"))
    im_size: int | None = redefault("im_size", None, aliases=("res", "size"))
    model: str = redefault("model", "ConvNet", aliases=("net_type", "n"))
    ipc: int = redefault("ipc", 1, aliases=("i",))
    parameterization: str = redefault("parameterization", "multi_formation", help="form of the synthetic set; IDC-I is "
                                      "pixels, or multi_formation with --factor 1")
    init: str = redefault("init", "real", help="start from real images, one in each tile (random and mix in the "
                          "original), or from noise")
    niter: int | str = option("auto", "number of matching steps, in hundreds; auto: 2000, for ImageNet "
                                      "500", choices=AUTO, ge=0)
    Iteration: int | None = option(None, "iterations of --inner_loop steps, instead of --niter", ge=0)
    inner_loop: int = option(100, "matching steps per iteration, each with all classes (the original steps after each "
                             "class; the results are equal except for momentum)", ge=1)
    lr_img: float | str = option("auto", "step size of pixels between 0 and 1 for ipc 10 and the usual image size; it "
                                 "is multiplied by ipc / 10 and by the relative image area; auto: as published for the "
                                 "data",
                                 choices=AUTO, gt=0)
    mom_img: float = option(0.5, "momentum of the synthetic images", ge=0)
    batch_real: int | str = option(64, "real images per class and matching step, or 'all'", choices=("all",), ge=1)
    batch_syn_max: int = option(128, "most synthetic images per class and step; drawn for each step", ge=1)
    match: str = option("grad", "what is matched: gradients (grad), or class means of the last features by squared "
                        "distance (feat)", choices=("grad", "feat"))
    metric: str = option("auto", "distance of gradients: mse (sum of squares), l1 (sum of absolute values), l1_mean "
                         "(l1 with means within output channels), cos (cosine by output channel); auto: as published "
                         "for the data",
                         choices=(*AUTO, *refined.REFINED_METRICS))
    bias: str = option("False", "also match gradients of biases and norms", choices=TRUE_OR_FALSE)
    fc: str = option("False", "also match gradients of linear layers", choices=TRUE_OR_FALSE)
    aug_type: str = option("auto", "augmentation while matching, operators joined by _ ; applied in the order flip, "
                           "color, one of the others, cutout; auto: color_crop_cutout, for MNIST with --factor above 1 "
                           "without cutout", aliases=("a",))
    net_epoch: int = option(1, "epochs that the network trains on --n_data real images after a matching step", ge=0)
    n_data: int | str = option("auto", "real images of --net_epoch, rounded up to full minibatches; auto: 2000 for "
                                       "CIFAR, else 500",
                               choices=AUTO, ge=0)
    early: int | str = option("auto", "epochs that a fresh network trains on all real images before the first step; "
                              "auto: 0, for ImageNet without --pt_from 10", choices=AUTO, ge=0)
    fix_iter: int = option(-1, "iterations until the network is replaced; below 1: one", ge=-1)
    pt_from: int = option(-1, "networks start from an expert of buffer.py after this many epochs; -1: fresh "
                              "networks", ge=-1)
    pt_num: int = option(1, "number of epochs from --pt_from on, of which one is drawn", ge=1)
    buffer_path: str = option("./buffers", "folder of the experts of --pt_from", neutral=True)
    mixup_net: str = option("auto", "mixing of the real images that the network trains on: CutMix (cut), or none "
                            "(vanilla); auto: cut, for MNIST with --factor above 1 vanilla", choices=MIXUPS)
    mixup: str = option("auto", "mixing in evaluation; auto: as published for the data", choices=MIXUPS)
    mix_p: float | str = option("auto", "probability that a minibatch is mixed; auto: 0.5, for ImageNet 1",
                                choices=AUTO, ge=0)
    dsa_strategy: str = option("auto", "augmentation in evaluation, as --aug_type; auto: as published for the data")
    eval_mode: str = redefault("eval_mode", "S")
    num_exp: int = redefault("num_exp", 1)
    num_eval: int = redefault("num_eval", 5, aliases=("repeat",))
    epoch_eval_train: int | str = redefault("epoch_eval_train", "auto", choices=AUTO, ge=1, help="epochs that an "
                                            "evaluation network trains; auto: 1000, for DenseNet on 50 mosaics of a "
                                            "class and more 400, for ImageNet by the images of a class")
    lr_net: float | str = redefault("lr_net", "auto", choices=AUTO, aliases=("lr",), help="learning rate of networks; "
                                    "auto: 0.01, from 100 classes of ImageNet 0.1")
    batch_train: int | str = redefault("batch_train", "auto", choices=AUTO, aliases=("batch_size",), help="minibatch "
                                       "size of network training; auto: 64, from 100 classes of ImageNet 128")
    eval_every: int | str = redefault("eval_every", "auto", choices=AUTO, ge=0, help="iterations between "
                                      "evaluations, 0: only the last; auto: 500, for pools only the last")
    checkpoint_every: int = redefault("checkpoint_every", 10)


def matching_loss(gradients_real, gradients_syn, metric, bias, fc):
    """Distance of the gradients of each class, summed over convolutions and classes. Lists of (k, *shape) -> scalar."""
    return refined.refined_distances(gradients_real, gradients_syn, metric, bias, fc).sum()


def feature_loss(mean_real, mean_syn):
    """Squared distance of class means, summed over features and classes. (K, D), (K, D) -> scalar."""
    return (mean_real - mean_syn).square().sum()


def is_fresh(cfg, it):
    """Say whether another network begins with iteration `it`."""
    return cfg.fix_iter < 2 or it % cfg.fix_iter == 0


def main(cfg, name=None):
    check(cfg)
    pool = eval_pool(cfg.eval_mode, cfg.model)
    run = start_run(cfg, name or idc.method_name(cfg))
    real = load_data(cfg.data, device=run.device)
    cfg, outline = settled(cfg, real), idc.outline(cfg, real)
    protocols = idc_protocols(pool, real, outline.images_per_epoch, cfg.epoch_eval_train, cfg.lr_net,
                              cfg.batch_train, cfg.mixup, cfg.mix_p, cfg.dsa_strategy, factor=outline.factor)
    scorer = Scorer(real, protocols, cfg.num_eval, run.compute, run.rng, cfg.progress)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    bias, fc = cfg.bias == "True", cfg.fc == "True"
    idc.require_matched(cfg, net)
    chunk, forward, embed = run.compute.chunk_for(real.im_size), run.compute.wrap(net), run.compute.wrap(net.embed)
    gradients = class_gradients(net, run.compute, chunk)
    distance = partial(matching_loss, metric=cfg.metric, bias=bias, fc=fc)
    follow = following_protocol(cfg.model, real, cfg.aug_type, cfg.lr_net, cfg.batch_train, cfg.mixup_net, cfg.mix_p)
    training = ContinuedTraining(net, follow, forward, chunk)
    n_data = math.ceil(cfg.n_data / follow.batch_size) * follow.batch_size          # whole minibatches, as published
    starts = open_expert_starts(cfg.pt_from, cfg.pt_num, cfg.buffer_path, net, real, cfg.model, data=cfg.data)
    step_size = refined.image_step(cfg.lr_img, cfg.ipc, real.name, real.im_size, real.std, is_large(real))
    low, high = ([(level - mean) / std for mean, std in zip(real.mean, real.std)] for level in (0, 1))
    iterations = idc.iterations_of(cfg)
    run.begin(real, scorer, auto.cadence_for(cfg.eval_every, 500, cfg.eval_mode), iterations=iterations,
              **starts.sources)

    for exp in run.experiments():
        synthetic = build_synthetic(cfg.parameterization, real, cfg.ipc, run.start_of(exp, cfg.init),
                                    run.rng("init", exp), **cfg.form_options())
        optimizer = build_optimizer(cfg.optimizer, synthetic.param_groups(step_size, cfg.mom_img), cfg.clip_grad)
        passes = Passes(real, n_data, lambda epoch: run.rng("data", exp, epoch))     # noqa: B023
        run.note(exp, iterations=iterations, settings={name: getattr(cfg, name) for name in idc.SETTLED})
        for it in run.iterations(exp, synthetic, optimizer, net, training.optimizer):   # evaluations, checkpoints
            if is_fresh(cfg, it):
                starts.begin(net, run.rng("nets", exp, it))                 # in place
                training.restart()
                for epoch in range(cfg.early):
                    training.epoch(real.sample(real.classes), run.rng("nets", exp, it, epoch))
            synthetic.clamp_(low, high)                          # to pixels in 0..1, here alone
            for inner in run.outer_steps(cfg.inner_loop):
                key, last = (exp, it, inner), inner == cfg.inner_loop - 1
                if has_batchnorm(net):                           # statistics of real images, held still while matching
                    some = real.sample(real.classes, BATCHNORM_IMAGES, run.rng("data", *key, 1))
                    freeze_batchnorm(net, some.images(), forward)
                augment = draw_composed(cfg.aug_type, real.num_classes, run.rng("augmentation", *key), run.device)
                batch = real.sample(real.classes, auto.number_or_all(cfg.batch_real), run.rng("data", *key, 0))
                part = refined.part_of_each(synthetic, cfg.batch_syn_max, run.rng("set", *key, 2))
                if cfg.match == "feat":
                    with torch.no_grad():
                        mean_real = class_means(embed, batch, augment, chunk)              # (K, D)
                    loss = feature_loss(mean_real, class_means(embed, part, augment, chunk))
                else:
                    loss = matching_over_classes(distance, gradients, batch, part, augment)
                loss = loss + synthetic.extra_loss(augment, run.rng("set", *key, 0))
                run.log(loss=loss.detach() / real.num_classes)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                synthetic.after_step(augment, run.rng("set", *key, 1), end=last)
                if last and is_fresh(cfg, it + 1):               # the network is not needed any more
                    continue
                for epoch in range(cfg.net_epoch):               # it follows the real data, not the synthetic set
                    step = (it * cfg.inner_loop + inner) * cfg.net_epoch + epoch
                    training.epoch(passes.batch(step), run.rng("nets", *key, epoch))
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
