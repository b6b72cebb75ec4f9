"""The configs of unrolled training: Dataset Distillation's cells, and those of Remember the Past."""

import re
from pathlib import Path

import pytest

import buffer
import main_DD
import main_RTP
from condense.cli import parse, with_forms
from condense.data import default_side
from condense.experts import expert_folder
from condense.synthetic import PARAMETERIZATIONS
from condense.synthetic.memory import recalled_within
from condense.training.unrolled_options import check_sampled, settle_steps

TRAINED = sorted(path for path in Path("configs/DD").glob("*_*_*.yaml") if not path.stem.endswith("fixed"))
UNROLLED = sorted(path for path in Path("configs/DD").glob("*.yaml") if path not in TRAINED)
PAST = sorted(path for folder in ("RTP", "BPTT") for path in Path("configs", folder).glob("*.yaml"))
SHAPES = {"CIFAR100": (100, 3, 32), "MNIST": (10, 1, 28), "FashionMNIST": (10, 1, 28), "TinyImageNet": (200, 3, 64)}
RECIPES = {("MNIST", "LeNet"): (40, 20, 2e-4), ("CIFAR10", "AlexCifarNet"): (50, 7, 1e-3)}      # of trained networks


def read(path):
    """Return the options that the config at `path` gives its script."""
    script = main_RTP if path.parent.name in ("RTP", "BPTT") else main_DD
    return parse(with_forms(script.Config, PARAMETERIZATIONS), ["--config", str(path)])


@pytest.mark.parametrize("path", UNROLLED, ids=str)
def test_dataset_distillation_runs_on_the_published_settings(path):
    cfg = read(path)
    settle_steps(cfg)
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


@pytest.mark.parametrize("path", TRAINED, ids=str)
def test_trained_networks_are_adapted_and_attacked_on_the_published_settings(path):
    cfg = read(path)
    settle_steps(cfg)
    attack = cfg.objective == "poison"
    assert path.stem == f"{cfg.dataset}_ipc{cfg.ipc}_{'attack' if attack else f'from_{cfg.source_dataset}'}"
    assert (cfg.batch_size, cfg.epochs, cfg.decay_epochs, cfg.decay_factor) == (1024, 400, 40, 0.5)
    assert (cfg.train_nets_type, cfg.n_nets, cfg.sample_n_nets) == ("loaded", 200, 4)
    assert (cfg.distill_steps, cfg.distill_epochs, cfg.lr) == ((1, 1, 0.02) if attack else (10, 3, 0.01))
    assert (cfg.attack_class, cfg.target_class) == (0, 1)


@pytest.mark.parametrize("path", TRAINED, ids=str)
def test_the_command_in_front_makes_the_networks_that_the_run_looks_for(path):
    cfg, text = read(path), path.read_text(encoding="utf-8").replace("\\\n#", "")
    flags = re.search(r"^# Networks: python buffer.py (.+)$", text, re.M)[1].split()
    made = buffer.settled(parse(buffer.Config, flags))
    recipe = buffer.recipe_of(made)
    assert (recipe.optimizer, recipe.kept, recipe.init, recipe.decay_factor) == ("adam", 1, "xavier", 0.5)
    assert made.dataset == (cfg.source_dataset or cfg.dataset) and made.model == cfg.model
    assert made.num_experts >= cfg.n_nets + cfg.num_eval
    sides = [default_side(made.dataset, made.im_size), default_side(cfg.dataset, cfg.im_size)]
    folders = [expert_folder(one.buffer_path, made.dataset, one.model, side=side)
               for one, side in zip((made, cfg), sides)]
    assert folders[0] == folders[1] and sides[0] == sides[1]
    if (made.dataset, made.model) in RECIPES:
        assert (recipe.epochs, recipe.decay_epochs, recipe.lr) == RECIPES[made.dataset, made.model]


@pytest.mark.parametrize("path", PAST, ids=str)
def test_remembering_the_past_runs_on_the_published_settings(path):
    cfg = read(path)
    check_sampled(cfg)
    assert main_RTP.method_of(cfg) == path.parent.name and path.stem == f"{cfg.dataset}_ipc{cfg.ipc}"
    assert (cfg.inner_steps, cfg.inner_momentum, cfg.distill_lr, cfg.net_init) == (150, 0.9, 0.01, "default")
    assert (cfg.optimizer, cfg.lr, cfg.clip_grad, cfg.batch_real, cfg.num_eval) == ("sgd", 0.1, 2, 64, 10)
    assert (cfg.batch_syn, cfg.zca) == {"RTP": (32, False), "BPTT": (10, True)}[path.parent.name]


@pytest.mark.parametrize("path", [path for path in PAST if path.parent.name == "RTP"], ids=str)
def test_a_memory_recalls_many_times_the_images_that_its_budget_would_store(path):
    cfg = read(path)
    num_classes, channel, side = SHAPES.get(cfg.dataset, (10, 3, 32))
    number = recalled_within(num_classes, cfg.ipc, channel, (side, side), cfg.n_basis, cfg.downsample_scale)
    assert number >= 29 and number > cfg.ipc
    if path.stem == "CIFAR10_ipc1":
        assert (cfg.n_basis, number) == (16, 115)          # the authors' example
