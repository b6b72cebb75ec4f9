"""Names that scripts of forks import from where they stood once: handed on, with one line that names their room.

    __getattr__ = moved(__name__, FROM_UTILS)              # at the end of utils.py
"""

import logging
from importlib import import_module

log = logging.getLogger("condense")

# what utils.py handed on beside the reference's names: room -> names
_ROOMS_OF_UTILS = {
    "condense.cli.options": "RunConfig dead_flags option redefault",
    "condense.comparison.baselines": "save_baselines",
    "condense.comparison.beside": "BASELINES Baselines",
    "condense.comparison.rows": "load_rows merge_rows save_rows show_rows",
    "condense.comparison.scored_rows": "Scoring",
    "condense.comparison.scored_set": "Changes ScoredSet",
    "condense.core.errors": "Interrupted MissingFile OptionError",
    "condense.core.journal": "log_to_terminal versions",
    "condense.core.randomness": "Streams",
    "condense.data": "DATASETS RealBatch RealData Whitening default_side load_data",
    "condense.data.coresets": "CORESET_METHODS choose_coreset require_images",
    "condense.evaluation": "Scorer choose_lr evaluate",
    "condense.evaluation.before_after": "BeforeAfter accuracy_alone",
    "condense.evaluation.poisoning": "poisoned",
    "condense.evaluation.selection": "SelectionImages",
    "condense.experts": "CLASSIC_STRATEGY LOSSES ExpertRun Recipe expert_folder open_experts parse_epochs",
    "condense.experts.banks": "open_banks require_alike",
    "condense.experts.control": "RandomTrajectories",
    "condense.experts.expert_starts": "open_beginnings",
    "condense.experts.network_starts": "REGIMES Starts",
    "condense.experts.set_starts": "expert_labels right_images",
    "condense.matching.class_gradients": "class_gradients matching_over_classes",
    "condense.matching.features": "class_means",
    "condense.matching.gradients": "class_distances gradient_distance",
    "condense.matching.inner_sgd": "InnerSGD",
    "condense.matching.refined":
        "REFINED_METRICS image_step is_matched part_of_each refined_distances refined_settings",
    "condense.matching.trajectories": "Student start_epochs student_minibatches",
    "condense.matching.unrolling": "MODES choose_mode draw_window unroll",
    "condense.operators": "Compute start_compute",
    "condense.run.checkpoints": "check_writable",
    "condense.run.results": "load_result save_picture save_result",
    "condense.run.run": "start_run",
    "condense.run.script": "run_script",
    "condense.sharing.fetch": "local_copy",
    "condense.sharing.layouts": "LAYOUTS read_set",
    "condense.sharing.loading": "LoadedSet load_synthetic_set",
    "condense.sharing.real_data": "data_of require_data_of",
    "condense.sharing.spaces": "SPACES Spaces place",
    "condense.synthetic": "PARAMETERIZATIONS Pixels SyntheticSet build_synthetic outline_synthetic",
    "condense.synthetic.optimisers": "build_optimizer",
    "condense.training": "Protocol TensorSet dc_protocols eval_pool mtt_protocols siamese_protocols",
    "condense.training.continued": "ContinuedTraining",
    "condense.training.idc": "MIXUPS following_protocol idc_protocols is_large",
    "condense.training.passes": "Passes crop_and_flip",
    "condense.training.protocols": "StepProtocol",
    "condense.training.published": "PROTOCOLS named_protocols",
    "condense.training.sampled_minibatches": "class_minibatches draw_classes",
    "condense.training.steps": "split_steps",
    "condense.training.train": "train_network",
    "condense.training.unrolled_options": "NUM_EVAL OBJECTIVES num_steps_of settle_steps",
}
FROM_UTILS = {name: room for room, names in _ROOMS_OF_UTILS.items() for name in names.split()}


def moved(module, homes):
    """Return the `__getattr__` (PEP 562) of the module named `module` that hands on the names of `homes`.

    `homes` {name: module that it stands in now, "condense.room.file", or "condense.room.file:other_name" where it was
    renamed}. A name is imported when it is asked for, and the first time a line says where it stands. What the module
    itself holds is never asked for here. The function raises AttributeError for any other name.
    """
    said = set()

    def __getattr__(name):
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, renamed = homes[name].partition(":")
        value = getattr(import_module(home), renamed or name)
        if name not in said:
            said.add(name)
            log.warning("%s.%s has moved: from %s import %s", module, name, home, renamed or name)
        return value

    return __getattr__
