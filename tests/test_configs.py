"""Every file in configs/ against the script it is for."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import continual
import main_DC
import main_DD
import main_DM
import main_LoDC
import main_LoDM
import main_LoMTT
import main_MTT
from condense.augmentation import parse_strategy
from condense.continual.plan import methods_of
from condense.data import DATASETS
from condense.evaluation import eval_pool
from condense.networks import NETWORKS
from condense.options import parse, with_forms
from condense.synthetic import PARAMETERIZATIONS, LowRank

CONFIGS = sorted(Path("configs").rglob("*.yaml"))
CONTINUAL = [path for path in CONFIGS if path.parent.name == "CL"]
CELLS = [path for path in CONFIGS if path.parent.name not in ("configs", "CL")]        # one per published run
MATCHING = [path for path in CELLS if path.parent.name in ("DC", "DSA")]
LOW_RANK = [path for path in CELLS if path.parent.name in ("LoDC", "LoDSA", "LoDM", "LoMTT")]
SCRIPTS = {"DC": main_DC, "DSA": main_DC, "DM": main_DM, "LoDC": main_LoDC, "LoDSA": main_LoDC, "LoDM": main_LoDM,
           "MTT": main_MTT, "LoMTT": main_LoMTT, "DATM": main_MTT, "TESLA": main_MTT, "CL": continual,
           "DD": main_DD, "configs": main_DM}
TRAJECTORY = ("MTT", "LoMTT", "DATM", "TESLA")             # more about these in test_trajectory_configs.py

UNROLLED = [path for path in CELLS if path.parent.name == "DD"]
OTHERS = (*TRAJECTORY, "DD")                               # named and scored in ways of their own

# (method, data set or ten classes of ImageNet): {images per class: test accuracy in %}, ConvNet
PUBLISHED = {
    ("DC", "MNIST"): {1: "91.7 ± 0.5", 10: "97.4 ± 0.2", 50: "98.8 ± 0.1"},
    ("DC", "FashionMNIST"): {1: "70.5 ± 0.6", 10: "82.3 ± 0.4", 50: "83.6 ± 0.4"},
    ("DC", "SVHN"): {1: "31.2 ± 1.4", 10: "76.1 ± 0.6", 50: "82.3 ± 0.3"},
    ("DC", "CIFAR10"): {1: "28.3 ± 0.5", 10: "44.9 ± 0.5", 50: "53.9 ± 0.5"},
    ("DC", "CIFAR100"): {1: "12.8 ± 0.3", 10: "25.2 ± 0.3", 50: "unknown"},
    ("DSA", "MNIST"): {1: "88.7 ± 0.6", 10: "97.8 ± 0.1", 50: "99.2 ± 0.1"},
    ("DSA", "FashionMNIST"): {1: "70.6 ± 0.6", 10: "84.6 ± 0.3", 50: "88.7 ± 0.2"},
    ("DSA", "SVHN"): {1: "27.5 ± 1.4", 10: "79.2 ± 0.5", 50: "84.4 ± 0.4"},
    ("DSA", "CIFAR10"): {1: "28.8 ± 0.7", 10: "52.1 ± 0.5", 50: "60.6 ± 0.5", 100: "about 66.7"},
    ("DSA", "CIFAR100"): {1: "13.9 ± 0.3", 10: "32.3 ± 0.3", 50: "42.8 ± 0.4"},
    ("DM", "MNIST"): {1: "unknown", 10: "unknown", 50: "unknown"},
    ("DM", "FashionMNIST"): {1: "unknown", 10: "unknown", 50: "unknown"},
    ("DM", "SVHN"): {1: "unknown", 10: "unknown", 50: "unknown"},
    ("DM", "CIFAR10"): {1: "26.0 ± 0.8", 10: "48.9 ± 0.6", 50: "63.0 ± 0.4", 100: "67.0 ± 0.3", 200: "71.2 ± 0.4",
                        500: "76.1 ± 0.3", 1000: "79.8 ± 0.3", 1250: "80.8 ± 0.3"},
    ("DM", "CIFAR100"): {1: "11.4 ± 0.3", 10: "29.7 ± 0.3", 50: "43.6 ± 0.4", 100: "unknown", 125: "unknown"},
    ("DM", "TinyImageNet"): {1: "3.9 ± 0.2", 10: "12.9 ± 0.4", 50: "24.1 ± 0.3"},
    ("MTT", "CIFAR10"): {1: "46.3 ± 0.8", 10: "65.3 ± 0.7", 50: "71.6 ± 0.2"},
    ("MTT", "CIFAR100"): {1: "24.3 ± 0.3", 10: "40.1 ± 0.4", 50: "47.7 ± 0.2"},
    ("MTT", "TinyImageNet"): {1: "8.8 ± 0.3", 10: "23.2 ± 0.2", 50: "28.0 ± 0.3"},
    ("MTT", "imagenette"): {1: "47.7 ± 0.9", 10: "63.0 ± 1.3"},
    ("MTT", "imagewoof"): {1: "28.6 ± 0.8", 10: "35.8 ± 1.8"},
    ("MTT", "imagefruit"): {1: "unknown", 10: "40.3 ± 1.3"},
    ("MTT", "imageyellow"): {1: "unknown", 10: "60.0 ± 1.5"},
    ("MTT", "imagemeow"): {1: "unknown", 10: "40.4 ± 2.2"},
    ("MTT", "imagesquawk"): {1: "unknown", 10: "52.3 ± 1.0"},
    ("DATM", "CIFAR10"): {1: "46.9 ± 0.5", 10: "66.8 ± 0.2", 50: "76.1 ± 0.3", 500: "83.5 ± 0.2", 1000: "85.5 ± 0.4"},
    ("DATM", "CIFAR100"): {1: "27.9 ± 0.2", 10: "47.2 ± 0.4", 50: "55.0 ± 0.2", 100: "57.5 ± 0.2"},
    ("DATM", "TinyImageNet"): {1: "17.1 ± 0.3", 10: "31.1 ± 0.3", 50: "39.7 ± 0.3"},
    ("TESLA", "CIFAR10"): {1: "48.5 ± 0.8"},
    ("TESLA", "CIFAR100"): {50: "47.9 ± 0.3"},
    ("TESLA", "ImageNet"): {1: "7.7 ± 0.2"},
    ("DD", "MNIST"): {1: "unknown", 10: "79.5 ± 8.1"},
    ("DD", "CIFAR10"): {10: "36.8 ± 1.2"},
    **{(method, dataset): dict.fromkeys(ipcs, "unknown") for method, cells in {
        "LoDC": {"MNIST": (1, 10), "CIFAR10": (1, 10), "CIFAR100": (1, 10)},
        "LoDSA": {"MNIST": (1, 10, 50), "CIFAR10": (1,), "CIFAR100": (1, 10)},
        "LoDM": {"MNIST": (1, 10, 50), "CIFAR10": (1, 10, 50), "CIFAR100": (1, 10), "TinyImageNet": (1, 10)},
        "LoMTT": {"CIFAR10": (1,)},
    }.items() for dataset, ipcs in cells.items()},
}

FIXED_START = {("MNIST", 1): "about 93.8", ("CIFAR10", 10): "about 54.0"}        # of Dataset Distillation


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
    assert re.search(r"^# Published accuracy: (unknown|(about \d+\.\d|\d+\.\d ± \d\.\d) % \(.+\))", text, re.M)


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
    cell = {"fixed": FIXED_START.get((dataset, int(ipc))), None: PUBLISHED[path.parent.name, dataset].get(int(ipc))}
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


@pytest.mark.parametrize("path", UNROLLED, ids=str)
def test_dataset_distillation_runs_on_the_published_settings(path):
    cfg = read(path)
    main_DD.check(cfg)
    assert (cfg.lr, cfg.batch_size, cfg.epochs, cfg.decay_epochs, cfg.decay_factor) == (0.01, 1024, 400, 40, 0.5)
    assert (cfg.distill_epochs, cfg.net_init, cfg.init_param, cfg.init) == (3, "xavier", 1.0, "noise")
    assert cfg.distill_steps == cfg.ipc                    # one image per class and step
    assert (cfg.model, cfg.distill_lr) == {"MNIST": ("LeNet", 0.02), "CIFAR10": ("AlexCifarNet", 0.001)}[cfg.dataset]
    assert cfg.Iteration is cfg.window is None and cfg.inner_momentum == 0


@pytest.mark.parametrize("path", UNROLLED, ids=str)
def test_dataset_distillation_is_named_for_its_start_and_scored_on_it_or_on_200_networks(path):
    cfg = read(path)
    fixed = cfg.train_nets_type == "known_init"
    assert path.stem == f"{cfg.dataset}_ipc{cfg.ipc}{'_fixed' * fixed}"
    assert (cfg.num_eval, cfg.n_nets) == (None if fixed else 200, 1)
