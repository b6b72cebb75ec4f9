"""What the tests of main_IDC.py share: runs of seconds on Digits with a network of one block."""

import main_IDC
from condense.cli import parse, with_forms
from condense.synthetic import PARAMETERIZATIONS
from tests.conftest import Script

SETTINGS = ["--dataset", "Digits", "--model", "ConvNetD1", "--ipc", "1", "--Iteration", "2", "--inner_loop", "2",
            "--batch_real", "6", "--n_data", "16", "--batch_train", "8", "--lr_img", "1", "--num_eval", "1",
            "--epoch_eval_train", "1", "--eval_every", "0", "--no-progress", "--device", "cpu"]
PLAIN = ["--parameterization", "pixels"]


def script(*flags):
    """Return main_IDC.py with the settings and `flags`."""
    one = Script(main_IDC)
    one.settings = [*SETTINGS, *flags]
    return one


def options(*flags):
    """Return the options that `flags` give, those of the synthetic set's form included."""
    return parse(with_forms(main_IDC.Config, PARAMETERIZATIONS), list(flags))
