"""Expert trajectories for trajectory matching: networks trained on the real data and saved after each epoch.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022; with --rho_max flat ones, as
Du et al. (FTD), "Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation", CVPR 2023.

    python buffer.py --dataset MNIST --num_experts 20 --train_epochs 10
    python buffer.py --dataset CIFAR10 --zca --train_epochs 50 --keep_epochs 40
    python buffer.py --dataset CIFAR10 --zca --rho_max 0.01 --alpha 0.3 --resume
    python buffer.py --dataset MNIST --model LeNet --optimizer adam --lr_teacher 2e-4 --train_epochs 40 \\
        --decay_epochs 20 --net_init xavier --dsa_strategy none --keep_epochs 40-40      # networks for main_DD.py
"""

from dataclasses import dataclass, replace

from condense import cli
from condense.cli import OptionError, auto, dead_flags, flags, option, redefault
from condense.core.randomness import Streams
from condense.experts import CLASSIC_STRATEGY, LOSSES, ExpertRun, Recipe, expert_folder, parse_epochs
from condense.operators import start_compute
from condense.run import run_script
from networks import get_network
from utils import load_data

TRUE_OR_FALSE = ("True", "False")          # words, as in the published scripts


@dataclass(frozen=True)
class Config(cli.DataOptions, cli.ComputeOptions, cli.CommandOptions, flags.BUFFER):
    model: str = redefault("model", "auto", help="network of the experts; auto: a ConvNet as deep as the images need, "
                           "3 blocks at 32 pixels, 4 at 64, 5 at 128")
    num_experts: int = option(100, "number of experts; with --resume the missing ones are added in new "
                              "files", ge=1, neutral=True)
    train_epochs: int = option(50, "epochs that each network trains", ge=1)
    keep_epochs: int | str = option("all", "epochs to keep (0: the initialisation): all, up to one (4), a range "
                                    "(40-62), or one (40-40, enough for main_DD.py); training ends with the last")
    lr_teacher: float = option(0.01, "learning rate of the experts", gt=0)
    batch_train: int = redefault("batch_train", 256, help="minibatch size of the experts")
    optimizer: str = option("sgd", "sgd, or adam (betas 0.5 and 0.999, as Dataset Distillation trains its networks)",
                            choices=("sgd", "adam"))
    mom: float = option(0.0, "momentum of sgd", ge=0)
    l2: float = option(0.0, "weight decay", ge=0)
    decay: bool = option(False, "divide the learning rate by 10 in the second half")
    decay_epochs: int | None = option(None, "the learning rate falls each time after this many epochs", ge=1)
    decay_factor: float = option(0.5, "factor of the learning rate at each fall", gt=0)
    net_init: str = option("default", "initialisation of networks: default (PyTorch's), or xavier (normal)",
                           choices=("default", "xavier"))
    init_param: float = option(1.0, "gain of --net_init xavier", gt=0)
    loss_type: str = option("ce", "cross-entropy, or mean squared distance from one-hot labels", choices=tuple(LOSSES))
    dsa: str = option("True", "Siamese augmentation; False: crop_scale_rotate of DC", choices=TRUE_OR_FALSE)
    dsa_strategy: str = option("auto", "operators of the augmentation, joined by _ ; auto: "
                               "color_crop_cutout_flip_scale_rotate, for digits without flip; none: no augmentation")
    rho_max: float = option(0.0, "GSAM, for flat trajectories: radius of the perturbation (FTD: 0.01); 0: plain SGD",
                            ge=0)
    rho_min: float | None = option(None, "GSAM: radius when --decay has lowered the learning rate; none: the same "
                                         "radius",
                                   ge=0)
    alpha: float = option(0.4, "GSAM: weight of the surrogate gap (FTD: 0.3 or 1)", ge=0)
    adaptive: str = option("True", "GSAM: perturb each weight in proportion to its size", choices=TRUE_OR_FALSE)
    half: bool = option(False, "keep snapshots in float16, which halves the disk space")
    buffer_path: str = option("./buffers", "folder of all buffers", neutral=True)
    save_interval: int = option(10, "experts per file", ge=1, neutral=True)
    eval_every: int = redefault("eval_every", 0, ge=0, neutral=True, help="epochs between tests; 0: only after the "
                                "last")
    checkpoint_every: int = redefault("checkpoint_every", 60, ge=0, help="seconds between checkpoints of an unfinished "
                                      "expert")
    resume: bool = redefault("resume", False, help="keep the experts in the folder and add more, up to --num_experts")
    overwrite: bool = redefault("overwrite", False, help="remove the experts in the folder")
    device: str = redefault("device", "auto", neutral=True)      # experts of one recipe may be made on several machines
    compile: bool = redefault("compile", False, neutral=True)
    deterministic: bool = redefault("deterministic", False, neutral=True)
    chunk: int | None = redefault("chunk", None, neutral=True)
    seed: int = redefault("seed", 0)


def settled(cfg):
    """Return `cfg` with its automatic values in place; raises ValueError for options that do not go together."""
    if cfg.dsa == "False" and cfg.dsa_strategy != "auto":
        raise OptionError(f"--dsa_strategy {cfg.dsa_strategy} belongs to --dsa True; leave one of the two out")
    if not cfg.rho_max and (cfg.rho_min or cfg.alpha != Config.alpha or cfg.adaptive != Config.adaptive):
        raise OptionError("--rho_min, --alpha and --adaptive belong to GSAM; also give --rho_max (FTD: 0.01)")
    if cfg.decay_factor != Config.decay_factor and not cfg.decay_epochs:
        raise OptionError("--decay_factor belongs to --decay_epochs; give both")
    if cfg.init_param != Config.init_param and cfg.net_init != "xavier":
        raise OptionError("--init_param is the gain of --net_init xavier; give both")
    model = auto.model_for(cfg.model, cfg.dataset, cfg.im_size)
    strategy = auto.strategy_for(cfg.dsa_strategy, cfg.dataset)
    first, last = parse_epochs(cfg.keep_epochs, cfg.train_epochs)
    return replace(cfg, model=model, keep_epochs=f"{first}-{last}",
                   dsa_strategy=strategy if cfg.dsa == "True" else "none")


def recipe_of(cfg):
    """Return how experts of settled options train; raises ValueError for what cannot be."""
    first, last = parse_epochs(cfg.keep_epochs, cfg.train_epochs)
    augmentation, strategy = ("siamese", cfg.dsa_strategy) if cfg.dsa == "True" else ("classic", CLASSIC_STRATEGY)
    return Recipe(cfg.train_epochs, first, last, lr=cfg.lr_teacher, batch_size=cfg.batch_train, momentum=cfg.mom,
                  weight_decay=cfg.l2, decay=cfg.decay, augmentation=augmentation, strategy=strategy,
                  loss=cfg.loss_type, rho_max=cfg.rho_max, rho_min=cfg.rho_min, alpha=cfg.alpha,
                  adaptive=cfg.adaptive == "True", half=cfg.half, optimizer=cfg.optimizer,
                  decay_epochs=cfg.decay_epochs, decay_factor=cfg.decay_factor, init=cfg.net_init, gain=cfg.init_param)


def main(cfg):
    cfg = settled(cfg)
    recipe = recipe_of(cfg)
    compute = start_compute(**cfg.compute)
    real = load_data(cfg.data, device=compute.device)
    net = get_network(cfg.model, *real.spec)
    folder = expert_folder(cfg.buffer_path, cfg.dataset, cfg.model, zca=cfg.zca, subset=cfg.subset,
                           side=real.im_size[0])
    run = ExpertRun(folder, real, net, recipe, cfg.identity(), compute, Streams(cfg.seed), dead_flags(cfg))
    with run.making(cfg.num_experts, cfg.save_interval, cfg.eval_every, cfg.checkpoint_every, cfg.resume,
                    cfg.overwrite, cfg.progress):
        for experts in run.groups():                             # one at a time, on a GPU as many as it holds
            for _ in run.epochs():                               # a snapshot in front of the first, and after each
                for images, labels in run.minibatches():         # shuffled, augmented
                    experts.step(images, labels)                 # plain SGD or Adam, or with --rho_max GSAM
    return run.summary()


if __name__ == "__main__":
    run_script(main, Config, __doc__)
