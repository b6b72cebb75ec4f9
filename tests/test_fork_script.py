"""A script written against the reference's modules runs on this toolkit's, unchanged."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
FULL = "color_crop_cutout_scale_rotate"


def run_fork(save_path, *flags):
    """Run the script in a process of its own; return (its result file's content, what it printed)."""
    script = str(REPOSITORY / "tests" / "fork_script.py")
    command = [sys.executable, script, "--save_path", str(save_path), *flags]
    done = subprocess.run(command, cwd=save_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = save_path.glob("res_*.pt")
    return torch.load(path, weights_only=True), done.stdout


@pytest.mark.parametrize("flags", [
    ("--method", "DC", "--outer_loop", "3", "--inner_loop", "2"),
    ("--method", "DSA", "--outer_loop", "2", "--inner_loop", "2", "--dsa_strategy", FULL),
    ("--method", "DM", "--Iteration", "10", "--lr_img", "1", "--dsa_strategy", FULL),
], ids=lambda flags: flags[1])
def test_a_fork_condenses_digits_into_a_set_that_teaches(tmp_path, flags):
    result, printed = run_fork(tmp_path, "--model", "ConvNetD2", *flags)
    (images, labels), = result["data"]
    assert images.shape == (100, 1, 8, 8) and images.isfinite().all()
    assert torch.equal(labels, torch.arange(10).repeat_interleave(10))
    changed = (images - result["start"]).flatten(1).norm(dim=1)
    assert (changed > 0).all()                                   # every image had its step
    assert result["accs_all_exps"]["ConvNetD2"][0] > 0.5         # chance is 0.1
    assert re.search(r"Evaluate_00: epoch = 0030 train time = \d+ s .* test acc = 0\.\d{4}", printed)


def test_a_fork_scores_every_network_of_a_pool(tmp_path):
    result, _ = run_fork(tmp_path, "--method", "DM", "--ipc", "1", "--Iteration", "1", "--eval_mode", "A",
                         "--epoch_eval_train", "1", "--num_eval", "2")
    accuracies = result["accs_all_exps"]
    assert list(accuracies) == ["ConvNetAS", "ConvNetAR", "ConvNetAL", "ConvNetASwish"]
    assert all(len(values) == 2 and all(0 < value < 1 for value in values) for values in accuracies.values())


def test_a_fork_runs_on_real_mnist(tmp_path, mnist_folder):
    result, _ = run_fork(tmp_path, "--dataset", "MNIST", "--data_path", str(mnist_folder), "--method", "DM",
                         "--ipc", "1", "--Iteration", "2", "--model", "ConvNetW32", "--eval_mode", "SS",
                         "--lr_net", "0.1", "--per_class", "40", "--batch_real", "20")
    assert result["data"][0][0].shape == (10, 1, 28, 28)
    (accuracy,) = result["accs_all_exps"]["ConvNetW32"]
    assert accuracy > 0.2                                        # chance is 0.1
