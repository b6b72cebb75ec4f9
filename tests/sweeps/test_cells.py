"""What each sweep runs: a cell for every combination, with the flags of the published runs."""

import os
import shutil

import pytest

import main_IDC
import main_RTP
from condense.networks import NETWORKS
from condense.training import eval_pool
from tests.sweep_runs import ONE, parsed

pytestmark = pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="sweeps need bash")


@pytest.mark.parametrize("script, mode", [("sweep_cross.sh", "M"), ("sweep_width.sh", "W"), ("sweep_depth.sh", "D"),
                                          ("sweep_activation.sh", "A"), ("sweep_pooling.sh", "P"),
                                          ("sweep_normalisation.sh", "N")])
def test_pool_sweeps_condense_with_each_variant_and_score_on_the_pool(planned, script, mode):
    options = [parsed(command)[0] for command in planned(script, JOBS="8")]
    assert {(cfg.method, cfg.dataset, cfg.ipc, cfg.eval_mode) for cfg in options} == {("DC", "MNIST", 1, mode)}
    models = [cfg.model for cfg in options]
    assert all(model in NETWORKS for model in models) and len(set(models)) == len(models)
    if mode == "M":
        assert sorted(models) == sorted(["MLP", "LeNet", "ConvNet", "AlexNet", "VGG11BN", "ResNet18BN_AP"])
        assert all(cfg.lr_img == (0.01 if cfg.model == "MLP" else 0.1) for cfg in options)
    else:
        assert sorted(models) == sorted(eval_pool(mode, "ConvNet"))


def test_metric_sweep_crosses_networks_with_distances(planned):
    options = [parsed(command)[0] for command in planned("sweep_metric.sh", JOBS="20")]
    assert len({(cfg.model, cfg.dis_metric) for cfg in options}) == len(options) == 18
    assert {cfg.dis_metric for cfg in options} == {"ours", "mse", "cos"} and {cfg.eval_mode for cfg in options} == {"S"}


def test_strategy_sweep_runs_dsa_from_real_images(planned):
    options = [parsed(command)[0] for command in planned("sweep_strategy.sh", JOBS="40")]
    assert {(cfg.method, cfg.init, cfg.ipc) for cfg in options} == {("DSA", "real", 10)}
    assert len({(cfg.dataset, cfg.dsa_strategy) for cfg in options}) == len(options) == 4 * 8


def test_accuracy_sweep_has_a_folder_for_each_cell(planned, tmp_path):
    commands = planned("sweep_accuracy.sh", "--init", "noise", "--num_eval", "3", METHODS="DC DSA DM", IPCS="1 10",
                       DATASETS="CIFAR10:/a/b folder:/c/my.d", SEEDS="0 7", JOBS="24")
    cells = [parsed(command) for command in commands]
    assert len(cells) == len({folder for _, folder in cells}) == 24
    for cfg, folder in cells:
        method = getattr(cfg, "method", "DM")
        label, path = {"CIFAR10": ("CIFAR10", "/a/b"), "folder": ("folder-my.d", "/c/my.d")}[cfg.dataset]
        assert cfg.data_path == path and cfg.save_path == str(folder)
        assert folder == tmp_path / "out" / f"{label}_ipc{cfg.ipc}_{method}_ConvNet" / f"seed{cfg.seed}"
        assert cfg.num_eval == 3 and cfg.init == "noise"  # a flag given is obeyed, published setting or not


def test_several_jobs_share_the_cores(planned):
    threads = {command[-1] for command in planned("sweep_accuracy.sh", **ONE, JOBS="2")}
    assert threads == {f"threads={max(1, os.sysconf('SC_NPROCESSORS_ONLN') // 2)}"}
    assert planned("sweep_accuracy.sh", **ONE)[0][-1] == "threads="
    assert planned("sweep_accuracy.sh", **ONE, JOBS="2", OMP_NUM_THREADS="3")[0][-1] == "threads=3"


def test_bptt_is_run_as_remember_the_past_and_idc_as_itself(planned):
    bptt, idc = (parsed(command)[0] for command in planned("sweep_accuracy.sh", **ONE | {"METHODS": "BPTT IDC"}))
    assert isinstance(bptt, main_RTP.Config) and (bptt.inner_steps, bptt.inner_momentum) == (150, 0.9)
    assert isinstance(idc, main_IDC.Config) and idc.lr_img == "auto"               # not DC's for an MLP
