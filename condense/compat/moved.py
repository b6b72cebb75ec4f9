"""Names that scripts of forks import from where they stood once: handed on, with one line that names their room.

    __getattr__ = moved(__name__, FROM_UTILS)              # at the end of utils.py
"""

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

log = logging.getLogger("condense")

# what utils.py handed on until version 0.1 and hands on still: room -> names, new:old where one was renamed
_ROOMS_OF_UTILS = {
    "condense.cli": "dead_flags option redefault",
    "condense.cli.groups": "RunConfig",
    "condense.comparison.baselines": "save_baselines",
    "condense.comparison.baseline_rows": "BASELINES Baselines",
    "condense.comparison.rows": "load_rows merge_rows save_rows show_rows",
    "condense.comparison.scored_rows": "Scoring",
    "condense.comparison.scored_set": "Changes ScoredSet",
    "condense.core.errors": "Interrupted",
    "condense.core.journal": "log_to_terminal versions",
    "condense.core.randomness": "Streams",
    "condense.data": "Whitening default_side",
    "condense.data.coresets": "CORESET_METHODS choose_coreset require_images",
    "condense.evaluation": "BeforeAfter accuracy_alone poisoned",
    "condense.experts": "CLASSIC_STRATEGY LOSSES ExpertRun REGIMES RandomTrajectories Recipe expert_folder "
                        "expert_labels open_banks open_experts open_expert_starts:open_beginnings NetworkStarts:Starts "
                        "parse_epochs right_images",
    "condense.experts.banks": "require_alike",
    "condense.matching": "InnerSGD MODES REFINED_METRICS Student choose_mode class_distances class_gradients "
                         "class_means draw_window gradient_distance image_step is_matched matching_over_classes "
                         "part_of_each refined_distances refined_defaults:refined_settings start_epochs "
                         "student_minibatches unroll",
    "condense.operators": "Compute start_compute",
    "condense.run": "load_result run_script save_picture save_result start_run",
    "condense.run.checkpoints": "check_writable",
    "condense.sharing.fetch": "local_copy",
    "condense.sharing.layouts": "LAYOUTS read_set",
    "condense.sharing.loading": "LoadedSet place",
    "condense.sharing.real_data": "data_of require_data_of",
    "condense.sharing.spaces": "SPACES Spaces",
    "condense.synthetic": "PARAMETERIZATIONS Pixels SyntheticSet build_optimizer build_synthetic outline_synthetic",
    "condense.training": "ContinuedTraining MIXUPS Passes class_minibatches crop_and_flip draw_classes "
                         "following_protocol is_large split_steps",
    "condense.training.unrolled_options": "NUM_EVAL OBJECTIVES num_steps_of settle_steps",
}
FROM_UTILS = {(old or new): f"{room}:{new}" if old else room for room, names in _ROOMS_OF_UTILS.items()
              for new, _, old in (name.partition(":") for name in names.split())}


def moved(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
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
