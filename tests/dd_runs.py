"""What the tests of main_DD.py share: short runs on Digits with an MLP, three steps of one image per class."""

import main_DD
from tests.conftest import Script

SETTINGS = ["--dataset", "Digits", "--model", "MLP", "--ipc", "3", "--distill_steps", "3", "--distill_epochs", "2",
            "--distill_lr", "0.1", "--batch_size", "600", "--eval_every", "2", "--no-progress", "--device", "cpu"]
FIXED = ["--train_nets_type", "known_init"]
LAST = ["--eval_every", "0"]                               # as few evaluations as there are


def script(*flags, settings=SETTINGS, module=main_DD):
    """Return main_DD.py, or another `module`, with `settings` and `flags`."""
    one = Script(module)
    one.settings = [*settings, *flags]
    return one


def fresh_starts():
    return script("--Iteration", "4", "--num_eval", "2")


def fixed_start():
    return script("--Iteration", "4", *FIXED)
