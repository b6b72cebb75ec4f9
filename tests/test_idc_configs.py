"""The configs of IDC and IDC-I against the settings that their sets are published with."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import main_IDC
from condense.training import Protocol
from condense.training.idc import following_protocol, idc_protocols
from tests.idc_runs import options

CONFIGS = sorted(Path("configs").glob("IDC*/*.yaml"))
# niter, metric, lr_img, n_data, early, pt_from of the sets that the paper's code reproduces
SETTINGS = {"CIFAR10": (2000, "mse", 5e-3, 2000, 0, -1), "CIFAR100": (2000, "mse", 5e-3, 2000, 0, -1),
            "SVHN": (2000, "mse", 5e-3, 500, 0, -1), "MNIST": (2000, "l1", 1e-4, 500, 0, -1),
            "FashionMNIST": (2000, "l1", 1e-4, 500, 0, -1), "imagenet10": (500, "l1", 3e-3, 500, 10, -1),
            "imagenet100": (500, "l1", 1e-3, 500, 0, 5)}
COMMON = {"inner_loop": 100, "mom_img": 0.5, "batch_real": 64, "batch_syn_max": 128, "net_epoch": 1, "pt_num": 1}
# epochs by data set, images stored of a class and factor; all others 1000
EPOCHS = {("imagenet10", 10, 1): 2000, ("imagenet10", 20, 1): 1500, ("imagenet10", 10, 3): 1000,
          ("imagenet10", 20, 3): 1000, ("imagenet100", 10, 1): 1300, ("imagenet100", 20, 1): 1000,
          ("imagenet100", 10, 3): 600, ("imagenet100", 20, 3): 600}
# lr, minibatch, momentum, weight decay
TRAINING = {"imagenet100": (0.1, 128, 0.9, 1e-4)}
USUAL_TRAINING = (0.01, 64, 0.9, 5e-4)
IMAGENET = {"imagenet10": 10, "imagenet100": 100}
SIDES = {"MNIST": (1, 28), "FashionMNIST": (1, 28), "SVHN": (3, 32), "CIFAR10": (3, 32), "CIFAR100": (3, 32)}


def read(path):
    return options("--config", str(path))


def images_of(cfg):
    """Return what real data of the config would say of themselves."""
    channel, side = (3, 224) if cfg.dataset == "ImageNet" else SIDES[cfg.dataset]
    classes = IMAGENET.get(cfg.subset, 100 if cfg.dataset == "CIFAR100" else 10)
    return SimpleNamespace(name=cfg.dataset, channel=channel, num_classes=classes, im_size=(side, side),
                           spec=(channel, classes, (side, side)))


def cell(path):
    """Return (name of the data, published factor, whether these are the mosaics of MNIST) of the config at `path`."""
    name = path.stem.split("_")[0]
    factor = 1 if path.parent.name == "IDC_I" else 3 if name in IMAGENET else 2
    return name, factor, name == "MNIST" and factor == 2


def bare(cfg):
    """Return the options of the config's data, storage and networks, and everything else left to the data."""
    flags = ["--dataset", cfg.dataset, "--ipc", str(cfg.ipc), "--parameterization", cfg.parameterization,
             "--pt_from", str(cfg.pt_from)]
    return options(*flags, *(["--factor", str(cfg.factor)] if cfg.parameterization == "multi_formation" else []))


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_config_is_named_for_data_and_storage_and_makes_the_method_of_its_folder(path):
    cfg = read(path)
    main_IDC.check(cfg)
    assert path.stem == f"{cfg.subset or cfg.dataset}_ipc{cfg.ipc}"
    assert main_IDC.idc.method_name(cfg) == path.parent.name.replace("_", "-")
    factor = 1 if path.parent.name == "IDC_I" else 3 if cfg.dataset == "ImageNet" else 2
    assert cfg.form_options().get("factor", 1) == factor
    if factor > 1:
        said = re.search(r"^factor: \d +# (\d+) training images per class in the storage of (\d+)$",
                         path.read_text(encoding="utf-8"), re.M)
        assert (int(said[1]), int(said[2])) == (main_IDC.idc.outline(cfg, images_of(cfg)).images_per_epoch, cfg.ipc)


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_values_that_are_written_out_are_the_published_ones_and_those_that_auto_stands_for(path):
    """So that a config says what it does, and the same command without it does the same."""
    cfg, (name, factor, unmixed) = read(path), cell(path)
    niter, metric, lr_img, n_data, early, pt_from = SETTINGS[name]
    expected = {"niter": niter, "metric": metric, "lr_img": lr_img, "n_data": n_data, "early": early,
                "pt_from": pt_from, "aug_type": "color_crop" if unmixed else "color_crop_cutout",
                "mixup_net": "vanilla" if unmixed else "cut", **COMMON}
    for config in (cfg, bare(cfg)):
        told = main_IDC.settled(config, images_of(cfg))
        assert {name: getattr(told, name) for name in expected} == expected
        assert told.form_options().get("factor", 1) == factor


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_sets_are_scored_and_networks_trained_as_published(path):
    cfg, (name, factor, unmixed), text = read(path), cell(path), path.read_text(encoding="utf-8")
    epochs, training = EPOCHS.get((name, cfg.ipc, factor), 1000), TRAINING.get(name, USUAL_TRAINING)
    cutmix = 0.0 if unmixed else 1.0 if name in IMAGENET else 0.5
    flip = "" if name in ("MNIST", "SVHN") else "flip_"
    augmentation = ("imagenet", "none") if name in IMAGENET else ("composed", f"color_crop_{flip}scale_rotate")
    published = Protocol(epochs, *training, *augmentation, "idc", cutmix)
    if (name, cfg.ipc, factor) == ("SVHN", 1, 1):
        published = Protocol(1000, *training, "composed", "color_crop_cutout_scale_rotate", "idc", 0.0)
    followed = Protocol(1, *training, "composed", "color_crop", "constant", cutmix)
    assert re.search(r"^epoch_eval_train: auto +# that is (\d+)$", text, re.M)[1] == str(epochs)
    real = images_of(cfg)
    for one in (main_IDC.settled(cfg, real), main_IDC.settled(bare(cfg), real)):
        assert idc_protocols([cfg.model], real, cfg.ipc * factor**2, one.epoch_eval_train, one.lr_net, one.batch_train,
                             one.mixup, one.mix_p, one.dsa_strategy, factor=factor)[cfg.model] == published
        assert following_protocol(cfg.model, real, one.aug_type, one.lr_net, one.batch_train, one.mixup_net,
                                  one.mix_p) == followed


@pytest.mark.parametrize("folder, ipc, epochs", [("IDC", 50, 400), ("IDC", 10, 1000), ("IDC_I", 50, 1000)])
def test_densenet_is_trained_for_less_on_fifty_mosaics_of_a_class_of_cifar10(folder, ipc, epochs):
    cfg = read(Path(f"configs/{folder}/CIFAR10_ipc{ipc}.yaml"))
    real = images_of(cfg)
    protocols = idc_protocols(["ConvNet", "DenseNet"], real, main_IDC.idc.outline(cfg, real).images_per_epoch,
                              cfg.epoch_eval_train, factor=cfg.form_options().get("factor", 1))
    assert (protocols["ConvNet"].epochs, protocols["DenseNet"].epochs) == (1000, epochs)


def test_pretrained_networks_are_for_a_hundred_classes_and_say_how_they_are_made():
    for path in CONFIGS:
        cfg, text = read(path), path.read_text(encoding="utf-8")
        many = cfg.subset == "imagenet100"
        assert (cfg.pt_from == 5) == many == ("# Experts: python buffer.py --dataset ImageNet --subset" in text)
        if many:
            assert f"--buffer_path {cfg.buffer_path}\n" in text and f"--keep_epochs {cfg.pt_from}-" in text
