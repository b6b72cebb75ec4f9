"""Expert trajectories: how networks that train on the real data are recorded, and how the record is read."""

from condense.experts.banks import open_banks
from condense.experts.control import RandomTrajectories
from condense.experts.expert_starts import open_expert_starts
from condense.experts.folder import buffer_command, expert_folder
from condense.experts.network_starts import REGIMES, NetworkStarts
from condense.experts.recipe import CLASSIC_STRATEGY, LOSSES, Recipe, parse_epochs
from condense.experts.run import ExpertRun
from condense.experts.set_starts import expert_labels, right_images
from condense.experts.trajectories import ExpertBuffer, open_buffer, open_experts

__all__ = ["CLASSIC_STRATEGY", "LOSSES", "REGIMES", "ExpertBuffer", "ExpertRun", "NetworkStarts", "RandomTrajectories",
           "Recipe", "buffer_command", "expert_folder", "expert_labels", "open_banks", "open_buffer", "open_experts",
           "open_expert_starts", "parse_epochs", "right_images"]
