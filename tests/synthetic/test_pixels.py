"""Pixels: layout, initialisation, the contract of a synthetic set, and what building one refuses."""

import pytest
import torch

from condense.data import RealData
from condense.synthetic import PARAMETERIZATIONS, build_synthetic


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny_real(counts=(5, 2, 4)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), 3, 4, 6), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, ["ape", "bee", "cat"][:len(counts)])


@pytest.mark.parametrize("init", ["noise", "real"])
@pytest.mark.parametrize("ipc", [1, 3])
def test_images_are_class_major_float32_parameters(digits, ipc, init):
    synthetic = build_synthetic("pixels", digits, ipc, init, seeded())
    assert synthetic.images().shape == (10 * ipc, 1, 8, 8) and synthetic.images().dtype == torch.float32
    assert synthetic.labels.tolist() == [c for c in range(10) for _ in range(ipc)]
    assert synthetic.counts == [ipc] * 10
    for c in range(10):
        assert synthetic.labels[synthetic.class_slice(c)].tolist() == [c] * ipc
    assert [name for name, _ in synthetic.named_parameters()] == ["pixels"]


def test_real_start_takes_distinct_images_of_the_own_class(digits):
    synthetic = build_synthetic("pixels", digits, 5, "real", seeded())
    for c in range(10):
        own = digits.normalise(digits.images[digits.indices_of(c)]).flatten(1)
        chosen = synthetic.images()[synthetic.class_slice(c)].flatten(1)
        sources = [(own == image).all(1).nonzero().flatten().tolist() for image in chosen]
        assert all(sources) and len({source[0] for source in sources}) == 5


def test_noise_start_is_standard_normal(digits):
    pixels = build_synthetic("pixels", digits, 50, "noise", seeded()).images()
    assert abs(pixels.mean()) < 5 / pixels.numel() ** 0.5
    assert pixels.std().item() == pytest.approx(1, abs=5 / (2 * pixels.numel()) ** 0.5)
    assert (pixels.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.01)


@pytest.mark.parametrize("init", ["noise", "real"])
def test_start_depends_on_the_generator_alone(digits, init):
    before = torch.get_rng_state()
    one, two, other = (build_synthetic("pixels", digits, 2, init, seeded(s)).images() for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_picked_images_carry_the_gradient_to_their_own_pixels_only(digits):
    synthetic = build_synthetic("pixels", digits, 2, "noise", seeded())
    synthetic.images(torch.tensor([3, 7])).sum().backward()
    expected = torch.zeros(20)
    expected[[3, 7]] = 64
    assert torch.equal(synthetic.pixels.grad.sum((1, 2, 3)), expected)
    assert torch.equal(synthetic.images(slice(4, 6)), synthetic.images()[4:6])


def test_parameter_groups_hold_every_parameter_with_its_rates(digits):
    synthetic = build_synthetic("pixels", digits, 1, "noise", seeded())
    group, = synthetic.param_groups(0.3, momentum=0.5)
    assert group["name"] == "pixels" and group["params"][0] is synthetic.pixels
    optimizer = torch.optim.SGD([group])
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.3, 0.5)


def test_pixels_have_no_loss_and_no_step_of_their_own(digits):
    synthetic = build_synthetic("pixels", digits, 1, "noise", seeded())
    before = synthetic.images().detach().clone()
    assert synthetic.extra_loss(None, seeded()) == 0
    synthetic.after_step(None, seeded(), end=True)
    assert torch.equal(synthetic.images(), before)


@pytest.mark.parametrize("ipc", [1, 7])
def test_storage_is_exactly_the_budget(digits, ipc):
    storage = build_synthetic("pixels", digits, ipc, "noise", seeded()).storage()
    floats = 10 * ipc * 64
    assert storage["floats"] == storage["budget_floats"] == floats
    assert storage["bytes"] == storage["budget_bytes"] == 4 * floats


def test_snapshot_is_a_detached_copy(digits):
    synthetic = build_synthetic("pixels", digits, 1, "real", seeded())
    images, labels = synthetic.snapshot()
    kept = images.clone()
    with torch.no_grad():
        synthetic.pixels.add_(1)
    assert torch.equal(images, kept) and not images.requires_grad and images.dtype == torch.float32
    assert labels.dtype == torch.int64 and labels.data_ptr() != synthetic.labels.data_ptr()


def test_state_dict_restores_the_set(digits):
    one, two = (build_synthetic("pixels", digits, 2, "noise", seeded(s)) for s in (0, 1))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.images(), two.images())


def test_images_that_are_not_square_keep_their_shape():
    assert build_synthetic("pixels", tiny_real(), 2, "real", seeded()).images().shape == (6, 3, 4, 6)


def test_more_images_than_a_class_has_are_refused_for_a_real_start_only():
    with pytest.raises(ValueError, match="--ipc 3 .*class 'bee' has 2; use --ipc 2 or less, or --init noise"):
        build_synthetic("pixels", tiny_real(), 3, "real", seeded())
    assert len(build_synthetic("pixels", tiny_real(), 3, "noise", seeded()).images()) == 9


def test_what_cannot_be_built_is_refused_in_one_line(digits):
    with pytest.raises(ValueError, match="parameterization 'pixel'.*did you mean pixels"):
        build_synthetic("pixel", digits, 1, "noise", seeded())
    with pytest.raises(ValueError, match="--ipc must be 1 or larger, not 0"):
        build_synthetic("pixels", digits, 0, "noise", seeded())
    with pytest.raises(ValueError, match="unknown start 'reel'; did you mean real"):
        build_synthetic("pixels", digits, 1, "reel", seeded())


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_every_parameterization_keeps_the_contract(name, digits):
    short = {"warmup_steps": 20} if "warmup_steps" in PARAMETERIZATIONS[name].OPTIONS else {}
    synthetic = build_synthetic(name, digits, 2, "real", seeded(), **short)
    images = synthetic.images()
    assert images.shape[1:] == (1, 8, 8) and len(images) == len(synthetic.labels) == sum(synthetic.counts)
    images.sum().backward()
    assert all(parameter.grad is not None for parameter in synthetic.parameters())
    assert synthetic.storage()["floats"] <= synthetic.storage()["budget_floats"]
