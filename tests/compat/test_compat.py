"""The reference's calls before any training: names, data, networks, pools and loops."""

import re

import pytest
import torch
from torch.utils.data import DataLoader

import augment
import networks
import utils
from condense import compat
from condense.compat import (
    TensorDataset,
    get_dataset,
    get_default_convnet_setting,
    get_eval_pool,
    get_loops,
    get_network,
    get_time,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def digits():
    return get_dataset("Digits", "nowhere")


# The public surface

@pytest.mark.parametrize("module", [utils, networks, augment, compat])
def test_every_public_name_is_there(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_utils_hands_on_every_name_of_the_reference():
    assert all(getattr(utils, name) is getattr(compat, name) for name in compat.__all__)
    assert set(compat.__all__) <= set(utils.__all__)


def test_both_ways_to_build_a_network_stay_apart():
    assert utils.get_network is compat.get_network
    assert networks.get_network("MLP", 1, 10, (8, 8), rng=torch.Generator()).fc_1.in_features == 64


# Data

def test_get_dataset_returns_nine_values(digits):
    channel, im_size, num_classes, class_names, mean, std, dst_train, dst_test, testloader = digits
    assert (channel, im_size, num_classes) == (1, (8, 8), 10)
    assert class_names == list("0123456789")
    assert isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 1
    assert len(dst_train) + len(dst_test) == 1797
    assert testloader.dataset is dst_test and testloader.batch_size == 256


def test_items_are_normalised_images_with_int_labels(digits):
    _, _, _, _, mean, std, dst_train, _, _ = digits
    for index in (0, 700, len(dst_train) - 1, -1):
        image, label = dst_train[index]
        assert image.dtype == torch.float32 and image.shape == (1, 8, 8) and image.device.type == "cpu"
        assert type(label) is int
        pixels = dst_train.pixels[index].double() / 255
        torch.testing.assert_close(image.double(), (pixels - mean[0]) / std[0], rtol=0, atol=1e-5)


def test_a_loader_gives_the_same_items_in_order(digits):
    dst_test, testloader = digits[7:]
    images, labels = (torch.cat(parts) for parts in zip(*testloader, strict=True))
    one_by_one = list(dst_test)                                   # plain iteration ends at the end
    torch.testing.assert_close(images, torch.stack([image for image, _ in one_by_one]))
    assert labels.tolist() == [label for _, label in one_by_one] == dst_test.targets


def test_an_unknown_dataset_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean CIFAR10"):
        get_dataset("cifar-10", "data")


def test_tensor_dataset_holds_detached_floats():
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.float64, requires_grad=True), torch.arange(4)
    dataset = TensorDataset(images, labels)
    assert dataset.images.dtype == torch.float32 and not dataset.images.requires_grad
    assert len(dataset) == 4 and dataset[2][0].shape == (1, 2, 2) and dataset[2][1] == 2
    batch, ids = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch.shape == (3, 1, 2, 2) and ids.tolist() == [0, 1, 2]


# Networks, pools, loops

def test_the_default_convnet_is_the_published_one():
    width, depth, act, norm, pooling = get_default_convnet_setting()
    assert (width, depth, act, norm, pooling) == (128, 3, "relu", "instancenorm", "avgpooling")
    built = networks.ConvNet(3, 10, width, depth, act, norm, pooling)
    assert sum(p.numel() for p in built.parameters()) == 320010


@pytest.mark.parametrize("name", ["MLP", "LeNet", "AlexNet", "ConvNet", "ConvNetD1", "ResNet18BN_AP"])
@pytest.mark.parametrize("size", [{}, {"im_size": (28, 28)}, {"im_size": [32, 32]}])
def test_one_channel_means_28_pixels_unless_another_size_is_said(name, size):
    net = get_network(model=name, channel=1, num_classes=10, **size)
    assert net(torch.zeros(2, 1, 28, 28, device=DEVICE)).shape == (2, 10)


def test_other_sizes_are_taken_as_they_are():
    assert get_network("ConvNetD2", 1, 5, (8, 8))(torch.zeros(2, 1, 8, 8, device=DEVICE)).shape == (2, 5)
    assert get_network("ConvNet", 3, 5, (64, 64))(torch.zeros(2, 3, 64, 64, device=DEVICE)).shape == (2, 5)


def test_networks_come_from_the_global_generator_to_the_default_device():
    nets = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        nets.append(get_network("ConvNetW32", 3, 10))
    weights = [next(net.parameters()) for net in nets]
    assert weights[0].device.type == DEVICE
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.skipif(DEVICE == "cuda", reason="pretends to have GPUs")
def test_with_several_gpus_a_network_comes_wrapped(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    net = get_network("ConvNet", 3, 10)
    assert net.module.embed(torch.zeros(2, 3, 32, 32)).shape == (2, 2048)


@pytest.mark.parametrize("mode, model, pool", [
    ("S", "ConvNet", ["ConvNet"]), ("S", "ResNet18BN_AP", ["ResNet18"]), ("SS", "ConvNetBN", ["ConvNetBN"]),
    ("M", "ConvNet", ["MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18"]),
    ("B", "ConvNet", ["ConvNetBN", "ConvNetASwishBN", "AlexNetBN", "VGG11BN", "ResNet18BN"]),
    ("W", "ConvNet", ["ConvNetW32", "ConvNetW64", "ConvNetW128", "ConvNetW256"]),
    ("D", "ConvNet", ["ConvNetD1", "ConvNetD2", "ConvNetD3", "ConvNetD4"]),
    ("A", "ConvNet", ["ConvNetAS", "ConvNetAR", "ConvNetAL", "ConvNetASwish"]),
    ("P", "ConvNet", ["ConvNetNP", "ConvNetMP", "ConvNetAP"]),
    ("N", "ConvNet", ["ConvNetNN", "ConvNetBN", "ConvNetLN", "ConvNetIN", "ConvNetGN"]),
    ("C", "ConvNet", ["LeNet"])])
def test_eval_pool_is_a_list_of_the_published_networks(mode, model, pool):
    assert get_eval_pool(mode, model, "LeNet") == pool


def test_loops_are_the_published_ones():
    assert {ipc: get_loops(ipc) for ipc in (1, 10, 20, 30, 40, 50)} == {
        1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def test_loops_of_other_sizes_lie_between_their_neighbours():
    assert get_loops(5) == (5, 50) and get_loops(25) == (25, 22) and get_loops(100) == (50, 10)
    for ipc in range(2, 120):
        (outer, inner), (next_outer, next_inner) = get_loops(ipc), get_loops(ipc + 1)
        assert outer <= next_outer and inner >= next_inner >= 1
    with pytest.raises(ValueError, match="1 or larger"):
        get_loops(0)


def test_time_is_in_brackets():
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]", get_time())
