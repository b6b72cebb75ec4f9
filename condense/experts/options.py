"""Options of trajectory matching: which ones go together, and their final values."""

from typing import Any

from torch import nn

from condense.cli import OptionError, auto
from condense.data.real import RealData
from condense.experts.control import RandomTrajectories
from condense.experts.trajectories import ExpertBuffer, open_experts
from condense.matching import InnerSGD


def check(cfg: Any) -> None:
    """Raise OptionError for options that do not go together."""
    if cfg.dsa == "False" and cfg.dsa_strategy != "auto":
        raise OptionError(f"--dsa_strategy {cfg.dsa_strategy} belongs to --dsa True; leave one of the two out")
    auto.check_strategy(cfg.dsa_strategy)
    if cfg.min_start_epoch >= cfg.max_start_epoch:
        raise OptionError(f"--min_start_epoch {cfg.min_start_epoch} leaves no epoch before --max_start_epoch "
                          f"{cfg.max_start_epoch}; lower it")
    InnerSGD(cfg.inner_momentum).check(cfg.unroll)
    if (cfg.current_max_start_epoch is None) != (cfg.expansion_end_epoch is None):
        raise OptionError("--current_max_start_epoch and --expansion_end_epoch go together; give both or neither")
    if cfg.expansion_end_epoch and not cfg.min_start_epoch < cfg.current_max_start_epoch <= cfg.max_start_epoch:
        raise OptionError(f"--current_max_start_epoch must be above --min_start_epoch {cfg.min_start_epoch} and at "
                          f"most --max_start_epoch {cfg.max_start_epoch}, not {cfg.current_max_start_epoch}")
    if cfg.lr_y and cfg.teacher_label:
        raise OptionError("--lr_y learns the labels, but --teacher_label replaces them in each iteration; leave one "
                          "out")
    if cfg.random_trajectory and (cfg.lr_y or cfg.teacher_label or cfg.init == "samples_predicted_correctly"):
        raise OptionError("--random_trajectory has no experts that could give labels or images; leave it out")
    if cfg.random_trajectory and (cfg.load_all or cfg.skip_bad or cfg.max_files or cfg.max_experts):
        raise OptionError("--random_trajectory reads no experts; leave --load_all, --skip_bad, --max_files and "
                          "--max_experts out")


def strategies(cfg: Any, dataset: str) -> tuple[str, str]:
    """Return the augmentation of the student's steps and that of evaluation ("none": DC's, see `mtt_protocols`)."""
    if cfg.dsa == "False":
        return "none", "none"
    strategy = auto.strategy_for(cfg.dsa_strategy, dataset)
    return strategy if cfg.no_aug == "False" else "none", strategy


def find_experts(cfg: Any, net: nn.Module, real: RealData) -> ExpertBuffer | RandomTrajectories:
    """Return the experts that the run matches; raises ValueError or FileNotFoundError where they do not fit it."""
    if cfg.random_trajectory:
        return RandomTrajectories(net)
    needs = cfg.min_start_epoch, cfg.max_start_epoch - 1 + cfg.expert_epochs
    return open_experts(cfg.buffer_path, net, real, cfg.model, needs, cfg.data, skip_bad=cfg.skip_bad,
                        max_files=cfg.max_files, max_experts=cfg.max_experts, load_all=cfg.load_all)
