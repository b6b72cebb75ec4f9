"""What the options of unrolled training come to: which of them go together, and what their automatic values are."""

from dataclasses import replace
from typing import Any

from condense.augmentation import parse_strategy
from condense.core.errors import InputError
from condense.training.pools import eval_pool

NUM_EVAL, NUM_EVAL_SAMPLED = 20, 10        # held-out networks; the paper's ± are over 200; of Remember the Past
# what the steps are to teach -> what the original calls it (--mode)
OBJECTIVES = {"distill": "distill_basic", "adapt": "distill_adapt", "poison": "distill_attack"}
ORDERED = "distill_steps", "distill_epochs", "epochs", "decay_epochs", "decay_factor", "batch_size"
SAMPLED = "batch_syn", "batch_real", "task_sampler_nc", "epoch_eval_train", "lr_net", "batch_train"


def settle_steps(cfg: Any) -> Any:
    """Return `cfg` with the original's --mode and the number of scored networks in place; raises as `check` does."""
    if cfg.mode:
        (objective,) = (name for name, mode in OBJECTIVES.items() if mode == cfg.mode)
        if cfg.objective not in (type(cfg).objective, objective):
            raise InputError(f"--mode {cfg.mode} is --objective {objective}, not {cfg.objective}; leave one of the two "
                             "out")
        cfg = replace(cfg, objective=objective)
    check(cfg)
    own = cfg.train_nets_type == "known_init" or (cfg.train_nets_type == "loaded" and cfg.n_nets == 1)
    held_out = NUM_EVAL_SAMPLED if cfg.inner_steps else NUM_EVAL
    return replace(cfg, num_eval=cfg.num_eval or (cfg.n_nets if own else held_out))


def num_steps_of(cfg: Any) -> int:
    """Return T, the steps that a network is trained for."""
    return cfg.inner_steps or cfg.distill_steps * cfg.distill_epochs


def check(cfg: Any) -> None:
    """Raise ValueError for options that do not go together."""
    parse_strategy(cfg.dsa_strategy)
    for name in ORDERED if cfg.inner_steps else SAMPLED:
        if getattr(cfg, name) != getattr(type(cfg), name):
            raise InputError(f"--{name} has no meaning with{'' if cfg.inner_steps else 'out'} --inner_steps; leave it "
                             "out")
    if cfg.inner_steps and cfg.Iteration is None:
        raise InputError("--inner_steps draws real images anew for each update, so there are no --epochs; give "
                         "--Iteration")
    if cfg.inner_steps and cfg.train_nets_type != "unknown_init":
        raise InputError(f"--inner_steps trains fresh networks; leave --train_nets_type {cfg.train_nets_type} out")
    if 0 in (cfg.batch_syn, cfg.task_sampler_nc):
        raise InputError("--batch_syn and --task_sampler_nc are 1 or larger, or -1 for all; leave the 0 out")
    if cfg.distilled_images_per_class_per_step:
        raise InputError("--distilled_images_per_class_per_step is told by --ipc, which counts all steps; give --ipc "
                         f"{cfg.distilled_images_per_class_per_step * cfg.distill_steps}")
    if cfg.train_nets_type == "unknown_init" and cfg.sample_n_nets not in (None, cfg.n_nets):
        raise InputError("--train_nets_type unknown_init draws every network afresh, none from others; give --n_nets "
                         f"{cfg.sample_n_nets} and leave --sample_n_nets out")
    if (cfg.sample_n_nets or 1) > cfg.n_nets:
        raise InputError(f"--sample_n_nets {cfg.sample_n_nets} of --n_nets {cfg.n_nets} are too many; lower it")
    if cfg.net_init == "default" and cfg.init_param != 1:
        raise InputError("--init_param is the gain of --net_init xavier; leave it out")
    if cfg.window and cfg.window > num_steps_of(cfg):
        raise InputError(f"--window {cfg.window} is longer than all {num_steps_of(cfg)} steps; lower it")
    if cfg.train_nets_type == "known_init" and cfg.num_eval not in (None, cfg.n_nets):
        raise InputError(f"--train_nets_type known_init is scored on its own --n_nets {cfg.n_nets}; leave --num_eval "
                         "out")
    if cfg.train_nets_type != "unknown_init" and eval_pool(cfg.eval_mode, cfg.model) != (cfg.model,):
        raise InputError(f"--train_nets_type {cfg.train_nets_type} is scored on its own {cfg.model}; leave --eval_mode "
                         "out")
    check_trained(cfg)


def check_trained(cfg: Any) -> None:
    """Raise ValueError for options of trained networks, and what they are taught, that do not go together."""
    loaded = cfg.train_nets_type == "loaded"
    if cfg.objective != "distill" and not loaded:
        raise InputError(f"--objective {cfg.objective} is for networks that are trained already; give "
                         "--train_nets_type loaded, too")
    if (cfg.objective == "adapt") != (cfg.source_dataset is not None):
        raise InputError("--objective adapt and --source_dataset, which networks were trained on, go together; give "
                         "both or neither")
    if cfg.source_data_path and not cfg.source_dataset:
        raise InputError("--source_data_path is that of --source_dataset; leave it out")
    attack = type(cfg).attack_class, type(cfg).target_class
    if cfg.objective != "poison" and (cfg.attack_class, cfg.target_class) != attack:
        raise InputError("--attack_class and --target_class belong to --objective poison; leave them out")
    if loaded and (cfg.net_init, cfg.init_param) != (type(cfg).net_init, type(cfg).init_param):
        raise InputError("the networks of --train_nets_type loaded start as buffer.py was told; leave --net_init and "
                         "--init_param out")
    if loaded and cfg.n_nets == 1 and cfg.num_eval not in (None, 1):
        raise InputError("--train_nets_type loaded scores a single network on itself; leave --num_eval out, or raise "
                         "--n_nets")
