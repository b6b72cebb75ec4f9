"""Expert trajectories: how networks that train on the real data are recorded, and how the record is read."""

from condense.experts.folder import buffer_command, expert_folder
from condense.experts.recipe import CLASSIC_STRATEGY, LOSSES, Recipe, parse_epochs
from condense.experts.run import ExpertRun
from condense.experts.trajectories import ExpertBuffer, open_buffer, open_experts

__all__ = ["CLASSIC_STRATEGY", "LOSSES", "ExpertBuffer", "ExpertRun", "Recipe", "buffer_command", "expert_folder",
           "open_buffer", "open_experts", "parse_epochs"]
