"""Every file in configs/ against the script it is for."""

import re
from pathlib import Path

import pytest

import main_DM
from condense.augmentation import parse_strategy
from condense.data import DATASETS
from condense.evaluation import eval_pool
from condense.networks import NETWORKS
from condense.options import parse

CONFIGS = sorted(Path("configs").rglob("*.yaml"))
SCRIPTS = {"DM": main_DM, "configs": main_DM}


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_config_parses_against_its_script_and_names_only_what_exists(path):
    cfg = parse(SCRIPTS[path.parent.name].Config, ["--config", str(path)])
    assert cfg.dataset in DATASETS
    assert cfg.model in NETWORKS
    assert all(name in NETWORKS for name in eval_pool(cfg.eval_mode, cfg.model))
    parse_strategy("none" if cfg.dsa_strategy == "auto" else cfg.dsa_strategy)


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_config_opens_with_its_command_and_the_published_accuracy(path):
    text = path.read_text()
    assert f"--config {path.as_posix()}" in text
    assert re.search(r"^# Published accuracy: (unknown|\d+\.\d ± \d\.\d % \(.+\))", text, re.M)


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.parent.name == "DM"], ids=str)
def test_config_is_named_for_what_it_sets(path):
    cfg = parse(main_DM.Config, ["--config", str(path)])
    name = f"{cfg.dataset}_ipc{cfg.ipc}"
    assert path.stem == (name if cfg.model in ("ConvNet", "ConvNetD4") else f"{name}_{cfg.model}")


def test_learning_rate_follows_the_published_recommendation_for_large_ipc():
    rates = {ipc: parse(main_DM.Config, ["--config", f"configs/DM/CIFAR10_ipc{ipc}.yaml"]).lr_img
             for ipc in (1, 10, 50, 100, 200, 500, 1000, 1250)}
    assert rates == {1: 1, 10: 1, 50: 1, 100: 10, 200: 10, 500: 10, 1000: 10, 1250: 10}
