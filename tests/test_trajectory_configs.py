"""The configs of trajectory matching against the published tables, and against the experts that each names.

The tables are transcribed here once more: those of MTT as the command list of DC-BENCH and the author's answer on
ImageNet have them, TESLA's as its readme, DATM's as its configuration files, LoMTT's as its configuration page.
"""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import buffer
import main_LoMTT
import main_MTT
from condense.cli import parse, with_forms
from condense.data import default_side
from condense.experts import expert_folder, parse_epochs
from condense.networks import network_for
from condense.synthetic import PARAMETERIZATIONS

FOLDERS = ("MTT", "LoMTT", "DATM", "TESLA")
CELLS = sorted(path for folder in FOLDERS for path in Path("configs", folder).glob("*.yaml"))
SUBSETS = ("imagenette", "imagewoof", "imagemeow", "imagesquawk", "imagefruit", "imageyellow")
CLASSES = {"CIFAR10": 10, "CIFAR100": 100, "TinyImageNet": 200, "ImageNet": 1000}
FLAT = {"rho_max": 0.01, "rho_min": 0.01, "alpha": 0.3}                         # DATM's experts: GSAM, as FTD's

# One row per run, in the order of the columns; None: all images in a step, and for DATM no growing window.
COLUMNS = {
    "MTT": "zca syn_steps expert_epochs max_start_epoch batch_syn lr_img lr_lr lr_teacher",
    "LoMTT": "rank syn_steps expert_epochs max_start_epoch batch_syn lr_img lr_lr lr_teacher",
    "TESLA": "zca syn_steps expert_epochs max_start_epoch batch_syn lr_img lr_lr lr_teacher",
    "DATM": "syn_steps expert_epochs min_start_epoch current_max_start_epoch max_start_epoch expansion_end_epoch "
            "batch_syn lr_img lr_y lr_lr",
}
TABLES = {
    "MTT": {
        "CIFAR10_ipc1": (True, 50, 2, 2, None, 100, 1e-7, 0.01),
        "CIFAR10_ipc10": (True, 30, 2, 20, None, 100, 1e-5, 0.001),
        "CIFAR10_ipc50": (False, 30, 2, 40, None, 1000, 1e-5, 0.001),
        "CIFAR100_ipc1": (True, 20, 3, 20, None, 1000, 1e-5, 0.01),
        "CIFAR100_ipc10": (False, 20, 2, 20, None, 1000, 1e-5, 0.01),
        "CIFAR100_ipc50": (True, 80, 2, 40, 125, 1000, 1e-5, 0.01),
        "TinyImageNet_ipc1": (False, 10, 2, 10, None, 10000, 1e-4, 0.01),
        "TinyImageNet_ipc10": (False, 20, 2, 40, 200, 10000, 1e-4, 0.01),
        "TinyImageNet_ipc50": (False, 20, 2, 40, 300, 10000, 1e-4, 0.01),
        **{f"{subset}_ipc1": (False, 20, 2, 10, None, 1e5, 1e-6, 0.01) for subset in SUBSETS},
        **{f"{subset}_ipc10": (False, 20, 2, 10, 20, 1e5, 1e-6, 0.01) for subset in SUBSETS},
    },
    "LoMTT": {"CIFAR10_ipc1": (2, 50, 2, 5, 80, 1000, 1e-7, 0.01)},
    "TESLA": {                                             # lr_img: half of it is ours, see below
        "CIFAR10_ipc1": (False, 50, 2, 5, None, 1000, 1e-7, 0.01),
        "CIFAR100_ipc50": (True, 80, 2, 40, 125, 1000, 1e-5, 0.01),
        "ImageNet_ipc1": (False, 10, 3, 10, 100, 10000, 1e-4, 0.01),
    },
    "DATM": {
        "CIFAR10_ipc1": (80, 2, 0, None, 4, None, 10, 100, 5, 1e-7),
        "CIFAR10_ipc10": (80, 2, 0, 10, 20, 1000, 100, 100, 2, 1e-5),
        "CIFAR10_ipc50": (80, 2, 0, 20, 40, 2000, 500, 1000, 2, 1e-5),
        "CIFAR10_ipc500": (40, 2, 40, None, 60, None, 1000, 50, 10, 1e-5),
        "CIFAR10_ipc1000": (100, 2, 40, None, 60, None, 1000, 50, 10, 1e-5),
        "CIFAR100_ipc1": (40, 3, 0, 10, 20, 1000, None, 1000, 10, 1e-5),
        "CIFAR100_ipc10": (80, 2, 0, 30, 50, 2000, 1000, 1000, 10, 1e-5),
        "CIFAR100_ipc50": (80, 2, 20, None, 70, None, 1000, 1000, 10, 1e-5),
        "CIFAR100_ipc100": (80, 2, 30, None, 70, None, 1000, 50, 10, 1e-5),
        "TinyImageNet_ipc1": (40, 2, 0, 15, 20, 2000, None, 10000, 10, 1e-4),
        "TinyImageNet_ipc10": (40, 2, 10, None, 50, None, 500, 100, 10, 1e-4),
        "TinyImageNet_ipc50": (20, 2, 40, None, 70, None, 1000, 100, 10, 1e-4),
    },
}
# Iteration, networks per evaluation, minibatch of evaluation, start of the images
RUNS = {"MTT": (5000, 5, 256, "real"), "LoMTT": (5000, 5, 256, "noise"), "TESLA": (10000, 3, 256, "real"),
        "DATM": (10000, 1, 128, "samples_predicted_correctly")}
ALLOWED = {"dataset", "subset", "im_size", "model", "zca", "ipc", "init", "Iteration", "num_eval", "eval_every",
           "batch_train", "buffer_path", "config", "dsa_strategy"}              # tested here or in test_configs.py
PECULIAR = {"MTT": set(), "LoMTT": set(), "TESLA": {"unroll", "teacher_label"}, "DATM": {"threshold", "lr_teacher"}}


def every_cell(folder=None):
    """Return the decorator that runs a test on each cell, or on those of one folder."""
    return pytest.mark.parametrize("path", [path for path in CELLS if folder in (None, path.parent.name)], ids=str)


def read(path):
    """Return the options that the config at `path` gives its script."""
    script = main_LoMTT if path.parent.name == "LoMTT" else main_MTT
    return parse(with_forms(script.Config, PARAMETERIZATIONS), ["--config", str(path)])


def experts_of(path):
    """Return the options of the `buffer.py` command in the config at `path`."""
    command = re.search(r"^# Experts: python buffer\.py (.+)$", path.read_text(encoding="utf-8"), re.M)[1]
    return buffer.settled(parse(buffer.Config, shlex.split(command, comments=True)))


def folder_of(cfg):
    """Return where the experts lie that `cfg`, of either script, is about."""
    return expert_folder(cfg.buffer_path, cfg.dataset, cfg.model, zca=cfg.zca, subset=cfg.subset,
                         side=default_side(cfg.dataset, cfg.im_size))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_row_of_the_tables_has_a_config_and_every_config_a_row(folder):
    assert {path.stem for path in CELLS if path.parent.name == folder} == set(TABLES[folder])


@every_cell()
def test_config_has_the_numbers_of_its_row(path):
    cfg, folder = read(path), path.parent.name
    row = dict(zip(COLUMNS[folder].split(), TABLES[folder][path.stem], strict=True))
    row["lr_img"] /= 2 if folder == "TESLA" else 1         # its code has half the gradient that --unroll tesla has
    assert {name: getattr(cfg, name) for name in row} == row


@every_cell()
def test_config_runs_and_is_evaluated_as_published(path):
    cfg, folder = read(path), path.parent.name
    length, num_eval, batch_train, init = RUNS[folder]
    exception = {"configs/DATM/CIFAR100_ipc50.yaml": "real"}
    assert (cfg.Iteration, cfg.num_eval, cfg.batch_train) == (length, num_eval, batch_train)
    assert cfg.init == exception.get(path.as_posix(), init)
    every = 500 if folder == "DATM" and cfg.ipc < 500 else 1000 if folder == "DATM" or cfg.subset else 100
    assert cfg.eval_every == every
    assert (cfg.num_exp, cfg.epoch_eval_train, cfg.eval_mode) == (1, 1000, "S")
    assert cfg.dsa_strategy == "color_crop_cutout_flip_scale_rotate"


@every_cell()
def test_config_sets_nothing_that_its_table_does_not_say(path):
    cfg, folder = read(path), path.parent.name
    plain = {f.name for f in fields(cfg) if getattr(cfg, f.name) == f.default}
    assert {f.name for f in fields(cfg)} - plain <= ALLOWED | set(COLUMNS[folder].split()) | PECULIAR[folder]


@every_cell()
def test_options_of_the_config_go_together(path):
    cfg = read(path)
    main_MTT.check(cfg)
    assert cfg.model == network_for(default_side(cfg.dataset, cfg.im_size))      # depth 3, 4 at 64x64, 5 at 128x128
    stored = (10 if cfg.subset else CLASSES[cfg.dataset]) * cfg.ipc
    assert not cfg.batch_syn or cfg.batch_syn <= stored * (8 if cfg.parameterization == "low_rank" else 1)


@every_cell()
def test_config_is_named_for_its_data_and_its_method(path):
    cfg = read(path)
    assert path.stem == f"{cfg.subset or cfg.dataset}_ipc{cfg.ipc}"
    method = ("DATM" if cfg.lr_y else "TESLA" if cfg.unroll == "tesla" else
              "LoMTT" if cfg.parameterization == "low_rank" else "MTT")
    assert path.parent.name == method


@every_cell("TESLA")
def test_tesla_says_which_learning_rate_it_halves_and_asks_experts_for_labels_of_imagenet_alone(path):
    cfg, text = read(path), path.read_text(encoding="utf-8")
    printed = int(re.search(r"^lr_img: \d+ +# half the (\d+) of the readme", text, re.M)[1])
    assert 2 * cfg.lr_img == printed
    assert cfg.teacher_label == (cfg.dataset == "ImageNet")


@every_cell("DATM")
def test_datm_whitens_all_data_and_skips_updates_above_its_threshold(path):
    cfg = read(path)
    assert (cfg.zca, cfg.lr_teacher) == (True, 0.01)
    assert cfg.threshold == (1.1 if path.stem == "CIFAR10_ipc1" else 1.0)


@every_cell()
def test_expert_command_makes_the_experts_that_the_config_looks_for(path):
    cfg, made = read(path), experts_of(path)
    buffer.recipe_of(made)                                 # raises for options that do not go together
    assert folder_of(made) == folder_of(cfg)
    assert made.num_experts == (50 if cfg.dataset == "ImageNet" and not cfg.subset else 100)
    plain = {f.name: f.default for f in fields(buffer.Config)}
    flat = FLAT if path.parent.name == "DATM" else {name: plain[name] for name in FLAT}
    assert {name: getattr(made, name) for name in flat} == flat
    others = ("lr_teacher", "batch_train", "mom", "l2", "decay", "loss_type", "dsa", "resize", "half")
    assert {name: getattr(made, name) for name in others} == {name: plain[name] for name in others}


@every_cell()
def test_experts_train_and_keep_exactly_the_epochs_that_the_config_reads(path):
    cfg, made = read(path), experts_of(path)
    kept = parse_epochs(made.keep_epochs, made.train_epochs)
    last_read = cfg.max_start_epoch - 1 + cfg.expert_epochs
    if path.parent.name == "DATM":                         # labels and images come from the last of 100 epochs
        assert (made.train_epochs, kept) == (100, (0, 100))
        assert last_read <= 100
    else:
        assert (made.train_epochs, kept) == (50, (cfg.min_start_epoch, last_read))


@pytest.mark.parametrize("path", [path for path in CELLS if "serve, too" in path.read_text(encoding="utf-8")], ids=str)
def test_experts_of_another_cell_that_serve_too_are_alike_and_reach_further(path):
    other = re.search(r"# those of (\S+) serve, too$", path.read_text(encoding="utf-8"), re.M)[1]
    own, longer = experts_of(path), experts_of(Path(other))
    assert folder_of(own) == folder_of(longer)
    assert parse_epochs(own.keep_epochs, 50)[1] < parse_epochs(longer.keep_epochs, 50)[1]


def test_cells_that_share_a_folder_of_experts_share_a_command_or_say_whose_serve():
    by_folder = {}
    for path in CELLS:
        by_folder.setdefault(folder_of(experts_of(path)), []).append(path)
    for paths in by_folder.values():
        silent = [path for path in paths if "serve, too" not in path.read_text(encoding="utf-8")]
        assert len({experts_of(path).keep_epochs for path in silent}) == 1, silent
