"""Options of IDC: which ones go together, and the automatic values that depend on the data.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from condense.augmentation import parse_strategy
from condense.cli import OptionError
from condense.matching import is_matched, refined_defaults
from condense.synthetic import SyntheticSet, outline_synthetic, stores_images
from condense.training.idc import idc_protocols, is_large

SETTLED = ("metric", "lr_img", "n_data", "early", "aug_type", "mixup_net")        # what auto came to, for the result
AUG_TYPE = "color_crop_cutout"
UNMIXED = {"aug_type": "color_crop", "mixup_net": "vanilla", "mixup": "vanilla"}     # where mosaics are scored so


def method_name(cfg: Any) -> str:
    """Return IDC-I for images that are stored as they are, else IDC."""
    return "IDC-I" if stores_images(cfg.parameterization, **cfg.form_options()) else "IDC"


def outline(cfg: Any, real: Any) -> SyntheticSet:
    """Return the set that a run would start, without its memory."""
    return outline_synthetic(cfg.parameterization, real, cfg.ipc, **cfg.form_options())


def check(cfg: Any) -> None:
    """Raise OptionError for options that do not go together."""
    for strategy in (cfg.aug_type, cfg.dsa_strategy):
        parse_strategy("none" if strategy == "auto" else strategy)
    if cfg.zca:
        raise OptionError("IDC keeps pixels between 0 and 1, which whitened ones are not; leave --zca out")
    if cfg.n_data == 0:
        raise OptionError("--n_data 0 does not train the network; give --net_epoch 0 instead")
    if cfg.mix_p != "auto" and cfg.mix_p > 1:
        raise OptionError(f"--mix_p is a probability, not {cfg.mix_p:g}; lower it")
    if cfg.match == "feat" and (cfg.metric not in ("auto", "mse") or "True" in (cfg.bias, cfg.fc)):
        raise OptionError("--match feat compares features by squared distances; leave --metric, --bias and --fc out")
    if cfg.pt_from < 0 and cfg.pt_num > 1:
        raise OptionError(f"--pt_num {cfg.pt_num} counts epochs from --pt_from on; also give --pt_from")


def settled(cfg: Any, real: Any) -> Any:
    """Return `cfg` with what it leaves to the data; raises OptionError for an unknown step size."""
    published = refined_defaults(real.name, real.channel, real.num_classes, is_large(real))
    if cfg.lr_img == "auto" and (cfg.match == "feat" or cfg.metric not in ("auto", published.metric)):
        raise OptionError(f"--lr_img auto is published for --match grad with --metric {published.metric} on these "
                          "images; give --lr_img for other choices")
    auto = {"niter": published.niter, "metric": published.metric, "lr_img": published.lr_img, "aug_type": AUG_TYPE,
            "n_data": published.n_data, "early": 0 if cfg.pt_from >= 0 else published.early, "mixup_net": "cut"}
    scored = idc_protocols([cfg.model], real, None, epochs=1, factor=outline(cfg, real).factor)[cfg.model]
    if not scored.cutmix:                                        # MNIST with mosaics of several images
        auto |= {**UNMIXED, "dsa_strategy": scored.strategy}
    return replace(cfg, **{name: value for name, value in auto.items() if getattr(cfg, name) == "auto"})


def iterations_of(cfg: Any) -> int:
    """Return how many iterations there are."""
    return 100 * cfg.niter // cfg.inner_loop if cfg.Iteration is None else cfg.Iteration


def require_matched(cfg: Any, net: nn.Module) -> None:
    """Raise OptionError where gradients are to be matched of which network `net` has none."""
    shapes = [parameter.shape for parameter in net.parameters()]
    if cfg.match == "grad" and not any(is_matched(shape, cfg.bias == "True", cfg.fc == "True") for shape in shapes):
        raise OptionError(f"--model {cfg.model} has no convolution, and only gradients of convolutions are matched; "
                          "give --fc True")
