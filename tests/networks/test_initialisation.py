"""`reset` draws what PyTorch would, in place, from the generator it is given."""

import copy

import pytest
import torch
from torch import nn

from condense.networks import NETWORKS, get_network, reset

SOME = ["MLP", "LeNet", "AlexNetBN", "VGG11BN", "ResNet18BN_AP", "ConvNet", "ConvNetLN", "ConvNetGN",
        "ConvNetNP", "DenseNet"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same(one, two):
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def drawn_tensors(net):
    """Yield (tensor, bound) of every weight and bias of `net` that is random."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            linear = isinstance(layer, nn.Linear)
            fan_in = layer.in_features if linear else layer.in_channels * layer.kernel_size[0] ** 2
            for tensor in filter(lambda t: t is not None, (layer.weight, layer.bias)):
                yield tensor.detach(), fan_in**-0.5


@pytest.mark.parametrize("name", SOME)
def test_draws_are_uniform_within_one_over_root_fan_in(name):
    for tensor, bound in drawn_tensors(get_network(name, 3, 10, rng=seeded())):
        assert tensor.abs().max() <= bound
        if tensor.numel() > 1000:
            assert tensor.abs().max() > 0.98 * bound
            assert abs(tensor.mean()) < 5 * bound / (3 * tensor.numel()) ** 0.5
            assert tensor.std() == pytest.approx(bound / 3**0.5, rel=5 / tensor.numel() ** 0.5)


@pytest.mark.parametrize("name", ["MLP", "AlexNetBN", "ResNet18BN_AP", "ConvNetLN"])
def test_spread_of_every_tensor_equals_that_of_a_fresh_module(name):
    torch.manual_seed(0)
    framework, ours = NETWORKS[name](3, 10), get_network(name, 3, 10, rng=seeded())
    for (key, theirs), mine in zip(framework.state_dict().items(), ours.state_dict().values(), strict=True):
        if theirs.numel() >= 64 and theirs.is_floating_point():
            assert mine.std().item() == pytest.approx(theirs.std().item(), rel=6 / theirs.numel() ** 0.5), key
        elif not theirs.is_floating_point():
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", [*SOME, "ResNet10"])
def test_reset_keeps_storage_and_flags_and_undoes_training(name):
    net = get_network(name, 3, 10, rng=seeded(1))
    first = copy.deepcopy(net)
    pointers = [tensor.data_ptr() for tensor in net.state_dict().values()]
    net(torch.randn(4, 3, 32, 32)).sum().backward()                      # moves running statistics
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(float("nan"))
    assert reset(net, seeded(1)) is net
    assert same(net, first)
    assert [tensor.data_ptr() for tensor in net.state_dict().values()] == pointers
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_reset_restores_batch_norm_statistics():
    net = get_network("ConvNetBN", 3, 10)
    for _ in range(2):
        net(3 + torch.randn(4, 3, 32, 32))
    norm = net.blocks[0][1]
    assert norm.num_batches_tracked == 2 and norm.running_mean.abs().sum() > 0
    reset(net)
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(128)) and torch.equal(norm.running_var, torch.ones(128))


@pytest.mark.parametrize("name", ["MLP", "ConvNet", "ResNet18BN", "ResNetAP10"])
def test_a_generator_leaves_the_global_one_alone_and_decides_everything(name):
    before = torch.get_rng_state()
    one = get_network(name, 3, 10, rng=seeded(5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert same(one, get_network(name, 3, 10, rng=seeded(5)))
    assert not same(one, get_network(name, 3, 10, rng=seeded(6)))
    generator = seeded(5)
    get_network(name, 3, 10, rng=generator)
    assert not same(one, reset(copy.deepcopy(one), generator))           # the next draw is another network


def test_without_a_generator_the_global_one_decides():
    torch.manual_seed(3)
    one = get_network("ConvNet", 3, 10)
    two = get_network("ConvNet", 3, 10)
    torch.manual_seed(3)
    assert same(one, get_network("ConvNet", 3, 10)) and not same(one, two)


def test_values_are_the_same_whatever_the_memory_layout():
    plain = reset(get_network("ConvNet", 3, 10), seeded(2))
    last = get_network("ConvNet", 3, 10).to(memory_format=torch.channels_last)
    reset(last, seeded(2))
    assert same(plain, last)
    assert last.features[4].weight.is_contiguous(memory_format=torch.channels_last)


def test_plain_loops_draw_what_fused_operations_draw(monkeypatch):
    fused = reset(get_network("ConvNetBN", 3, 10), seeded(4))
    for name in ("_foreach_copy_", "_foreach_mul_", "_foreach_add_", "_foreach_zero_"):
        monkeypatch.delattr(torch, name)
    assert same(fused, reset(get_network("ConvNetBN", 3, 10), seeded(4)))


def test_copies_wrappers_and_replaced_layers_are_reset_too():
    net = reset(get_network("ConvNet", 3, 10), seeded(7))
    twin = copy.deepcopy(net)
    wrapped = nn.Sequential(nn.Identity(), nn.DataParallel(get_network("ConvNet", 3, 10)))
    reset(wrapped, seeded(7))
    assert same(net, wrapped[1].module)
    reset(twin, seeded(8))
    assert not same(net, twin)
    net.classifier = nn.Linear(2048, 3)
    head = net.classifier.weight.clone()
    reset(net, seeded(9))
    assert not torch.equal(net.classifier.weight, head)


def test_frozen_and_double_precision_networks_are_reset():
    net = get_network("ConvNet", 3, 10).double().requires_grad_(False)
    old = net.classifier.weight.clone()
    reset(net, seeded(1))
    assert net.classifier.weight.dtype == torch.float64 and not torch.equal(net.classifier.weight, old)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_half_precision_is_rounded_from_the_single_precision_draw():
    half, single = get_network("MLP", 1, 10, 28).bfloat16(), get_network("MLP", 1, 10, 28)
    reset(half, seeded(1)), reset(single, seeded(1))
    assert torch.equal(half.fc_1.weight, single.fc_1.weight.bfloat16())


def test_a_layer_of_unknown_distribution_is_refused():
    with pytest.raises(TypeError, match="Embedding"):
        reset(nn.Sequential(nn.Linear(2, 2), nn.Embedding(3, 2)))


# He's distribution, which the ResNets of ten layers start from

def he_convolutions(net):
    """Yield (weight, std) of every convolution of `net`."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            yield layer.weight.detach(), (2 / (layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels)) ** 0.5


@pytest.mark.parametrize("name", ["ResNetAP10", "ResNet10"])
@pytest.mark.parametrize("built", ["reset", "constructed"])
def test_convolutions_of_the_ten_layer_resnets_are_normal_by_their_fan_out(name, built):
    torch.manual_seed(0)
    net = get_network(name, 3, 10, rng=seeded()) if built == "reset" else NETWORKS[name](3, 10)
    for weight, std in he_convolutions(net):
        normal = weight.flatten() / std
        assert abs(normal.mean()) < 5 / normal.numel() ** 0.5
        assert normal.std().item() == pytest.approx(1, abs=4 / normal.numel() ** 0.5)
        if normal.numel() > 10_000:                        # a uniform draw would reach no further than 1.74
            assert (normal.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.01)
    bound = net.classifier.in_features ** -0.5
    assert 0.98 * bound < net.classifier.weight.abs().max() <= bound and net.classifier.bias.any()


def test_xavier_takes_the_place_of_he_where_it_is_asked_for():
    net = reset(get_network("ResNet10", 3, 10), seeded(), "xavier")
    weight = net.layer4.conv2.weight                       # (256, 256, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)


# Xavier's distribution, which Dataset Distillation starts from

def xavier_tensors(net):
    """Yield (weight, bias, std) of every layer of `net` that is drawn."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            linear = isinstance(layer, nn.Linear)
            area = 1 if linear else layer.kernel_size[0] * layer.kernel_size[1]
            ends = (layer.in_features, layer.out_features) if linear else (layer.in_channels, layer.out_channels)
            yield layer.weight.detach(), layer.bias, (2 / (area * sum(ends))) ** 0.5


@pytest.mark.parametrize("name", ["MLP", "LeNet", "AlexCifarNet", "AlexNetBN"])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier_draws_normal_weights_of_the_variance_of_both_fans_and_no_biases(name, gain):
    net = get_network(name, 3, 10, rng=seeded(1))
    reset(net, seeded(), "xavier", gain)
    for weight, bias, std in xavier_tensors(net):
        assert bias is None or not bias.any()
        normal = weight.flatten() / (gain * std)
        assert abs(normal.mean()) < 5 / normal.numel() ** 0.5
        assert normal.std().item() == pytest.approx(1, abs=4 / normal.numel() ** 0.5)
        if normal.numel() > 10_000:                        # a uniform draw would reach no further than 1.74
            assert (normal.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.01)


def test_xavier_spread_is_pytorchs_own():
    net, plain = get_network("LeNet", 1, 10, (28, 28), seeded()), get_network("LeNet", 1, 10, (28, 28), seeded())
    reset(net, seeded(), "xavier", 3.0)
    for (weight, _, _), layer in zip(xavier_tensors(net), [m for m in plain.modules() if hasattr(m, "weight")]):
        nn.init.xavier_normal_(layer.weight, 3.0, generator=seeded(2))
        assert weight.std().item() == pytest.approx(layer.weight.std().item(), rel=6 / weight.numel() ** 0.5)


def test_xavier_leaves_norms_as_they_always_start_and_repeats_its_draws():
    one, other = (reset(get_network("ConvNet", 3, 10), seeded(4), "xavier") for _ in range(2))
    assert same(one, other)
    norms = [layer for layer in one.modules() if isinstance(layer, nn.GroupNorm)]
    assert norms and all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)
    assert not same(one, reset(get_network("ConvNet", 3, 10), seeded(4)))


def test_an_unknown_initialisation_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="unknown initialisation of networks 'xaver'.*xavier"):
        reset(get_network("MLP", 1, 10), seeded(), "xaver")
