"""The configs of IDC and IDC-I against the settings that their sets are published with."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import main_IDC
from condense.evaluation.idc import following_protocol, idc_protocols
from tests.idc_runs import options

CONFIGS = sorted(Path("configs").glob("IDC*/*.yaml"))
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


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_config_is_named_for_data_and_storage_and_makes_the_method_of_its_folder(path):
    cfg = read(path)
    main_IDC.check(cfg)
    assert path.stem == f"{cfg.subset or cfg.dataset}_ipc{cfg.ipc}"
    assert main_IDC.method_name(cfg) == path.parent.name.replace("_", "-")
    factor = 1 if path.parent.name == "IDC_I" else 3 if cfg.dataset == "ImageNet" else 2
    assert main_IDC.tiles(cfg) == factor
    if factor > 1:
        said = re.search(r"^factor: \d +# (\d+) training images per class in the storage of (\d+)$",
                         path.read_text(encoding="utf-8"), re.M)
        assert (int(said[1]), int(said[2])) == (main_IDC.images_per_class(cfg, images_of(cfg)), cfg.ipc)


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_values_that_are_written_out_are_those_that_auto_stands_for(path):
    """So that a config says what it does, and the same command without it does the same."""
    cfg = read(path)
    flags = ["--dataset", cfg.dataset, "--ipc", str(cfg.ipc), "--parameterization", cfg.parameterization,
             "--pt_from", str(cfg.pt_from)]
    flags += ["--factor", str(cfg.factor)] if cfg.parameterization == "multi_formation" else []
    bare, real = main_IDC.settled(options(*flags), images_of(cfg)), images_of(cfg)
    told = main_IDC.settled(cfg, real)
    for name in (*main_IDC.SETTLED, "niter", "mixup", "dsa_strategy", "inner_loop", "mom_img", "batch_real",
                 "batch_syn_max", "net_epoch", "pt_num"):
        assert getattr(told, name) == getattr(bare, name), name
    scored = [idc_protocols([cfg.model], real, main_IDC.images_per_class(cfg, real), of.epoch_eval_train, of.lr_net,
                            of.batch_train, of.mixup, of.mix_p, of.dsa_strategy)[cfg.model] for of in (told, bare)]
    followed = [following_protocol(cfg.model, real, of.aug_type, of.lr_net, of.batch_train, of.mixup_net, of.mix_p)
                for of in (told, bare)]
    assert scored[0] == scored[1] and followed[0] == followed[1]
    said = re.search(r"^epoch_eval_train: auto +# that is (\d+)$", path.read_text(encoding="utf-8"), re.M)[1]
    assert scored[0].epochs == int(said)


def test_pretrained_networks_are_for_a_hundred_classes_and_say_how_they_are_made():
    for path in CONFIGS:
        cfg, text = read(path), path.read_text(encoding="utf-8")
        many = cfg.subset == "imagenet100"
        assert (cfg.pt_from == 5) == many == ("# Experts: python buffer.py --dataset ImageNet --subset" in text)
        if many:
            assert f"--buffer_path {cfg.buffer_path}\n" in text and f"--keep_epochs {cfg.pt_from}-" in text


def test_exceptions_of_two_cells_are_kept():
    svhn, mnist = (read(Path(f"configs/{name}.yaml")) for name in ("IDC_I/SVHN_ipc1", "IDC/MNIST_ipc10"))
    for cfg, strategy in ((svhn, "color_crop_cutout_scale_rotate"), (mnist, "color_crop_scale_rotate")):
        real = images_of(cfg)
        told = main_IDC.settled(cfg, real)
        protocol = idc_protocols(["ConvNet"], real, main_IDC.images_per_class(told, real), mixup=told.mixup,
                                 strategy=told.dsa_strategy)["ConvNet"]
        assert (protocol.cutmix, protocol.strategy) == (0, strategy)
