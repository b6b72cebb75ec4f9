"""Choose real training images to compare condensed ones with: random, herding, k-center or k-means.

    python select_coreset.py --dataset CIFAR10 --ipc 10 --method herding
    python select_coreset.py --dataset CIFAR10 --ipc 10 --method k-means --space trained --protocol dc

The result has the format of a condensed set's and is evaluated in the same way. Its meta["indices"] says which images
were chosen.
"""

import logging
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from condense import cli
from condense.cli import OptionError, auto, option, redefault
from condense.data.coresets import CORESET_METHODS, choose_coreset, require_images
from condense.run import run_script, start_run
from condense.synthetic import Pixels
from networks import get_network, reset
from utils import Protocol, Scorer, dc_protocols, eval_pool, load_data, siamese_protocols, train_network

log = logging.getLogger("condense")

FEATURE_EPOCHS, FEATURE_BATCH = 20, 128   # SGD 0.01, momentum 0.9, weight decay 5e-4, no augmentation


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.CellOptions, cli.ScoringOptions, cli.ComputeOptions, cli.ResultOptions):
    model: str = redefault("model", "ConvNet", help="network of the feature space and of the evaluation")
    ipc: int = redefault("ipc", 1, help="images chosen per class")
    method: str = option("herding", "how to choose: random, herding (the mean of the chosen images follows the class "
                         "mean), k-center (first the image nearest to the mean, then the one farthest from all "
                         "chosen), k-means (nearest to the centroids)", choices=CORESET_METHODS)
    space: str = option("pixels", "space of the distances: normalised pixels, or features of a random or a trained "
                        "--model", choices=("pixels", "random", "trained"))
    feature_epochs: int = option(FEATURE_EPOCHS, "epochs that the network of --space trained is trained",
                                 ge=1)
    protocol: str = option("dsa", "evaluation protocol of condensed sets: dsa (DSA and DM) or "
                                  "dc", choices=("dsa", "dc"))
    dsa_strategy: str = option("auto", "Siamese augmentation of --protocol dsa, operators joined by _ ; auto: "
                               "color_crop_cutout_flip_scale_rotate, for digits without flip; none: no augmentation")
    num_exp: int = redefault("num_exp", 1, help="number of selections; several show how much random draws, k-means and "
                             "network features vary (herding and k-center on pixels do not vary)")
    epoch_eval_train: int | str = redefault("epoch_eval_train", "auto", choices=("auto",), help="epochs that an "
                                            "evaluation network trains; auto: 1000, for dc without augmentation 300")
    lr_net: float = redefault("lr_net", 0.01)


def check(cfg):
    """Raise ValueError for options that do not go together."""
    auto.check_strategy(cfg.dsa_strategy)
    if cfg.method == "random" and cfg.space != "pixels":
        raise OptionError(f"--method random measures no distances, so --space {cfg.space} has no effect; leave it out")
    if cfg.space != "trained" and cfg.feature_epochs != FEATURE_EPOCHS:
        raise OptionError(f"--feature_epochs trains a network for --space trained, not {cfg.space}; leave it out")
    if cfg.protocol == "dc" and cfg.dsa_strategy != "auto":
        raise OptionError("--protocol dc has its own augmentation; leave --dsa_strategy out")


def protocols(cfg, pool, real):
    """Return the protocol of each network scored."""
    how = cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train
    if cfg.protocol == "dc":
        return dc_protocols(pool, real.name, *how)
    return siamese_protocols(pool, *how, auto.strategy_for(cfg.dsa_strategy, real.name))


def feature_space(cfg, net, real, run, exp):
    """Return what distances are taken in: a function from normalised images (N, C, H, W) to (N, D) float32.

    'pixels': the pixels; 'random': the features of `net`, freshly drawn; 'trained': after `cfg.feature_epochs` epochs
    on all training images. Networks are in eval mode: batch norm uses its running statistics.
    """
    if cfg.space == "pixels":
        return partial(torch.flatten, start_dim=1)
    rng = run.rng("nets", exp)
    reset(net, rng)
    if cfg.space == "trained":
        train_on_all(net, real, cfg.feature_epochs, run.compute, rng, cfg.progress)
    return run.compute.wrap(net.eval().embed, compiled=False)    # classes differ in size: one shape would not do


def train_on_all(net, real, epochs, compute, rng, progress):
    """Train `net` in place on all training images: SGD, learning rate 0.01, momentum 0.9, weight decay 5e-4."""
    recipe = Protocol(epochs, batch_size=FEATURE_BATCH, schedule="constant")
    with tqdm(total=epochs, desc="train for features", unit="epoch", leave=False, dynamic_ncols=True,
              disable=None if progress else True) as bar:
        accuracy, _ = train_network(net, real.sample(real.classes), recipe, rng, compute.wrap(net),
                                    compute.chunk_for(real.im_size), bar.update)
    log.info("features of a network trained for %d epochs (training accuracy %.1f %%)", epochs, 100 * accuracy)


@torch.no_grad()
def as_set(real, rows, ipc):
    """Return the images at `rows` of `real`, class-major with `ipc` per class, as a set like a condensed one."""
    chosen = Pixels(real.num_classes, ipc, real.channel, real.im_size).to(real.device)
    chosen.pixels.copy_(real.batch_of(rows).images())
    return chosen


def main(cfg):
    check(cfg)
    pool = eval_pool(cfg.eval_mode, cfg.model)
    run = start_run(cfg, cfg.method)
    real = load_data(cfg.data, device=run.device)
    require_images(real, cfg.ipc)
    scorer = Scorer(real, protocols(cfg, pool, real), cfg.num_eval, run.compute, run.rng, cfg.progress)
    net = run.compute.prepare(get_network(cfg.model, *real.spec))
    chunk = run.compute.chunk_for(real.im_size)
    run.begin(real, scorer, eval_every=0, iterations=0)
    if cfg.num_exp > 1 and cfg.method in ("herding", "k-center") and cfg.space == "pixels":
        log.info("%s on pixels uses no random numbers: all %d selections are the same", cfg.method, cfg.num_exp)

    for exp in run.experiments():
        embed = feature_space(cfg, net, real, run, exp)
        rows = choose_coreset(real, cfg.method, cfg.ipc, embed, chunk, run.rng("init", exp))
        run.note(exp, indices=real.order[rows.cpu()].tolist())   # as the images came in, which is how users count
        for _ in run.iterations(exp, as_set(real, rows, cfg.ipc)):
            pass                                                 # there are none: the set is scored and kept as it is
    return run.save()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
