"""What each sweep runs: a cell for every combination, with the flags of the published runs; what it refuses."""

import os
import signal
import sys

import pytest

import main_IDC
from condense.core.errors import UserError
from condense.methods import METHODS
from condense.networks import NETWORKS
from condense.sweeps.__main__ import main
from condense.sweeps.definitions import SWEEPS
from condense.sweeps.plan import cell_environment, plan_cells, published_flags, read_request, write_plan
from condense.sweeps.schedule import Schedule, cell_command
from condense.training import eval_pool
from tests.sweep_runs import ONE, REPOSITORY, options, parsed, planned


@pytest.mark.parametrize("name, mode", [("sweep_cross", "M"), ("sweep_width", "W"), ("sweep_depth", "D"),
                                        ("sweep_activation", "A"), ("sweep_pooling", "P"),
                                        ("sweep_normalisation", "N")])
def test_pool_sweeps_condense_with_each_variant_and_score_on_the_pool(name, mode):
    cells = options(name)
    assert {(cfg.method, cfg.dataset, cfg.ipc, cfg.eval_mode) for cfg in cells} == {("DC", "MNIST", 1, mode)}
    models = [cfg.model for cfg in cells]
    assert all(model in NETWORKS for model in models) and len(set(models)) == len(models)
    if mode == "M":
        assert sorted(models) == sorted(["MLP", "LeNet", "ConvNet", "AlexNet", "VGG11BN", "ResNet18BN_AP"])
        assert all(cfg.lr_img == (0.01 if cfg.model == "MLP" else 0.1) for cfg in cells)
    else:
        assert sorted(models) == sorted(eval_pool(mode, "ConvNet"))


def test_metric_sweep_crosses_networks_with_distances():
    cells = options("sweep_metric")
    assert len({(cfg.model, cfg.dis_metric) for cfg in cells}) == len(cells) == 18
    assert {cfg.dis_metric for cfg in cells} == {"ours", "mse", "cos"} and {cfg.eval_mode for cfg in cells} == {"S"}


def test_strategy_sweep_runs_dsa_from_real_images():
    cells = options("sweep_strategy")
    assert {(cfg.method, cfg.init, cfg.ipc) for cfg in cells} == {("DSA", "real", 10)}
    assert len({(cfg.dataset, cfg.dsa_strategy) for cfg in cells}) == len(cells) == 4 * 8


def test_low_rank_and_its_host_start_alike_and_the_rank_is_in_the_folders_name():
    _, _, (host, low_rank) = planned("compare_low_rank", RANK="4", START="noise")
    assert [parsed(cell).init for cell in (host, low_rank)] == ["noise", "noise"]
    assert host.folder == "MNIST_ipc1_DM_ConvNet/seed0" and "rank" not in host.labels
    assert low_rank.folder == "MNIST_ipc1_LoDM_ConvNet_4/seed0" and low_rank.labels["rank"] == "4"
    assert parsed(low_rank).rank == 4


def test_accuracy_sweep_has_a_folder_for_each_cell(tmp_path):
    request, _, cells = planned("sweep_accuracy", "--init", "noise", "--num_eval", "3", METHODS="DC DSA DM",
                                IPCS="1 10", DATASETS="CIFAR10:/a/b folder:/c/my.d", SEEDS="0 7",
                                OUT=str(tmp_path / "out"))
    assert len(cells) == len({cell.folder for cell in cells}) == 24
    for cell in cells:
        cfg = parsed(cell)
        label, path = {"CIFAR10": ("CIFAR10", "/a/b"), "folder": ("folder-my.d", "/c/my.d")}[cfg.dataset]
        assert cell.folder == f"{label}_ipc{cfg.ipc}_{getattr(cfg, 'method', 'DM')}_ConvNet/seed{cfg.seed}"
        assert cfg.data_path == path and cfg.save_path == f"{tmp_path}/out/{cell.folder}"
        assert cfg.num_eval == 3 and cfg.init == "noise"  # a flag given is obeyed, published setting or not
    write_plan(request, cells)
    assert (tmp_path / "out" / "folder-my.d_ipc10_DM_ConvNet" / "seed7" / "cell.txt").read_text() == (
        "order 24\ndataset folder-my.d\nipc 10\nmethod DM\nmodel ConvNet\nseed 7\n")


def test_several_jobs_share_the_cores():
    def threads(environment, **variables):
        return cell_environment(planned("sweep_accuracy", **ONE, **variables)[0], environment).get("OMP_NUM_THREADS")

    assert threads({}, JOBS="2") == str(max(1, os.cpu_count() // 2)) and threads({}, JOBS="1000") == "1"
    assert threads({}) is None
    assert threads({"OMP_NUM_THREADS": "3"}, JOBS="2") == "3"


def test_bptt_is_run_as_remember_the_past_and_idc_as_itself():
    bptt, idc = planned("sweep_accuracy", **ONE | {"METHODS": "BPTT IDC"})[2]
    assert (parsed(bptt).inner_steps, parsed(bptt).inner_momentum) == (150, 0.9)
    assert bptt.method is METHODS["BPTT"]
    assert isinstance(parsed(idc), main_IDC.Config) and parsed(idc).lr_img == "auto"     # not DC's for an MLP


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_a_cell(name):
    request, _, (cell,) = planned("sweep_accuracy", **ONE | {"METHODS": name, "IPCS": "10"})
    cfg = parsed(cell)
    assert {option: getattr(cfg, option) for option in METHODS[name].options} == METHODS[name].options
    assert cell_command(request, cell)[5] == str(REPOSITORY / METHODS[name].script)


def test_an_mlp_takes_the_small_steps_of_the_dc_papers_under_gradient_matching_alone():
    small = {name for name, method in METHODS.items() if "--lr_img" in list(published_flags(name, method, "MLP"))}
    assert small == {"DC", "DSA", "LoDC", "LoDSA"}


@pytest.mark.parametrize("name, flags, environment, mend", [
    ("sweep_accuracy", ["--Iteratoin", "3"], {}, "unknown flag --Iteratoin; did you mean --Iteration?"),
    ("sweep_accuracy", ["--Iteration", "few"], {}, "--Iteration must be a whole number"),
    ("sweep_accuracy", ["--ipc", "5"], {}, 'IPCS="..." bash scripts/sweep_accuracy.sh'),
    ("sweep_accuracy", ["--save_path=x"], {}, 'OUT="..."'),
    ("sweep_accuracy", [], {"METHODS": "DN"}, "METHODS: unknown method 'DN'; choose one of: DC, DSA"),
    ("sweep_accuracy", [], {"IPCS": "one"}, "--ipc must be a whole number, not 'one'"),
    ("sweep_accuracy", [], {"JOBS": "two"}, "JOBS must be 1 or larger, not 'two'"),
    ("sweep_accuracy", [], {"JOBS": "0"}, "JOBS must be 1 or larger"),
    ("sweep_accuracy", [], {"SEEDS": "0 0"}, "two cells would write to"),
    ("sweep_accuracy", [], {"DATASETS": "file:a/x.npz file:b/x.pt"}, "give paths different last names"),
    ("sweep_metric", ["--dis_metric=mse"], {}, "this sweep sets --dis_metric itself"),
    ("matrix", [], {"FORMS": "pixles"}, "FORMS: unknown parameterization 'pixles'; did you mean pixels?"),
    ("matrix", [], {"METHODS": "LoDM"}, "METHODS: LoDM is no row of the matrix; choose of DC"),
    ("matrix", ["--n_style", "2"], {"METHODS": "DM", "FORMS": "pixels hallucinator"},
     "--n_style belongs to --parameterization hallucinator, not pixels; leave it out"),
    ("sweep_acuracy", [], {}, "did you mean sweep_accuracy?"),
])
def test_what_cannot_work_is_one_line_before_anything_is_written(monkeypatch, capsys, tmp_path, name, flags,
                                                                 environment, mend):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Schedule, "run", lambda schedule, cells: pytest.fail("cells were started"))
    monkeypatch.delenv("JOBS", raising=False)
    for variable, value in {**ONE, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable, **environment}.items():
        monkeypatch.setenv(variable, value)
    assert main([name, *flags]) == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1 and err.startswith("error: ") and mend in err
    assert not list(tmp_path.rglob("*"))


def test_a_place_that_cannot_be_written_to_is_refused():
    request, _, cells = planned("sweep_accuracy", **ONE, OUT="/dev/null/x")
    with pytest.raises(UserError, match="cannot write to OUT=/dev/null/x; name a folder"):
        write_plan(request, cells)


def test_lists_that_are_empty_are_the_defaults():
    sweep = SWEEPS["sweep_accuracy"]
    request = read_request("sweep_accuracy", sweep.defaults, (), {"METHODS": "", "OUT": "", "IPCS": " 3  4 "})
    assert request.lists["METHODS"] == ["DC", "DSA", "DM"] and request.lists["IPCS"] == ["3", "4"]
    assert request.out == "result/sweep_accuracy" and len(plan_cells(request, sweep.grids(request))) == 5 * 2 * 3


def test_signals_that_are_ignored_from_the_start_stay_so():
    schedule = Schedule(planned("sweep_accuracy", **ONE)[0], 1)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with schedule.listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == schedule._stop
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) != schedule._stop
