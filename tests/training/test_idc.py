"""IDC's recipes as they are varied: how sets are scored, and how the networks that are matched follow the real data."""

from types import SimpleNamespace

import pytest

from condense.training import Protocol
from condense.training.idc import following_protocol, idc_protocols, is_large

CIFAR10 = SimpleNamespace(name="CIFAR10", im_size=(32, 32), num_classes=10)
MNIST = SimpleNamespace(name="MNIST", im_size=(28, 28), num_classes=10)
SVHN = SimpleNamespace(name="SVHN", im_size=(32, 32), num_classes=10)
IMAGENET10 = SimpleNamespace(name="ImageNet", im_size=(224, 224), num_classes=10)
IMAGENET100 = SimpleNamespace(name="ImageNet", im_size=(224, 224), num_classes=100)


def scored(real, *, num_images=10, **how):
    return idc_protocols(["ConvNet"], real, num_images, **how)["ConvNet"]


SMALL, TEN, HUNDRED = (0.01, 64, 0.9, 5e-4, "composed"), (0.01, 64, 0.9, 5e-4), (0.1, 128, 0.9, 1e-4)
FLIPPED, UPRIGHT = "color_crop_flip_scale_rotate", "color_crop_scale_rotate"


@pytest.mark.parametrize("real, factor, num_images, published", [
    (CIFAR10, 1, 10, (1000, *SMALL, FLIPPED, "idc", 0.5)), (CIFAR10, 2, 200, (1000, *SMALL, FLIPPED, "idc", 0.5)),
    (MNIST, 1, 1, (1000, *SMALL, UPRIGHT, "idc", 0.5)), (MNIST, 2, 4, (1000, *SMALL, UPRIGHT, "idc", 0.0)),
    (SVHN, 1, 1, (1000, *SMALL, "color_crop_cutout_scale_rotate", "idc", 0.0)),
    (SVHN, 2, 4, (1000, *SMALL, UPRIGHT, "idc", 0.5)),
    (IMAGENET10, 1, 1, (3000, *TEN, "imagenet", "none", "idc", 1.0)),
    (IMAGENET10, 1, 10, (2000, *TEN, "imagenet", "none", "idc", 1.0)),
    (IMAGENET10, 1, 20, (1500, *TEN, "imagenet", "none", "idc", 1.0)),
    (IMAGENET10, 3, 180, (1000, *TEN, "imagenet", "none", "idc", 1.0)),
    (IMAGENET10, 3, 450, (500, *TEN, "imagenet", "none", "idc", 1.0)),
    (IMAGENET10, 3, 900, (300, *TEN, "imagenet", "none", "idc", 1.0)),
    (IMAGENET100, 1, 10, (1300, *HUNDRED, "imagenet", "none", "idc", 1.0)),
    (IMAGENET100, 1, 20, (1000, *HUNDRED, "imagenet", "none", "idc", 1.0)),
    (IMAGENET100, 3, 180, (600, *HUNDRED, "imagenet", "none", "idc", 1.0))],
    ids=lambda value: getattr(value, "name", None))
def test_auto_is_the_published_protocol_for_the_images_and_their_number(real, factor, num_images, published):
    assert scored(real, num_images=num_images, factor=factor) == Protocol(*published)


def test_densenet_trains_for_400_epochs_on_fifty_mosaics_of_a_class():
    pool = ["ConvNet", "ResNet10", "DenseNet"]
    for factor, num_images, epochs in ((2, 200, 400), (2, 40, 1000), (1, 50, 1000)):
        protocols = idc_protocols(pool, CIFAR10, num_images, factor=factor)
        assert [protocols[model].epochs for model in pool] == [1000, 1000, epochs]


@pytest.mark.parametrize("mixup, cutmix", [("auto", 0.0), ("vanilla", 0.0), ("cut", 0.5)])
def test_mosaics_of_mnist_have_no_cutout_whether_they_are_mixed_or_not(mixup, cutmix):
    protocol = scored(MNIST, num_images=40, factor=2, mixup=mixup)
    assert (protocol.cutmix, protocol.strategy) == (cutmix, UPRIGHT)


def test_figures_that_are_given_take_the_place_of_the_published_ones():
    protocol = scored(CIFAR10, epochs=7, lr=0.3, batch_size=5, mix_p=0.25)
    assert (protocol.epochs, protocol.lr, protocol.batch_size, protocol.cutmix) == (7, 0.3, 5, 0.25)
    assert (protocol.weight_decay, protocol.schedule, protocol.momentum) == (5e-4, "idc", 0.9)


@pytest.mark.parametrize("real, mixup, cutmix, strategy", [
    (CIFAR10, "cut", 0.5, "color_crop_flip_scale_rotate"),
    (CIFAR10, "vanilla", 0.0, "color_crop_cutout_flip_scale_rotate"),
    (SVHN, "auto", 0.0, "color_crop_cutout_scale_rotate"),
    (SVHN, "cut", 0.5, "color_crop_scale_rotate"),
])
def test_cutout_and_cutmix_take_each_others_place(real, mixup, cutmix, strategy):
    protocol = scored(real, num_images=1, mixup=mixup)
    assert (protocol.cutmix, protocol.strategy, protocol.augmentation) == (cutmix, strategy, "composed")


def test_no_probability_brings_back_what_is_not_mixed():
    assert scored(CIFAR10, mixup="vanilla", mix_p=1.0).cutmix == 0
    assert following_protocol("ConvNet", CIFAR10, "crop", mixup="vanilla", mix_p=1.0).cutmix == 0


def test_an_augmentation_that_is_given_is_obeyed_on_large_images_too():
    for real in (MNIST, IMAGENET10):
        protocol = scored(real, strategy="flip_crop")
        assert (protocol.augmentation, protocol.strategy) == ("composed", "flip_crop")
    with pytest.raises(ValueError, match="did you mean flip"):
        scored(MNIST, strategy="flap")


@pytest.mark.parametrize("real, expected", [
    (CIFAR10, (0.01, 5e-4, 64, 0.5)), (IMAGENET10, (0.01, 5e-4, 64, 1.0)), (IMAGENET100, (0.1, 1e-4, 128, 1.0))])
def test_networks_follow_the_real_data_at_the_rate_that_sets_are_scored_at(real, expected):
    protocol = following_protocol("ConvNet", real, "color_crop_cutout")
    assert (protocol.lr, protocol.weight_decay, protocol.batch_size, protocol.cutmix) == expected
    assert (protocol.augmentation, protocol.strategy, protocol.schedule) == ("composed", "color_crop", "constant")
    assert protocol.rate(10**6) == protocol.lr and isinstance(protocol, Protocol)


@pytest.mark.parametrize("mixup, strategy, expected", [
    ("cut", "color_crop_cutout", "color_crop"), ("vanilla", "color_crop_cutout", "color_crop_cutout"),
    ("cut", "cutout", "none"), ("vanilla", "none", "none"), ("cut", "none", "none")])
def test_cutout_is_left_out_beside_cutmix_while_following(mixup, strategy, expected):
    assert following_protocol("ConvNet", CIFAR10, strategy, mixup=mixup).strategy == expected


def test_large_is_imagenet_or_more_than_64_pixels():
    small = SimpleNamespace(name="folder", im_size=(64, 80))
    assert not is_large(small) and not is_large(CIFAR10)
    assert is_large(SimpleNamespace(name="folder", im_size=(65, 80))) and is_large(IMAGENET10)
