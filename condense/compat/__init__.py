"""The reference's function names, arguments and return values on top of ours, for scripts written against it.

The reference is the code of Zhao, Mopuri & Bilen (ICLR 2021), Zhao & Bilen (ICML 2021) and Zhao & Bilen
(WACV 2023), whose forks share these names. Where a function draws random numbers it takes them from PyTorch's
global generator, as those scripts expect; only seeded Siamese augmentation has generators of its own.
"""

from condense.compat.augmentation import (
    AUGMENT_FNS,
    DiffAugment,
    ParamDiffAug,
    augment,
    get_daparam,
    rand_brightness,
    rand_contrast,
    rand_crop,
    rand_cutout,
    rand_flip,
    rand_rotate,
    rand_saturation,
    rand_scale,
    set_seed_DiffAug,
)
from condense.compat.datasets import TensorDataset, get_dataset
from condense.compat.matching import distance_wb, get_loops, match_loss
from condense.compat.models import get_default_convnet_setting, get_eval_pool, get_network
from condense.compat.training import epoch, evaluate_synset, get_time

__all__ = [
    "AUGMENT_FNS", "DiffAugment", "ParamDiffAug", "TensorDataset", "augment", "distance_wb", "epoch",
    "evaluate_synset", "get_daparam", "get_dataset", "get_default_convnet_setting", "get_eval_pool",
    "get_loops", "get_network", "get_time", "match_loss", "rand_brightness", "rand_contrast", "rand_crop",
    "rand_cutout", "rand_flip", "rand_rotate", "rand_saturation", "rand_scale", "set_seed_DiffAug",
]
