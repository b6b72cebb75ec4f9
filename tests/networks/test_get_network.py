"""What every name promises: its parameters, its features, the sizes it takes and how it says no."""

import copy

import pytest
import torch

from condense.networks import NETWORKS, get_network

STANDARD = ("ConvNet ConvNetD3 ConvNetW128 ConvNetAR ConvNetIN ConvNetAP "
            "ConvNetAS ConvNetAL ConvNetASwish ConvNetASwishBN ConvNetBN ConvNetGN ConvNetMP").split()
# name: parameters for 3x32x32 and 10 classes, 1x28x28 and 10, 3x32x32 and 100, 3x64x64 and 200
COUNTS = {
    "MLP": (411_146, 118_282, 422_756, None),
    "LeNet": (62_006, 61_706, 69_656, None),
    "AlexNet": (1_872_202, 1_865_802, 2_148_772, None),
    "AlexNetBN": (1_874_122, 1_867_722, 2_150_692, None),
    "AlexCifarNet": (1_756_426, 1_753_226, 1_773_796, None),
    "VGG11": (9_231_114, 9_229_962, 9_277_284, None),
    "VGG11BN": (9_231_114, 9_229_962, 9_277_284, None),
    "ResNet18": (11_173_962, 11_172_810, 11_220_132, None),
    "ResNet18BN": (11_173_962, 11_172_810, 11_220_132, None),
    "ResNet18_AP": (11_250_762, 11_213_770, 11_988_132, None),
    "ResNet18BN_AP": (11_250_762, 11_213_770, 11_988_132, None),
    "ResNetAP10": (4_903_242, 4_902_090, 4_949_412, 5_000_712),
    "ResNet10": (1_228_970, 1_228_394, 1_252_100, 1_277_800),
    "DenseNet": (1_000_618, 1_000_186, 1_035_268, 1_073_768),
    **dict.fromkeys(STANDARD, (320_010, 317_706, 504_420, 1_938_120)),
    "ConvNetD1": (331_530, 329_226, 3_280_740, 26_218_440),
    "ConvNetD2": (233_610, 231_306, 970_980, 6_705_480),
    "ConvNetD4": (452_490, 450_186, 498_660, 857_160),
    "ConvNetW32": (24_714, 24_138, 70_884, 429_384),
    "ConvNetW64": (86_282, 85_130, 178_532, 895_432),
    "ConvNetW256": (1_229_834, 1_225_226, 1_598_564, 4_465_864),
    "ConvNetNN": (319_242, 316_938, 503_652, 1_937_352),
    "ConvNetLN": (663_306, 661_002, 847_716, 3_313_608),
    "ConvNetNP": (1_610_250, 1_607_946, 13_406_820, 105_157_320),
}
CELLS = ((3, 10, 32), (1, 10, 28), (3, 100, 32), (3, 200, 64))
# features at 3x32x32 and at 1x28x28
EMBED = {
    "MLP": (128, 128), "LeNet": (84, 84), "AlexNet": (3072, 3072), "AlexNetBN": (3072, 3072),
    "AlexCifarNet": (192, 192),
    "VGG11": (512, 512), "VGG11BN": (512, 512), "ResNet18": (512, 512), "ResNet18BN": (512, 512),
    "ResNet18_AP": (8192, 4608), "ResNet18BN_AP": (8192, 4608),
    "ResNetAP10": (512, 512), "ResNet10": (256, 256), "DenseNet": (384, 384),
    **dict.fromkeys([*STANDARD, "ConvNetNN", "ConvNetLN"], (2048, 2048)),
    "ConvNetD1": (32_768,) * 2, "ConvNetD2": (8192,) * 2, "ConvNetD4": (512,) * 2, "ConvNetD5": (128,) * 2,
    "ConvNetW32": (512,) * 2, "ConvNetW64": (1024,) * 2, "ConvNetW256": (4096,) * 2,
    "ConvNetW512": (8192,) * 2,
    "ConvNetW1024": (16_384,) * 2, "ConvNetKIP": (16_384,) * 2, "ConvNetNP": (131_072,) * 2,
}
SIZES = ((1, (8, 8)), (3, (16, 16)), (1, (28, 28)), (1, (32, 32)), (3, (32, 32)), (3, (48, 40)),
         (3, (64, 64)))
HEAVY = {"ConvNetW512", "ConvNetW1024", "ConvNetKIP", "ConvNetD6", "ConvNetD7", "ConvNetD8"}
LIGHT = [name for name in NETWORKS if name not in HEAVY]
# the pairs of SIZES that are refused; all others must work
REFUSED = {
    "LeNet": {8},
    **dict.fromkeys(("VGG11", "VGG11BN"), {8, 16}),
    **dict.fromkeys(("ResNet18", "ResNet18_AP", "ResNetAP10"), {8}),
    "ConvNetD4": {8}, "ConvNetD5": {8, 16},
}


def on_meta(name, channel, num_classes, im_size):
    with torch.device("meta"):                        # parameters have shapes but no memory
        return NETWORKS[name](channel, num_classes, im_size=im_size)


def assert_tells_images_apart(name, channel, size, rng):
    net = get_network(name, channel, 10, size, rng)
    images = torch.randn(2, channel, *size, generator=rng)
    with torch.no_grad():
        for mode in (net.train(), net.eval()):
            features = mode.embed(images)
            assert features.isfinite().all()
            assert (features[0] - features[1]).abs().max() > 1e-6 * features.abs().max()


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_reference(name):
    for (channel, num_classes, side), expected in zip(CELLS, COUNTS[name], strict=True):
        if expected is not None:
            net = on_meta(name, channel, num_classes, (side, side))
            assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("name", EMBED)
def test_embed_width_is_that_of_the_reference(name):
    for (channel, side), width in zip(((3, 32), (1, 28)), EMBED[name], strict=True):
        assert on_meta(name, channel, 10, side).classifier.in_features == width


@pytest.mark.parametrize("name", LIGHT)
def test_logits_are_the_classifier_of_the_embedding(name):
    net = get_network(name, 3, 7, rng=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(2, 3, 32, 32)
    logits = net(images)
    assert logits.shape == (2, 7)
    assert torch.equal(logits, net.classifier(net.embed(images)))


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_wide_and_deep_networks_give_logits(name):
    side = {"6": 64, "7": 128, "8": 256}.get(name[-1]) if "D" in name else 32
    net = on_meta(name, 3, 7, side)
    assert net(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("channel, size", SIZES)
def test_every_accepted_network_tells_two_images_apart(channel, size):
    rng = torch.Generator().manual_seed(0)
    for name in LIGHT:
        if min(size) in REFUSED.get(name, ()):
            with pytest.raises(ValueError, match="images of at least"):
                get_network(name, channel, 10, size, rng)
        else:
            assert_tells_images_apart(name, channel, size, rng)


@pytest.mark.parametrize("name, size", [("ConvNetD6", (64, 64)), ("ConvNetD7", (128, 128)),
                                        ("ConvNetW512", (8, 8))])
def test_deep_and_wide_networks_tell_two_images_apart(name, size):
    assert_tells_images_apart(name, 3, size, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LIGHT)
def test_smallest_size_named_by_a_refusal_works_and_one_less_does_not(name):
    try:
        get_network(name, 3, 2, 1)
    except ValueError as error:
        side = int(str(error).rsplit("x", 1)[1])
    else:
        side = 1
    if side > 1:
        with pytest.raises(ValueError, match=f"at least {side}x{side}"):
            on_meta(name, 3, 2, side - 1)
    assert_tells_images_apart(name, 3, (side, side), torch.Generator().manual_seed(0))


def test_smallest_size_for_one_channel_is_not_the_padded_28():
    with pytest.raises(ValueError, match="images of at least 32x32"):
        get_network("VGG11", 1, 10, 29)
    assert get_network("VGG11", 1, 10, 28)(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_refused_convnet_names_the_largest_depth():
    with pytest.raises(ValueError, match=r"use depth 3 or less \(ConvNetD3\), or images of at least 16x16"):
        get_network("ConvNetD4", 1, 10, (8, 8))
    get_network("ConvNetD3", 1, 10, (8, 8))


def test_instance_norm_over_two_pixels_is_refused_for_it_leaves_only_signs():
    with pytest.raises(ValueError, match="see a 2x1 map"):
        get_network("ResNet18", 3, 10, (16, 8))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean ConvNetBN"):
        get_network("ConvnetBN", 3, 10)
    with pytest.raises(ValueError, match="unknown network 'Transformer'; choose one of: MLP, ConvNet"):
        get_network("Transformer", 3, 10)


@pytest.mark.parametrize("im_size", [(32,), (0, 32), (3, 32, 32)])
def test_nonsense_sizes_are_refused(im_size):
    with pytest.raises(ValueError, match="im_size"):
        get_network("ConvNet", 3, 10, im_size)


def test_an_int_is_a_square():
    one, two = on_meta("ConvNet", 3, 10, 48), on_meta("ConvNet", 3, 10, (48, 48))
    assert one.classifier.in_features == two.classifier.in_features == 128 * 6 * 6


@pytest.mark.parametrize("name", ["MLP", "ConvNet", "LeNet", "AlexNetBN", "VGG11BN", "ResNet18BN_AP"])
def test_networks_come_in_train_mode_and_differentiable(name):
    net = get_network(name, 3, 10)
    assert net.training
    assert all(p.requires_grad and p.is_leaf and p.device.type == "cpu" for p in net.parameters())
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", ["MLP", "LeNet", "AlexNet", "VGG11", "ResNet18BN_AP"])
def test_constructors_called_directly_default_to_mnist_or_cifar_size(name):
    for channel, side in ((1, 28), (3, 32)):
        net = NETWORKS[name](channel, 10)
        assert net.eval()(torch.randn(1, channel, side, side)).shape == (1, 10)


@pytest.mark.parametrize("name", LIGHT)
def test_double_precision_and_deep_copies_work(name):
    net = get_network(name, 3, 3, rng=torch.Generator().manual_seed(1)).double().eval()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(images), net(images))
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert next(net.parameters()).abs().sum() > 0


@pytest.mark.parametrize("name", ["ConvNet", "ConvNetBN", "ConvNetLN", "ConvNetGN", "ConvNetASwish", "MLP",
                                  "LeNet", "AlexNet"])
def test_many_networks_run_stacked_under_vmap(name):
    rng = torch.Generator().manual_seed(0)
    nets = [get_network(name, 1, 4, 16, rng).double().eval() for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(nets)
    images = torch.randn(5, 1, 16, 16, dtype=torch.float64)

    def run(parameters, buffers):
        return torch.func.functional_call(nets[0], (parameters, buffers), (images,))

    def loss(parameters, buffers):
        return run(parameters, buffers).square().sum()

    alone = torch.stack([net(images) for net in nets])
    assert torch.allclose(torch.func.vmap(run)(parameters, buffers), alone)
    grads = torch.func.vmap(torch.func.grad(loss))(parameters, buffers)
    alone.square().sum().backward()
    for key, parameter in nets[2].named_parameters():
        assert torch.allclose(grads[key][2], parameter.grad)


@pytest.mark.parametrize("name", ["ConvNet", "VGG11", "ResNet18_AP", "AlexNet"])
def test_features_do_not_depend_on_the_memory_layout(name):
    net = get_network(name, 3, 10, (32, 32), torch.Generator().manual_seed(0)).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = net.embed(images)
    net = net.to(memory_format=torch.channels_last)
    assert torch.allclose(net.embed(images.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("name", ["ConvNet", "ConvNetBN", "ConvNetNN", "VGG11BN", "ResNet18_AP", "AlexNet"])
def test_gradients_of_gradients_reach_the_image(name):
    net = get_network(name, 3, 3, 32, torch.Generator().manual_seed(0))
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    grads = torch.autograd.grad(net(images).square().sum(), list(net.parameters()), create_graph=True)
    sum(grad.square().sum() for grad in grads).backward()
    assert images.grad.abs().sum() > 0
