"""The loop around an algorithm: progress, due evaluations, checkpoints, results and what is said of them."""

from condense.run.results import load_result, save_picture, save_result
from condense.run.run import Run, start_run
from condense.run.script import run_script

__all__ = ["Run", "load_result", "run_script", "save_picture", "save_result", "start_run"]
