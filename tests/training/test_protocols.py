"""Protocols: their schedules, what they refuse, and the ones that are published."""

import zlib
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from condense.augmentation.siamese import DIGIT_STRATEGY, FULL_STRATEGY
from condense.core.randomness import Streams
from condense.data import load_data
from condense.evaluation import evaluate
from condense.evaluation.accuracy import accuracy
from condense.networks import get_network, reset
from condense.operators import Compute
from condense.training import (
    PROTOCOLS,
    Protocol,
    dc_protocols,
    default_models,
    mtt_protocols,
    named_protocols,
    siamese_protocols,
)
from condense.training.protocols import AUGMENTATIONS, protocol_of
from tests.training.training_by_hand import seeded

MIXED_STRATEGY = "color_crop_flip_scale_rotate"
POOL = ("MLP", "ConvNet", "ConvNetBN")


def one(name, dataset="CIFAR10", model="ConvNet", **options):
    return named_protocols(name, [model], dataset, **options)[model]


class Like:
    """As much of a `RealData` as a protocol may go by."""

    def __init__(self, name, side, num_classes):
        self.name, self.im_size, self.num_classes = name, (side, side), num_classes


# Schedules and what is stored

@pytest.mark.parametrize("epochs, first, second", [(300, 152, 149), (1000, 502, 499)])
def test_epochs_split_as_published(epochs, first, second):
    protocol = Protocol(epochs=epochs)
    assert (protocol.drop_epoch, epochs + 1 - protocol.drop_epoch) == (first, second)
    assert protocol.milestones == (first,)
    assert [protocol.rate(epoch) for epoch in (0, first - 1, first)] == [0.01, 0.01, 0.1 * 0.01]


@pytest.mark.parametrize("epochs, first, second", [(1000, 666, 833), (300, 200, 250), (7, 4, 5)])
def test_the_rate_of_idc_falls_to_a_fifth_at_two_thirds_and_at_five_sixths(epochs, first, second):
    protocol = Protocol(epochs, 0.1, schedule="idc")
    rates = [protocol.rate(epoch) for epoch in range(protocol.num_epochs)]
    assert rates == pytest.approx([0.1] * first + [0.02] * (second - first) + [0.004] * (epochs - second))
    assert protocol.drop_epoch is None


def test_a_constant_rate_has_no_milestones():
    protocol = Protocol(10, 0.3, schedule="constant")
    assert protocol.milestones == () and {protocol.rate(epoch) for epoch in range(10)} == {0.3}


def test_a_protocol_of_an_older_result_is_what_it_was():
    old = {"epochs": 300, "lr": 0.02, "batch_size": 256, "momentum": 0.9, "weight_decay": 0.0005,
           "augmentation": "classic", "strategy": "crop_noise", "schedule": "drop"}
    protocol = Protocol(**old)
    assert {**asdict(protocol), **old} == asdict(protocol) and protocol.cutmix == 0
    assert Protocol(**asdict(protocol)) == protocol


@pytest.mark.parametrize("values, mend", [
    ({"augmentation": "siamesee"}, "did you mean siamese"),
    ({"schedule": "cosine"}, "unknown schedule 'cosine'"),
    ({"cutmix": 1.5}, "probability in 0..1"),
    ({"augmentation": "autoaugment", "strategy": "cifar"}, "did you mean cifar10"),
    ({"augmentation": "cifar", "strategy": "color"}, "none or cutout"),
])
def test_what_no_training_knows_is_refused(values, mend):
    with pytest.raises(ValueError, match=mend):
        Protocol(**values)


# The published ones

AUGMENTED = [(name, augmentation) for name in PROTOCOLS for augmentation in
             (None, "none", *(("dsa", "autoaugment", "randaugment", "cifar") if name != "dd" else ()))]


@pytest.mark.parametrize("name, augmentation", AUGMENTED)
def test_every_protocol_trains_a_network_on_digits(name, augmentation):
    digits = load_data("Digits")
    data = digits.sample(digits.classes, 2, seeded())
    protocols = named_protocols(name, default_models(name, "MLP"), digits, epochs=2, lr=0.1,
                                batch_size=None if name == "dd" else 16, augmentation=augmentation)
    (score,) = evaluate(data, digits, protocols, 1, partial(Streams(0), "evaluation"), Compute(),
                        progress=False)["MLP"]
    assert 0 < score.train_loss < 5 and 0.05 < score.test_accuracy < 1


@pytest.mark.parametrize("dataset", ["CIFAR10", "MNIST", "Digits"])
def test_methods_and_names_mean_the_same_recipes(dataset):
    strategy = FULL_STRATEGY if dataset == "CIFAR10" else DIGIT_STRATEGY
    assert named_protocols("dc", POOL, dataset) == dc_protocols(POOL, dataset, "auto", 0.01, 256)
    assert named_protocols("dsa", POOL, dataset) == siamese_protocols(POOL, "auto", 0.01, 256, strategy)
    assert named_protocols("mtt", POOL, dataset, lr_learned=0.03) == mtt_protocols(POOL, dataset, 1000, 0.03, 256,
                                                                                   strategy)


def test_what_is_given_takes_the_place_of_the_protocols_own():
    for name in PROTOCOLS:
        batch = {} if name == "dd" else {"batch_size": 9}  # its batches are the set's
        own, given = one(name), one(name, epochs=3, lr=0.5, **batch)
        assert given == replace(own, epochs=3, lr=0.5, **batch)


def test_the_learned_step_size_is_for_mtt_alone_and_gives_way_to_a_given_one():
    assert one("mtt", lr_learned=0.02).lr == 0.02 and one("mtt", lr_learned=0.02, lr=0.1).lr == 0.1
    assert one("mtt").lr == one("dsa", lr_learned=0.02).lr == 0.01


@pytest.mark.parametrize("dataset, strategy", [("CIFAR10", MIXED_STRATEGY), ("FashionMNIST", MIXED_STRATEGY),
                                               ("SVHN", "color_crop_scale_rotate"),
                                               ("MNIST", "color_crop_scale_rotate")])
def test_idc_on_small_images(dataset, strategy):
    assert one("idc", dataset) == Protocol(1000, 0.01, 64, 0.9, 5e-4, "composed", strategy, "idc", 0.5)


@pytest.mark.parametrize("dataset", ["CIFAR10", "MNIST"])
def test_rtp_is_momentum_without_decay_schedule_or_augmentation(dataset):
    protocol = one("rtp", dataset)
    plain = Protocol(300, 0.01, 640, 0.9, 0.0, "none", "none", "constant", 0.0)
    assert asdict(plain).items() < asdict(protocol).items()
    assert protocol.num_epochs == 300 and protocol.milestones == () and protocol.rate(299) == 0.01
    assert one("rtp", dataset, augmentation="dsa").strategy == one("dsa", dataset).strategy != "none"


def test_rtp_trains_as_pytorchs_optimizer_does_from_pytorchs_default_start():
    digits = load_data("Digits")
    data = digits.sample(digits.classes, 3, seeded())                 # one minibatch, as all sets of up to 640
    rng = partial(Streams(0), "evaluation", 0)
    (ours,) = evaluate(data, digits, named_protocols("rtp", ["MLP"], digits, epochs=5), 1, rng, Compute(),
                       progress=False)["MLP"]
    net = reset(get_network("MLP", 1, 10, (8, 8)), rng(zlib.crc32(b"MLP"), 0), "default")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(data.images()), data.labels)
        loss.backward()
        optimizer.step()
    assert ours.train_loss == pytest.approx(loss.item(), rel=1e-5)
    assert ours.test_accuracy == pytest.approx(accuracy(net, digits).item(), abs=3e-3)


def test_a_learned_step_size_leaves_rtp_alone_and_its_name_is_stored_with_it():
    protocol = one("rtp", lr_learned=0.5)
    assert protocol.lr == 0.01 and protocol.with_step_size(0.5) == protocol == protocol_of(asdict(protocol))
    assert replace(protocol, lr=0.5).lr == 0.5 and protocol.for_one_epoch().epochs == 1
    with pytest.raises(ValueError, match="unknown to this version .*; name one with --protocol"):
        protocol_of({**asdict(protocol), "warmup": 5})


def test_idc_scores_one_image_per_class_of_svhn_without_mixing():
    exception = one("idc", "SVHN", num_images=1)
    assert (exception.cutmix, exception.strategy) == (0, DIGIT_STRATEGY)
    assert one("idc", "SVHN", epochs=5).cutmix == 0.5
    assert one("idc", "SVHN", num_images=4).cutmix == one("idc", "CIFAR10", num_images=1).cutmix == 0.5


@pytest.mark.parametrize("factor, num_images", [(2, 4), (2, 40), (3, 9), (2, 200)])
def test_idc_mixes_no_mosaics_of_mnist_and_leaves_those_of_others_alone(factor, num_images):
    figures = {"factor": factor, "num_images": num_images}
    assert one("idc", "MNIST", **figures) == Protocol(1000, 0.01, 64, 0.9, 5e-4, "composed", "color_crop_scale_rotate",
                                                      "idc", 0.0)
    assert one("idc", "MNIST", factor=1, num_images=num_images).cutmix == 0.5
    for dataset, strategy in (("FashionMNIST", MIXED_STRATEGY), ("CIFAR10", MIXED_STRATEGY),
                              ("SVHN", "color_crop_scale_rotate")):
        assert (one("idc", dataset, **figures).cutmix, one("idc", dataset, **figures).strategy) == (0.5, strategy)
    kept = one("idc", "MNIST", augmentation="siamese", **figures)
    assert (kept.cutmix, kept.augmentation) == (0, "siamese")


@pytest.mark.parametrize("factor, num_images, epochs", [
    (2, 200, 400), (2, 400, 400), (3, 450, 400), (2, 196, 1000), (2, 40, 1000), (3, 441, 1000), (1, 50, 1000),
    (1, 200, 1000), (2, None, 1000)])
def test_idc_trains_densenet_for_less_on_many_mosaics(factor, num_images, epochs):
    figures = {"factor": factor, "num_images": num_images}
    assert one("idc", "CIFAR10", "DenseNet", **figures).epochs == epochs
    assert {one("idc", "CIFAR10", model, **figures).epochs for model in ("ConvNet", "ResNet10")} == {1000}
    assert one("idc", "CIFAR10", "DenseNet", epochs=7, **figures).epochs == 7


@pytest.mark.parametrize("num_images, ten, hundred", [(1, 3000, 2000), (9, 2000, 1300), (10, 2000, 1300),
                                                      (50, 1500, 1000), (90, 1000, 600), (200, 1000, 600),
                                                      (201, 500, 300), (500, 500, 300), (501, 300, 200)])
def test_idc_on_large_images_trains_by_the_images_per_class(num_images, ten, hundred):
    few, many = (one("idc", Like("folder", 224, classes), num_images=num_images) for classes in (10, 100))
    assert few == Protocol(ten, 0.01, 64, 0.9, 5e-4, "imagenet", "none", "idc", 1.0)
    assert many == Protocol(hundred, 0.1, 128, 0.9, 1e-4, "imagenet", "none", "idc", 1.0)
    assert one("idc", "ImageNet", num_images=num_images) == few


def test_idc_asks_for_what_its_epochs_depend_on():
    with pytest.raises(ValueError, match="give num_images, or epochs"):
        one("idc", "ImageNet")
    assert one("idc", "ImageNet", epochs=5).epochs == 5
    assert one("idc", Like("folder", 64, 10)).augmentation == "composed"


@pytest.mark.parametrize("name, kind, strategy, epochs", [
    (None, "none", "none", 300), ("none", "none", "none", 300), ("dsa", "siamese", FULL_STRATEGY, 1000),
    ("autoaugment", "autoaugment", "cifar10", 1000), ("randaugment", "randaugment", "none", 1000),
    ("imagenet", "jitter", "none", 1000), ("cifar", "cifar", "cutout", 1000)])
def test_dcbench_is_one_recipe_varied_by_the_augmentation(name, kind, strategy, epochs):
    assert one("dcbench", augmentation=name) == Protocol(epochs, 0.01, 256, 0.9, 5e-4, kind, strategy, "drop", 0)


def test_autoaugment_of_tiny_imagenet_goes_by_the_policy_of_imagenet():
    assert one("dcbench", "TinyImageNet", augmentation="autoaugment").strategy == "imagenet"


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_other_protocols_can_be_varied_by_every_augmentation(kind):
    for name in ("dc", "dsa", "mtt", "idc", "rtp", "full"):
        assert one(name, augmentation=kind).augmentation == kind
    assert one("dc", augmentation="none").epochs == 300 and one("dc", augmentation="siamese").epochs == 1000


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown protocol 'dcbecnh'; did you mean dcbench"):
        one("dcbecnh")
    with pytest.raises(ValueError, match="unknown augmentation of dcbench 'classic'; .*autoaugment"):
        one("dcbench", augmentation="classic")
    with pytest.raises(ValueError, match="unknown protocol"):
        default_models("DSA2", "ConvNet")


def test_the_whole_training_set_is_trained_for_fewer_epochs_and_digits_in_small_minibatches():
    for dataset, recipe in (("CIFAR10", {"epochs": 100}), ("Digits", {"epochs": 30, "batch_size": 32})):
        assert one("full", dataset) == replace(one("dsa", dataset), **recipe)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_set_is_scored_on_its_own_network_with_batch_norm_replaced(name):
    assert default_models(name, "ConvNetBN") == ("ConvNet",) and default_models(name, "ConvNetD4") == ("ConvNetD4",)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_says_what_it_is_and_whose(name):
    record = PROTOCOLS[name]
    assert record.about and record.source and len(record.build.__doc__) > 60
