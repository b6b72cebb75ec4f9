"""The configs of HaBa against its published scripts, and against the experts that each names."""

import re
import shlex
from pathlib import Path

import pytest

import buffer
import main_HaBa
import main_MTT
from condense.cli import parse, with_forms
from condense.experts import expert_folder, parse_epochs
from condense.synthetic import PARAMETERIZATIONS
from condense.synthetic.hallucinator import HallucinatedBases

TABLE = {"CIFAR10_ipc1": (1, False, 50, 2, 1e-7, 0.01), "CIFAR10_ipc1_single_channel": (1, True, 50, 2, 1e-7, 0.01),
         "CIFAR10_ipc10": (10, False, 30, 20, 1e-5, 0.001), "CIFAR10_ipc50": (50, False, 30, 20, 1e-5, 0.01)}
CELLS = sorted(Path("configs/HaBa").glob("*.yaml"))


def read(path):
    return parse(with_forms(main_HaBa.Config, PARAMETERIZATIONS), ["--config", str(path)])


def test_every_published_script_has_a_config():
    assert {path.stem for path in CELLS} == set(TABLE)


@pytest.mark.parametrize("path", CELLS, ids=str)
def test_config_has_the_numbers_of_the_published_script(path):
    cfg = read(path)
    main_MTT.check(cfg)
    assert (cfg.ipc, cfg.single_channel, cfg.syn_steps, cfg.max_start_epoch, cfg.lr_lr, cfg.lr_teacher) == \
        TABLE[path.stem]
    assert (cfg.dataset, cfg.zca, cfg.model, cfg.init, cfg.n_style) == ("CIFAR10", True, "ConvNet", "real", 5)
    assert (cfg.lr_img, cfg.lr_style, cfg.mom_img, cfg.mom_lr) == (100, 100, 0.95, 0.9)
    assert (cfg.lambda_club_content, cfg.lambda_contrast_content, cfg.lambda_cls_content, cfg.lambda_likeli_content) \
        == (0.1, 0.1, 1, 0.1)
    assert (cfg.expert_epochs, cfg.Iteration, cfg.budget) == (2, 15000, "published")


@pytest.mark.parametrize("path", CELLS, ids=str)
def test_config_says_what_is_really_stored(path):
    cfg = read(path)
    storage = HallucinatedBases(10, cfg.ipc, 3, (32, 32), **cfg.form_options()).storage()
    said = re.search(r"^# Storage: (.+)$", path.read_text(encoding="utf-8"), re.M)[1]
    assert said == (f"{storage['floats']:,} floats ({storage['bytes']:,} bytes), as much as "
                    f"{storage['floats'] / 30720:.2f} images per class")


@pytest.mark.parametrize("path", CELLS, ids=str)
def test_expert_command_makes_the_experts_that_the_config_reads(path):
    cfg = read(path)
    command = re.search(r"^# Experts: python buffer\.py (.+)$", path.read_text(encoding="utf-8"), re.M)[1]
    made = buffer.settled(parse(buffer.Config, shlex.split(command, comments=True)))
    places = [expert_folder(one.buffer_path, one.dataset, one.model, zca=one.zca, subset=one.subset, side=32)
              for one in (cfg, made)]
    assert places[0] == places[1]
    assert parse_epochs(made.keep_epochs, made.train_epochs) == (0, cfg.max_start_epoch - 1 + cfg.expert_epochs)
