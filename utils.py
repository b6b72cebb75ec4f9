"""What scripts share: how data and sets are loaded, sets are scored and networks trained, and the reference's names.

The reference's scripts run on these unchanged: `get_network` here is theirs (on the GPU, from the global generator),
`networks.get_network` is ours. Names that stood here once are handed on from their rooms.
"""

from condense.compat import (
    AUGMENT_FNS,
    DiffAugment,
    ParamDiffAug,
    TensorDataset,
    augment,
    distance_wb,
    epoch,
    evaluate_synset,
    get_daparam,
    get_dataset,
    get_default_convnet_setting,
    get_eval_pool,
    get_loops,
    get_network,
    get_time,
    match_loss,
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
from condense.compat.moved import FROM_UTILS, moved
from condense.data import DATASETS, DataChoice, RealBatch, RealData, load_data
from condense.evaluation import Scorer, SelectionImages, choose_lr, evaluate
from condense.sharing.evaluated import evaluate_set
from condense.sharing.loading import load_set, load_synthetic_set
from condense.training import (
    PROTOCOLS,
    Protocol,
    StepProtocol,
    TensorSet,
    dc_protocols,
    eval_pool,
    idc_protocols,
    mtt_protocols,
    named_protocols,
    siamese_protocols,
    train_network,
)

__all__ = [
    "AUGMENT_FNS", "DATASETS", "DataChoice", "DiffAugment", "PROTOCOLS", "ParamDiffAug", "Protocol", "RealBatch",
    "RealData", "Scorer", "SelectionImages", "StepProtocol", "TensorDataset", "TensorSet", "augment", "choose_lr",
    "dc_protocols", "distance_wb", "epoch", "eval_pool", "evaluate", "evaluate_set", "evaluate_synset", "get_daparam",
    "get_dataset", "get_default_convnet_setting", "get_eval_pool", "get_loops", "get_network", "get_time",
    "idc_protocols", "load_data", "load_set", "load_synthetic_set", "match_loss", "mtt_protocols", "named_protocols",
    "rand_brightness", "rand_contrast", "rand_crop", "rand_cutout", "rand_flip", "rand_rotate", "rand_saturation",
    "rand_scale", "set_seed_DiffAug", "siamese_protocols", "train_network",
]

__getattr__ = moved(__name__, FROM_UTILS)
