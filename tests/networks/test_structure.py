"""State-dict keys, and networks of the same description built layer by layer, against ours."""

import pytest
import torch
from torch import nn

from condense.networks import NETWORKS, ConvNet, get_network

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
AFFINE = ("weight", "bias")


def expand(*modules):
    """Return state-dict keys from pairs (module, suffixes)."""
    return [f"{module}.{suffix}" for module, suffixes in modules for suffix in suffixes]


def flat(convs, norm=None, head="classifier"):
    """Return the keys of a flat sequence with convolutions at `convs`, norms one higher, and a `head`."""
    layers = []
    for i in convs:
        layers += [(f"features.{i}", AFFINE)] + ([(f"features.{i + 1}", norm)] if norm else [])
    return expand(*layers, (head, AFFINE))


def residual(norm, pooled=False):
    """Return the keys of a ResNet18."""
    layers = [("conv1", ["weight"]), ("bn1", norm)]
    for stage in range(1, 5):
        for block in (f"layer{stage}.0", f"layer{stage}.1"):
            layers += [(f"{block}.{kind}{i}", ["weight"] if kind == "conv" else norm)
                       for i in (1, 2) for kind in ("conv", "bn")]
            if stage > 1 and block.endswith("0"):
                layers += [(f"{block}.shortcut.0", ["weight"]), (f"{block}.shortcut.{1 + pooled}", norm)]
    return expand(*layers, ("classifier", AFFINE))


KEYS = {
    "ConvNet": flat((0, 4, 8), AFFINE),
    "ConvNetBN": flat((0, 4, 8), BN),
    "ConvNetLN": flat((0, 4, 8), AFFINE),
    "ConvNetNN": flat((0, 3, 6)),
    "ConvNetNP": flat((0, 3, 6), AFFINE),
    "ConvNetD4": flat((0, 4, 8, 12), AFFINE),
    "VGG11": flat((0, 4, 8, 11, 15, 18, 22, 25), AFFINE),
    "VGG11BN": flat((0, 4, 8, 11, 15, 18, 22, 25), BN),
    "AlexNet": flat((0, 3, 6, 8, 10), head="fc"),
    "AlexNetBN": flat((0, 4, 8, 11, 14), BN, head="fc"),
    "LeNet": expand(*((name, AFFINE) for name in ("features.0", "features.3", "fc_1", "fc_2", "fc_3"))),
    "MLP": expand(*((name, AFFINE) for name in ("fc_1", "fc_2", "fc_3"))),
    "ResNet18": residual(AFFINE),
    "ResNet18BN": residual(BN),
    "ResNet18_AP": residual(AFFINE, pooled=True),
    "ResNet18BN_AP": residual(BN, pooled=True),
}


@pytest.mark.parametrize("name", KEYS)
def test_state_dict_keys_come_in_the_published_order(name):
    assert list(get_network(name, 3, 2).state_dict()) == KEYS[name]


class Plain(nn.Module):
    """A ConvNet spelled out layer by layer: `features`, then a flat linear `classifier`."""

    def __init__(self, layers, width):
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 10)

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def plain_convnet(channel, norm, pool, first_padding):
    layers, previous = [], channel
    for block in range(3):
        layers.append(nn.Conv2d(previous, 128, kernel_size=3, padding=first_padding if block == 0 else 1))
        layers += norm() + [nn.ReLU()] + pool()
        previous = 128
    return Plain(layers, 2048 if pool() else 131_072)


def instance():
    return [nn.GroupNorm(128, 128, affine=True)]


def batch():
    return [nn.BatchNorm2d(128)]


def average():
    return [nn.AvgPool2d(kernel_size=2, stride=2)]


PLAIN = {"ConvNet": (instance, average), "ConvNetBN": (batch, average), "ConvNetNN": (list, average),
         "ConvNetNP": (instance, list), "ConvNetMP": (instance, lambda: [nn.MaxPool2d(2)])}


@pytest.mark.parametrize("channel, side, padding", [(3, 32, 1), (1, 28, 3), (1, 32, 1)])
@pytest.mark.parametrize("name", PLAIN)
def test_weights_of_a_plain_sequential_load_and_give_equal_logits(name, channel, side, padding):
    torch.manual_seed(0)
    theirs = plain_convnet(channel, *PLAIN[name], padding)
    ours = get_network(name, channel, 10, (side, side))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(4, channel, side, side)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-6)              # batch norm by the batch
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-6)


def test_resnet_head_is_the_published_window_of_four_to_the_bit():
    net = get_network("ResNet18", 1, 10, 28).eval()
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        maps = torch.relu(net.bn1(net.conv1(images)))
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            maps = layer(maps)
        assert maps.shape == (2, 512, 4, 4)
        assert torch.equal(net.embed(images), nn.functional.avg_pool2d(maps, 4).flatten(1))


@pytest.mark.parametrize("name, skip", [("AlexNet", 1), ("AlexNetBN", 1), ("VGG11", 1), ("LeNet", 1)])
def test_adapting_to_other_sizes_leaves_known_sizes_untouched(name, skip):
    for channel, side in ((1, 28), (3, 32)):
        net = get_network(name, channel, 10, side).eval()
        images = torch.randn(2, channel, side, side)
        with torch.no_grad():
            assert torch.equal(net.features(images), net.features[:-skip](images))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("ConvNet")])
def test_blocks_name_the_layers_of_each_block(name):
    with torch.device("meta"):
        net = NETWORKS[name](3, 10, im_size=256)
    order = [layer for block in net.blocks for layer in block if layer is not None]
    assert len(order) == len(net.features)
    assert all(mine is layer for mine, layer in zip(order, net.features, strict=True))
    for conv, norm, act, pool in net.blocks:
        assert isinstance(conv, nn.Conv2d) and act is not None
        assert (norm is None) == (name in ("ConvNetNN", "ConvNetKIP"))
        assert (pool is None) == (name == "ConvNetNP")


@pytest.mark.parametrize("name, activation", [
    ("ConvNetAS", torch.sigmoid), ("ConvNetAR", torch.relu),
    ("ConvNetASwish", lambda x: x * torch.sigmoid(x)),
    ("ConvNetAL", lambda x: torch.where(x > 0, x, 0.01 * x))])
def test_activations_are_what_their_names_say(name, activation):
    x = torch.linspace(-4, 4, 101)
    act = NETWORKS[name](3, 10, net_depth=1).blocks[0][2]
    assert torch.allclose(act(x.clone()), activation(x))


@pytest.mark.parametrize("wrong, nearest", [
    ({"net_act": "Relu"}, "relu"), ({"net_norm": "batch_norm"}, "batchnorm"),
    ({"net_pooling": "avgpool"}, "avgpooling")])
def test_wrong_strings_suggest_the_nearest(wrong, nearest):
    right = {"net_act": "relu", "net_norm": "instancenorm", "net_pooling": "avgpooling"}
    with pytest.raises(ValueError, match=f"did you mean {nearest}"):
        ConvNet(3, 10, 16, 2, **{**right, **wrong})


def test_convnet_takes_the_reference_arguments_by_position():
    net = ConvNet(1, 10, 16, 2, "relu", "groupnorm", "maxpooling", (28, 28))
    assert net.features[0].padding == (3, 3) and net.classifier.in_features == 16 * 8 * 8
    with pytest.raises(ValueError, match="net_depth"):
        ConvNet(1, 10, 16, 0, "relu", "none", "none")


@pytest.mark.parametrize("name, usual, mnist", [("ConvNet", 1, 3), ("AlexNet", 2, 4), ("LeNet", 0, 2),
                                                ("VGG11", 1, 3)])
def test_only_28x28_with_one_channel_gets_the_wide_first_padding(name, usual, mnist):
    sizes = {(1, 28): mnist, (1, 32): usual, (3, 32): usual, (1, 64): usual, (3, 64): usual}
    for (channel, side), padding in sizes.items():
        with torch.device("meta"):
            assert NETWORKS[name](channel, 10, im_size=side).features[0].padding == (padding, padding)
