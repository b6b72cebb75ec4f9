"""Networks trained all in one go come out as if each had been trained alone."""

import copy
from dataclasses import replace

import pytest
import torch

from condense.data.space import Space
from condense.operators import Compute
from condense.training import TensorSet
from condense.training.protocols import AUGMENTATIONS
from condense.training.train import train_network, train_stacked
from tests.training.training_by_hand import (
    FULL,
    PLAIN,
    assert_same_state,
    build,
    seeded,
    soft_labels,
    some_digits,
    train_both_ways,
)

STRATEGIES = {"siamese": FULL, "classic": "crop_scale", "composed": FULL, "autoaugment": "cifar10", "cifar": "cutout"}


@pytest.fixture(scope="module")
def data():
    return some_digits()


@pytest.mark.parametrize("augmentation", [kind for kind in AUGMENTATIONS if kind != "imagenet"])
@pytest.mark.parametrize("kind", ["instancenorm", "batchnorm", "MLP"])
def test_stacked_networks_train_like_each_alone(data, digits, kind, augmentation):
    protocol = replace(PLAIN, augmentation=augmentation, strategy=STRATEGIES.get(augmentation, "none"))
    for one, two in zip(*train_both_ways(kind, [data] * 3, protocol, Space.of(digits))):
        assert_same_state(two, one, 1e-9)


@pytest.mark.parametrize("augmentation", ["none", "composed", "randaugment"])
@pytest.mark.parametrize("cutmix", [0.5, 1.0])
@pytest.mark.parametrize("soft", [False, True])
def test_stacked_networks_mix_their_minibatches_each_its_own_way(data, digits, augmentation, cutmix, soft):
    protocol = replace(PLAIN, augmentation=augmentation, strategy=STRATEGIES.get(augmentation, "none"), cutmix=cutmix,
                       schedule="idc")
    labelled = TensorSet(data.tensor, soft_labels()) if soft else data
    alone, stacked = train_both_ways("MLP", [labelled] * 3, protocol, Space.of(digits))
    for one, two in zip(alone, stacked):
        assert_same_state(two, one, 1e-9)


def test_colour_images_train_stacked_with_the_augmentation_of_imagenet():
    images = torch.rand(12, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    nets, space = [], Space("normalised", (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
    protocol = replace(PLAIN, augmentation="imagenet", cutmix=0.5)
    data = TensorSet(images, torch.arange(12) % 10)
    for seed in range(2):
        nets.append(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10, dtype=torch.float64)))
        torch.nn.init.normal_(nets[-1][1].weight, std=0.1, generator=seeded(seed))
    stacked = copy.deepcopy(nets)
    for seed, net in enumerate(nets):
        train_network(net, data, protocol, seeded(seed), pixels=space)
    train_stacked(stacked, [data] * 2, protocol, [seeded(0), seeded(1)], pixels=space)
    for one, two in zip(nets, stacked):
        assert_same_state(two, one, 1e-9)


@pytest.mark.parametrize("kind", ["layernorm", "none", "groupnorm"])
def test_other_norms_train_stacked_too(data, kind):
    for one, two in zip(*train_both_ways(kind, [data] * 2, replace(PLAIN, epochs=1))):
        assert_same_state(two, one, 1e-9)


def test_stacking_goes_on_past_a_block_of_drawn_epochs(data):
    protocol = replace(PLAIN, epochs=20, augmentation="siamese", strategy=FULL)
    for one, two in zip(*train_both_ways("MLP", [data] * 2, protocol)):
        assert_same_state(two, one, 1e-9)


def test_stacked_networks_have_each_its_own_set(digits):
    batches = [digits.sample(digits.classes, 2, seeded(i)) for i in range(3)]
    sets = [TensorSet(batch.images().double(), batch.labels) for batch in batches]
    for one, two in zip(*train_both_ways("instancenorm", sets, PLAIN)):
        assert_same_state(two, one, 1e-9)


def test_stacked_networks_take_soft_labels(data):
    for one, two in zip(*train_both_ways("MLP", [TensorSet(data.tensor, soft_labels())] * 2, PLAIN)):
        assert_same_state(two, one, 1e-9)


def test_stacked_training_puts_networks_in_train_mode(data):
    alone, stacked = build("batchnorm"), build("batchnorm").eval()
    train_network(alone, data, PLAIN, seeded(1))
    train_stacked([stacked], [data], PLAIN, [seeded(1)])
    assert_same_state(stacked, alone, 1e-9)


def test_channels_last_networks_train_stacked_in_float32(data):
    compute = Compute()
    single = TensorSet(data.tensor.float(), data.labels)
    alone = [compute.prepare(build("instancenorm", seed).float()) for seed in range(2)]
    stacked = copy.deepcopy(alone)
    for number, net in enumerate(alone):
        train_network(net, single, PLAIN, seeded(number), compute.wrap(net), chunk=4)
    train_stacked(stacked, [single] * 2, PLAIN, [seeded(0), seeded(1)], compute.wrap_stacked)
    for one, two in zip(alone, stacked):
        assert_same_state(two, one, 1e-4)
