"""Options of unrolled training: which ones go together, and their automatic values."""

from dataclasses import replace
from typing import Any

from condense.augmentation import parse_strategy
from condense.cli import OptionError
from condense.data import DataChoice
from condense.training.pools import eval_pool

NUM_EVAL = 20                              # held-out networks; the paper's ± are over 200
# what the steps are to teach -> what the original calls it (--mode)
OBJECTIVES = {"distill": "distill_basic", "adapt": "distill_adapt", "poison": "distill_attack"}


def settle_steps(cfg: Any) -> Any:
    """Return `cfg` with the original's --mode and the number of scored networks in place; raises OptionError."""
    if cfg.mode:
        (objective,) = (name for name, mode in OBJECTIVES.items() if mode == cfg.mode)
        if cfg.objective not in (type(cfg).objective, objective):
            raise OptionError(f"--mode {cfg.mode} is --objective {objective}, not {cfg.objective}; leave one of the "
                              "two out")
        cfg = replace(cfg, objective=objective)
    check_ordered(cfg)
    own = cfg.train_nets_type == "known_init" or (cfg.train_nets_type == "loaded" and cfg.n_nets == 1)
    return replace(cfg, num_eval=cfg.num_eval or (cfg.n_nets if own else NUM_EVAL))


def num_steps_of(cfg: Any) -> int:
    """Return T, the steps that a network is trained for."""
    return cfg.distill_steps * cfg.distill_epochs


def check_ordered(cfg: Any) -> None:
    """Raise OptionError for options that do not go together."""
    parse_strategy(cfg.dsa_strategy)
    if cfg.inner_steps:
        raise OptionError("--inner_steps, many steps on minibatches of the set, belongs to main_RTP.py; run that "
                          "script")
    if cfg.train_nets_type == "unknown_init" and cfg.sample_n_nets not in (None, cfg.n_nets):
        raise OptionError(f"--train_nets_type unknown_init uses fresh networks only; give --n_nets {cfg.sample_n_nets} "
                         "and leave --sample_n_nets out")
    if (cfg.sample_n_nets or 1) > cfg.n_nets:
        raise OptionError(f"--sample_n_nets {cfg.sample_n_nets} of --n_nets {cfg.n_nets} are too many; lower it")
    if cfg.net_init == "default" and cfg.init_param != 1:
        raise OptionError("--init_param is the gain of --net_init xavier; leave it out")
    if cfg.window and cfg.window > num_steps_of(cfg):
        raise OptionError(f"--window {cfg.window} is longer than all {num_steps_of(cfg)} steps; lower it")
    if cfg.train_nets_type == "known_init" and cfg.num_eval not in (None, cfg.n_nets):
        raise OptionError(f"--train_nets_type known_init is evaluated on its own --n_nets {cfg.n_nets}; leave "
                         "--num_eval out")
    if cfg.train_nets_type != "unknown_init" and eval_pool(cfg.eval_mode, cfg.model) != (cfg.model,):
        raise OptionError(f"--train_nets_type {cfg.train_nets_type} is evaluated on its own {cfg.model}; leave "
                          "--eval_mode out")
    check_trained(cfg)


def check_trained(cfg: Any) -> None:
    """Raise OptionError for options of trained networks, and what they are taught, that do not go together."""
    loaded = cfg.train_nets_type == "loaded"
    if cfg.objective != "distill" and not loaded:
        raise OptionError(f"--objective {cfg.objective} needs trained networks; also give --train_nets_type loaded")
    if (cfg.objective == "adapt") != (cfg.source_dataset is not None):
        raise OptionError("--objective adapt and --source_dataset, the data set of the networks, go together; give "
                         "both or neither")
    if cfg.source_data_path and not cfg.source_dataset:
        raise OptionError("--source_data_path is the folder of --source_dataset, which is not given; leave it out")
    attack = type(cfg).attack_class, type(cfg).target_class
    if cfg.objective != "poison" and (cfg.attack_class, cfg.target_class) != attack:
        raise OptionError("--attack_class and --target_class belong to --objective poison; leave them out")
    if loaded and (cfg.net_init, cfg.init_param) != (type(cfg).net_init, type(cfg).init_param):
        raise OptionError("the networks of --train_nets_type loaded were initialised by buffer.py; leave --net_init "
                         "and --init_param out")
    if loaded and cfg.n_nets == 1 and cfg.num_eval not in (None, 1):
        raise OptionError("--train_nets_type loaded evaluates a single network on itself; leave --num_eval out, or "
                         "raise --n_nets")


def check_sampled(cfg: Any) -> None:
    """Raise OptionError for options of main_RTP.py that do not go together."""
    parse_strategy(cfg.dsa_strategy)
    if 0 in (cfg.batch_syn, cfg.task_sampler_nc):
        raise OptionError("--batch_syn and --task_sampler_nc must be 1 or larger, or -1 for all; leave the 0 out")
    if cfg.net_init == "default" and cfg.init_param != 1:
        raise OptionError("--init_param is the gain of --net_init xavier; leave it out")
    if cfg.window and cfg.window > cfg.inner_steps:
        raise OptionError(f"--window {cfg.window} is longer than all {cfg.inner_steps} steps; lower it")


def source_of(cfg: Any) -> DataChoice | None:
    """Return the `DataChoice` of --source_dataset, None where networks learned the images of --dataset itself."""
    if not cfg.source_dataset:
        return None
    return replace(cfg.data, name=cfg.source_dataset, data_path=cfg.source_data_path or cfg.data_path,
                   subset=cfg.subset if cfg.source_dataset == "ImageNet" else None)
