"""Evaluation pools name the published architectures."""

import pytest

from condense.networks import NETWORKS
from condense.training import EVAL_MODES, POOLS, eval_pool
from condense.training.pools import LARGE_MODELS, LARGE_POOLS

PUBLISHED = {
    "M": "MLP ConvNet LeNet AlexNet VGG11 ResNet18",
    "B": "ConvNetBN ConvNetASwishBN AlexNetBN VGG11BN ResNet18BN",
    "W": "ConvNetW32 ConvNetW64 ConvNetW128 ConvNetW256",
    "D": "ConvNetD1 ConvNetD2 ConvNetD3 ConvNetD4",
    "A": "ConvNetAS ConvNetAR ConvNetAL ConvNetASwish",
    "P": "ConvNetNP ConvNetMP ConvNetAP",
    "N": "ConvNetNN ConvNetBN ConvNetLN ConvNetIN ConvNetGN",
    "I": "ConvNet ResNet10 DenseNet",
}


@pytest.mark.parametrize("mode", PUBLISHED)
def test_pool_is_the_published_one_whatever_condensed(mode):
    assert list(eval_pool(mode, "ConvNet")) == PUBLISHED[mode].split()
    assert eval_pool(mode, "ResNet18BN_AP") == eval_pool(mode, "ConvNet") == eval_pool(mode, "ConvNetD4")


@pytest.mark.parametrize("model", ["ResNetAP10", "ConvNetD5", "ConvNetD8"])
def test_idc_has_other_networks_where_those_of_large_images_condensed(model):
    assert eval_pool("I", model) == ("ResNetAP10", "ResNet18BN")
    assert eval_pool("W", model) == eval_pool("W", "ConvNet") and eval_pool("SS", model) == (model,)


@pytest.mark.parametrize("model, scored", [
    ("ConvNet", "ConvNet"), ("ConvNetBN", "ConvNet"), ("ConvNetASwishBN", "ConvNetASwish"), ("MLP", "MLP"),
    ("ResNet18BN_AP", "ResNet18"), ("AlexNetBN", "AlexNet"), ("VGG11BN", "VGG11"),
    ("ConvNetD4", "ConvNetD4")])
def test_mode_s_cuts_the_name_before_batch_norm_and_ss_keeps_it(model, scored):
    assert eval_pool("S", model) == (scored,)
    assert eval_pool("SS", model) == (model,)


def test_every_scored_network_exists():
    pools = (*POOLS.values(), *LARGE_POOLS.values())
    assert {name for pool in pools for name in pool} | set(LARGE_MODELS) <= set(NETWORKS)
    assert {eval_pool("S", name)[0] for name in NETWORKS} <= set(NETWORKS)
    assert set(EVAL_MODES) == set(POOLS) | {"S", "SS"}


def test_unknown_mode_suggests_and_lists():
    with pytest.raises(ValueError, match="eval mode 'ss'.*did you mean SS.*M, B, W"):
        eval_pool("ss", "ConvNet")
    with pytest.raises(ValueError, match="choose one of: S, SS, M"):
        eval_pool("everything", "ConvNet")


def test_trajectory_matching_has_the_pool_of_its_own_code_and_a_mode_more():
    assert eval_pool("M", "ConvNet", "MTT") == ("ConvNet", "AlexNet", "VGG11", "ResNet18_AP", "ResNet18")
    assert eval_pool("C", "ConvNetD4", "MTT") == ("ConvNetD4", "ConvNet")
    assert eval_pool("C", "ConvNet", "MTT") == ("ConvNet",)
    assert eval_pool("W", "ConvNet", "MTT") == eval_pool("W", "ConvNet")


@pytest.mark.parametrize("method", ["HaBa", "LoMTT"])
def test_presets_of_trajectory_matching_have_its_pools(method):
    assert eval_pool("M", "ConvNet", method) == eval_pool("M", "ConvNet", "MTT")
    assert eval_pool("C", "ConvNetD4", method) == ("ConvNetD4", "ConvNet")
    with pytest.raises(ValueError, match="unknown eval mode"):
        eval_pool("X", "ConvNet", "MTT")
    with pytest.raises(ValueError):
        eval_pool("C", "ConvNet")
