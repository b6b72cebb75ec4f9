"""What a script imports: the toolkit's own names, and the reference's, whose scripts run on them unchanged.

`get_network` here is the reference's (on the GPU, from the global generator); `networks.get_network` is ours.
"""

from condense.cli.options import RunConfig, dead_flags, option, redefault
from condense.comparison.baselines import save_baselines
from condense.comparison.beside import BASELINES, Baselines
from condense.comparison.rows import load_rows, merge_rows, save_rows, show_rows
from condense.comparison.scored_rows import Scoring
from condense.comparison.scored_set import Changes, ScoredSet
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
from condense.core.errors import Interrupted, MissingFile, OptionError
from condense.core.journal import log_to_terminal, versions
from condense.core.randomness import Streams
from condense.data import DATASETS, RealBatch, RealData, Whitening, default_side, load_data
from condense.data.coresets import CORESET_METHODS, choose_coreset, require_images
from condense.evaluation import Scorer, choose_lr, evaluate
from condense.evaluation.before_after import BeforeAfter, accuracy_alone
from condense.evaluation.poisoning import poisoned
from condense.evaluation.selection import SelectionImages
from condense.experts import CLASSIC_STRATEGY, LOSSES, ExpertRun, Recipe, expert_folder, open_experts, parse_epochs
from condense.experts.banks import open_banks, require_alike
from condense.experts.control import RandomTrajectories
from condense.experts.expert_starts import open_beginnings
from condense.experts.network_starts import REGIMES, Starts
from condense.experts.set_starts import expert_labels, right_images
from condense.matching.class_gradients import class_gradients, matching_over_classes
from condense.matching.features import class_means
from condense.matching.gradients import class_distances, gradient_distance
from condense.matching.inner_sgd import InnerSGD
from condense.matching.refined import (
    REFINED_METRICS,
    image_step,
    is_matched,
    part_of_each,
    refined_distances,
    refined_settings,
)
from condense.matching.trajectories import Student, start_epochs, student_minibatches
from condense.matching.unrolling import MODES, choose_mode, draw_window, unroll
from condense.operators import Compute, start_compute
from condense.run.checkpoints import check_writable
from condense.run.results import load_result, save_picture, save_result
from condense.run.run import start_run
from condense.run.script import run_script
from condense.sharing.fetch import local_copy
from condense.sharing.layouts import LAYOUTS, read_set
from condense.sharing.loading import LoadedSet, load_set, load_synthetic_set, place
from condense.sharing.real_data import data_of, require_data_of
from condense.sharing.spaces import SPACES, Spaces
from condense.synthetic import PARAMETERIZATIONS, Pixels, SyntheticSet, build_synthetic, outline_synthetic
from condense.synthetic.optimisers import build_optimizer
from condense.training import Protocol, TensorSet, dc_protocols, eval_pool, mtt_protocols, siamese_protocols
from condense.training.continued import ContinuedTraining
from condense.training.idc import MIXUPS, following_protocol, idc_protocols, is_large
from condense.training.passes import Passes, crop_and_flip
from condense.training.protocols import StepProtocol
from condense.training.published import PROTOCOLS, named_protocols
from condense.training.sampled_minibatches import class_minibatches, draw_classes
from condense.training.steps import split_steps
from condense.training.train import train_network
from condense.training.unrolled_options import NUM_EVAL, OBJECTIVES, num_steps_of, settle_steps

__all__ = [
    "AUGMENT_FNS", "BASELINES", "Baselines", "BeforeAfter", "CLASSIC_STRATEGY", "CORESET_METHODS", "Changes",
    "Compute", "ContinuedTraining", "DATASETS", "DiffAugment", "ExpertRun", "InnerSGD", "Interrupted", "LAYOUTS",
    "LOSSES", "LoadedSet", "MIXUPS", "MODES", "MissingFile", "NUM_EVAL", "OBJECTIVES", "OptionError",
    "PARAMETERIZATIONS", "PROTOCOLS", "ParamDiffAug", "Passes", "Pixels", "Protocol", "REFINED_METRICS", "REGIMES",
    "RandomTrajectories", "RealBatch", "RealData", "Recipe", "RunConfig", "SPACES", "ScoredSet", "Scorer",
    "Scoring", "SelectionImages", "Spaces", "Starts", "StepProtocol", "Streams", "Student", "SyntheticSet",
    "TensorDataset", "TensorSet", "Whitening", "accuracy_alone", "augment", "build_optimizer", "build_synthetic",
    "check_writable", "choose_coreset", "choose_lr", "choose_mode", "class_distances", "class_gradients",
    "class_means", "class_minibatches", "crop_and_flip", "data_of", "dc_protocols", "dead_flags", "default_side",
    "distance_wb", "draw_classes", "draw_window", "epoch", "eval_pool", "evaluate", "evaluate_synset",
    "expert_folder", "expert_labels", "following_protocol", "get_daparam", "get_dataset",
    "get_default_convnet_setting", "get_eval_pool", "get_loops", "get_network", "get_time", "gradient_distance",
    "idc_protocols", "image_step", "is_large", "is_matched", "load_data", "load_result", "load_rows",
    "load_set",
    "load_synthetic_set", "local_copy", "log_to_terminal", "match_loss", "matching_over_classes", "merge_rows",
    "mtt_protocols", "named_protocols", "num_steps_of", "open_banks", "open_beginnings", "open_experts", "option",
    "outline_synthetic", "parse_epochs", "part_of_each", "place", "poisoned", "rand_brightness", "rand_contrast",
    "rand_crop", "rand_cutout", "rand_flip", "rand_rotate", "rand_saturation", "rand_scale", "read_set",
    "redefault", "refined_distances", "refined_settings", "require_alike", "require_data_of", "require_images",
    "right_images", "run_script", "save_baselines", "save_picture", "save_result", "save_rows", "set_seed_DiffAug",
    "settle_steps", "show_rows", "siamese_protocols", "split_steps", "start_compute", "start_epochs", "start_run",
    "student_minibatches", "train_network", "unroll", "versions",
]
