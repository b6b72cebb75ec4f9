"""Files that were written before `meta` had `views` and `decoded` are read to the same numbers.

Those in tests/fixtures are sets of Digits, condensed with a network of one block, and an expert of 32 channels and
three blocks; seed 0. The numbers here are what the version that wrote them read from them itself.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from condense.experts.trajectories import open_experts
from condense.networks import get_network
from condense.run.results import load_result
from condense.sharing.layouts import read_set
from condense.sharing.loading import load_synthetic_set
from condense.synthetic import restore_synthetic

FIXTURES = Path(__file__).parent / "fixtures"
LOW_RANK = FIXTURES / "low_rank/res_DM_Digits_ConvNetD1_1ipc.pt"
MOSAICS = FIXTURES / "mosaics/res_IDC_Digits_ConvNetD1_1ipc.pt"
RESTYLED = FIXTURES / "restyled/res_DM_Digits_ConvNetD1_3ipc.pt"
STEPS = FIXTURES / "steps/res_DD_Digits_ConvNetD1_1ipc.pt"
EXPORT = FIXTURES / "restyled.safetensors"

# images, mean, mean magnitude, three pixels of the fourth image
READ = {
    LOW_RANK: (20, 0.041423, 0.818184, (-0.84862, -0.67687, -0.80073)),
    MOSAICS: (40, 0.008153, 0.625549, (-0.81181, -0.29507, 0.73842)),
    RESTYLED: (40, 0.264627, 0.641803, (0.13006, 1.20041, 0.69060)),
    STEPS: (10, -0.020053, 0.823815, (0.09151, 2.74369, 1.18748)),
    EXPORT: (40, 0.264627, 0.641803, (0.13006, 1.20041, 0.69060)),
}


@pytest.mark.parametrize("path", READ, ids=lambda path: path.parent.name + path.suffix)
def test_images_are_those_that_the_version_before_read(path):
    number, mean, magnitude, pixels = READ[path]
    loaded = load_synthetic_set(path)
    images = loaded.images
    assert images.shape == (number, 1, 8, 8) and images.dtype == torch.float32
    assert images.double().mean().item() == pytest.approx(mean, abs=1e-5)
    assert images.double().abs().mean().item() == pytest.approx(magnitude, abs=1e-5)
    assert images[3, 0, 2, :3].tolist() == pytest.approx(pixels, abs=1e-4)
    assert torch.equal(loaded.labels, torch.arange(10).repeat_interleave(number // 10))
    assert (loaded.mean, loaded.std) == (pytest.approx((0.3053919438081213,)), pytest.approx((0.3753377060628042,)))


@pytest.mark.parametrize("path, views, decoded", [(LOW_RANK, 1, 1), (MOSAICS, 1, 2), (RESTYLED, 2, 1), (STEPS, 1, 1),
                                                  (EXPORT, 2, 1)], ids=lambda value: getattr(value, "stem", value))
def test_views_and_factors_that_meta_does_not_state_are_known_from_the_options(path, views, decoded):
    file = read_set(path)
    assert not {"views", "decoded"} & (file.meta or {}).keys()
    assert (file.views, file.decoded, file.decode) == (views, decoded, 1)
    assert file.scored_by()["views"] == views and load_synthetic_set(path).views == views


def test_factors_are_read_and_decode_to_the_images_beside_them():
    result = load_result(LOW_RANK)
    (factors,), ((images, labels),) = result["factors"], result["data"]
    assert factors["a"].double().sum().item() == pytest.approx(-123.33708924, abs=1e-6)
    assert factors["b"].double().sum().item() == pytest.approx(-21.54259113, abs=1e-6)
    decoded, its_labels = restore_synthetic(factors).snapshot()
    torch.testing.assert_close(decoded, images)
    assert torch.equal(its_labels, labels)
    assert result["accs_all_exps"] == {"ConvNetD1": [0.45682451128959656]}
    assert result["meta"]["storage"] == {"floats": 640, "bytes": 2560, "budget_floats": 640, "budget_bytes": 2560}


def test_learned_steps_are_read():
    loaded = load_synthetic_set(STEPS)
    assert loaded.lr == pytest.approx(0.01980295404791832)
    assert loaded.steps.sizes == pytest.approx((0.01980295404791832,) * 2)
    assert [rows.tolist() for rows in loaded.steps.rows] == [list(range(10))]


def test_an_export_says_where_it_comes_from():
    file = read_set(EXPORT)
    assert (file.layout, file.space, file.method, file.dataset, file.ipc) == ("safetensors", "normalised", "DM",
                                                                              "Digits", 3)
    assert file.accuracies == {"ConvNetD1": [0.470752090215683]}
    assert file.scored_by()["protocols"]["ConvNetD1"]["strategy"] == "color_crop_cutout_scale_rotate"


def test_experts_are_read(digits, tmp_path):
    shutil.copytree(FIXTURES / "buffers", tmp_path / "buffers")
    net = get_network("ConvNetW32", *digits.spec)
    experts = open_experts(tmp_path / "buffers", net, digits, "ConvNetW32", needs=(1, 2))
    assert len(experts) == 1 and (experts.first_epoch, experts.last_epoch) == (1, 2)
    first, last = experts.segment(0, 1, 2)
    assert first.shape == last.shape == (19338,) and first.dtype == torch.float32
    assert first.double().sum().item() == pytest.approx(93.01164841651917)
    assert last.double().sum().item() == pytest.approx(93.02882444858551)
    listed = json.loads((tmp_path / "buffers/Digits/ConvNetW32/buffer.json").read_text())
    assert experts.source["test_accuracy"]["mean"] == listed["experts"][0]["test_accuracy"]["2"] == 0.11699164658784866
