"""Every file in configs/ against the script it is for."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import continual
import main_DC
import main_DM
from condense.augmentation import parse_strategy
from condense.cli import parse, with_forms
from condense.continual.plan import methods_of
from condense.data import DATASETS
from condense.methods import METHODS
from condense.networks import NETWORKS
from condense.synthetic import PARAMETERIZATIONS, LowRank
from condense.training import eval_pool
from tests.published_cells import FIXED_START, PUBLISHED

CONFIGS = sorted(Path("configs").rglob("*.yaml"))
CONTINUAL = [path for path in CONFIGS if path.parent.name == "CL"]
CELLS = [path for path in CONFIGS if path.parent.name not in ("configs", "CL")]        # one per published run
MATCHING = [path for path in CELLS if path.parent.name in ("DC", "DSA")]
LOW_RANK = [path for path in CELLS if path.parent.name in ("LoDC", "LoDSA", "LoDM", "LoMTT")]
SCRIPTS = {**{name.replace("-", "_"): row.load() for name, row in METHODS.items()}, "CL": continual, "configs": main_DM}
TRAJECTORY = ("MTT", "LoMTT", "DATM", "TESLA")             # more about these in test_trajectory_configs.py

OTHERS = (*TRAJECTORY, "DD", "RTP", "BPTT", "IDC", "IDC_I", "KFS", "HaBa")     # named and scored in ways of their own


def read(path):
    """Return the options that the config at `path` gives its script."""
    return parse(with_forms(SCRIPTS[path.parent.name].Config, PARAMETERIZATIONS), ["--config", str(path)])


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_config_parses_against_its_script_and_names_only_what_exists(path):
    cfg = read(path)
    assert cfg.dataset in DATASETS
    assert cfg.model in NETWORKS
    pool = (cfg.model,) if path in CONTINUAL else eval_pool(cfg.eval_mode, cfg.model)
    assert all(name in NETWORKS for name in pool)
    strategy = getattr(cfg, "dsa_strategy", "none")
    parse_strategy("none" if strategy == "auto" else strategy)


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_config_opens_with_its_command_and_the_published_accuracy(path):
    text = path.read_text(encoding="utf-8")
    assert f"# python {SCRIPTS[path.parent.name].__name__}.py --config {path.as_posix()}\n" in text
    assert re.search(r"^# Published accuracy: (unknown|(about \d+\.\d|\d+\.\d( ± \d\.\d)?) % \(.+\))", text, re.M)


@pytest.mark.parametrize("path", [path for path in CELLS if path.parent.name not in OTHERS], ids=str)
def test_config_is_named_for_what_it_sets(path):
    cfg = read(path)
    assert path.parent.name in (getattr(cfg, "method", "DM"), f"Lo{getattr(cfg, 'method', 'DM')}")
    name = f"{cfg.dataset}_ipc{cfg.ipc}"
    main_table = cfg.model in ("ConvNet", "ConvNetD4") and cfg.eval_mode in ("S", "SS")
    assert path.stem == (name if main_table else f"{name}_{cfg.model}")


@pytest.mark.parametrize("path", CELLS, ids=str)
def test_config_states_the_accuracy_of_its_cell_and_other_runs_have_none(path):
    dataset, ipc, model = re.fullmatch(r"(\w+?)_ipc(\d+)(?:_(\w+))?", path.stem).groups()
    table = PUBLISHED.get((path.parent.name, dataset), {})
    cell = {"fixed": FIXED_START.get((dataset, int(ipc))), None: table.get(int(ipc))}
    expected = cell.get(model, "unknown")
    stated = re.search(r"^# Published accuracy: (unknown|[^%]+(?= %))", path.read_text(encoding="utf-8"), re.M)[1]
    assert stated == expected


def test_every_cell_of_the_published_tables_has_a_config():
    cells = {Path(f"configs/{method}/{dataset}_ipc{ipc}.yaml")
             for (method, dataset), row in PUBLISHED.items() for ipc in row}
    assert not cells - set(CELLS)


@pytest.mark.parametrize("path", CONTINUAL, ids=str)
def test_continual_learning_follows_the_published_programs(path):
    cfg = read(path)
    assert path.stem in (f"{cfg.dataset}_{cfg.steps}steps", f"{cfg.dataset}_{cfg.steps}steps_LoDM")
    assert (cfg.seeds, cfg.num_eval, cfg.epoch_eval_train, cfg.lr_net, cfg.batch_train) == (5, 3, 1000, 0.01, 256)
    assert (cfg.ipc, cfg.rank) in ({"CIFAR10": [(10, 2)], "CIFAR100": [(20, 4), (20, None)]}[cfg.dataset])
    methods = dict(methods_of(cfg, continual.METHODS))
    assert set(methods) <= {"random", "herding", "DSA", "DM", "LoDM"} and {"random", "DSA", "DM"} <= set(methods)
    if "LoDM" in methods:
        real = SimpleNamespace(spec=(3, 10, (32, 32)))
        assert methods["LoDM"].images_per_class(real, cfg.ipc, {"rank": cfg.rank}, 2) == 80
    assert main_DC.loops(methods["DSA"].cell(cfg, (0, 1), path, {})) == {10: (10, 50), 20: (20, 25)}[cfg.ipc]


def test_continual_learning_has_a_config_for_both_papers():
    assert {path.stem for path in CONTINUAL} == {"CIFAR100_5steps", "CIFAR100_10steps", "CIFAR100_5steps_LoDM",
                                                 "CIFAR100_10steps_LoDM", "CIFAR10_5steps"}


def test_learning_rate_follows_the_published_recommendation_for_large_ipc():
    rates = {ipc: read(Path(f"configs/DM/CIFAR10_ipc{ipc}.yaml")).lr_img
             for ipc in (1, 10, 50, 100, 200, 500, 1000, 1250)}
    assert rates == {1: 1, 10: 1, 50: 1, 100: 10, 200: 10, 500: 10, 1000: 10, 1250: 10}


@pytest.mark.parametrize("path", MATCHING, ids=str)
def test_gradient_matching_runs_on_the_published_settings(path):
    cfg = read(path)
    assert (cfg.Iteration, cfg.batch_real, cfg.batch_train, cfg.lr_net) == (1000, 256, 256, 0.01)
    assert cfg.dis_metric == "ours"
    assert cfg.lr_img == (0.01 if cfg.model == "MLP" else 0.1)
    assert (cfg.num_exp, cfg.num_eval) == (5, 5 if cfg.eval_mode == "B" else 20)


@pytest.mark.parametrize("path", MATCHING, ids=str)
def test_loops_are_those_published_for_the_ipc(path):
    cfg = read(path)
    assert main_DC.loops(cfg) == {1: (1, 1), 10: (10, 50), 50: (50, 10), 100: (100, 2)}[cfg.ipc]


@pytest.mark.parametrize("path", [p for p in MATCHING if p.parent.name == "DC"], ids=str)
def test_dc_starts_from_noise_and_matches_without_augmentation(path):
    cfg = read(path)
    assert cfg.init == "noise"
    assert "dsa_strategy" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [p for p in MATCHING if p.parent.name == "DSA"], ids=str)
def test_dsa_starts_from_real_images_and_mirrors_no_digits(path):
    cfg = read(path)
    assert cfg.init == "real"
    flip = "" if cfg.dataset in ("MNIST", "SVHN") else "flip_"
    assert cfg.dsa_strategy == f"color_crop_cutout_{flip}scale_rotate"


@pytest.mark.parametrize("path", MATCHING, ids=str)
def test_evaluation_trains_the_epochs_that_the_config_says_auto_means(path):
    cfg = read(path)
    said = int(re.search(r"^epoch_eval_train: auto +# that is (\d+)$", path.read_text(encoding="utf-8"), re.M)[1])
    assert said == (1000 if cfg.method == "DSA" or cfg.dataset == "MNIST" else 300)
    pool = eval_pool(cfg.eval_mode, cfg.model)
    _, protocols = main_DC.recipes(cfg, pool, SimpleNamespace(name=cfg.dataset))
    assert {protocol.epochs for protocol in protocols.values()} == {said}


@pytest.mark.parametrize("mode, folder, models", [
    ("M", "DC", {"MLP", "LeNet", "ConvNet", "AlexNet", "VGG11BN", "ResNet18BN_AP"}),
    ("B", "DSA", {"ConvNetBN", "ConvNetASwishBN", "AlexNetBN", "VGG11BN", "ResNet18BN", "ResNet18BN_AP"}),
    ("B", "DM", {"ConvNetBN", "ConvNetASwishBN", "AlexNetBN", "VGG11BN", "ResNet18BN", "ResNet18BN_AP"}),
])
def test_cross_architecture_runs_cover_the_condensing_networks_of_the_readme(mode, folder, models):
    runs = [read(path) for path in CELLS if path.parent.name == folder]
    assert {cfg.model for cfg in runs if cfg.eval_mode == mode} == models


@pytest.mark.parametrize("path", LOW_RANK, ids=str)
def test_low_rank_cells_start_from_noise_and_say_how_many_images_their_budget_holds(path):
    cfg = read(path)
    assert (cfg.parameterization, cfg.init) == ("low_rank", "noise")
    said = int(re.search(r"^rank: \d+ +# (\d+) images? per class", path.read_text(encoding="utf-8"), re.M)[1])
    sizes = {"MNIST": (1, (28, 28)), "TinyImageNet": (3, (64, 64))}
    assert LowRank(1, cfg.ipc, *sizes.get(cfg.dataset, (3, (32, 32))), cfg.rank).counts == [said]
