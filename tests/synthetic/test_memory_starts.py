"""Addressable memory: the values that both tables start from."""

import math

import pytest
import torch
import torch.nn.functional as F

from condense.data import RealData
from condense.synthetic import Pixels, build_synthetic
from condense.synthetic.memory import AddressableMemory
from condense.synthetic.principal_images import principal_images
from tests.synthetic.memory_sets import random_memory, seeded


def tiny_real(counts=(9, 7, 8), im_size=(4, 6)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), 3, *im_size), generator=seeded(), dtype=torch.uint8)
    return RealData("tiny", images, labels, images, labels, ["ape", "bee", "cat"][:len(counts)])


def enlarging(channel, small, scale):
    """The matrix (d, d s^2) that enlarges flattened images of `small` sides, row by row what becomes of one pixel."""
    units = torch.eye(channel * small[0] * small[1], dtype=torch.float64).view(-1, channel, *small)
    return F.interpolate(units, scale_factor=scale, mode="bilinear", align_corners=False).flatten(1)


def test_noise_start_is_xavier_uniform_as_published():
    memory = AddressableMemory(10, 1, 3, (32, 32)).init_from(None, "noise", seeded())
    assert memory.counts == [115] * 10
    for table, sides in ((memory.bases, 16 + 768), (memory.coefficients, 1150 + 16)):
        bound = math.sqrt(6 / sides)
        assert bound * 0.99 < table.abs().max() <= bound and abs(table.mean()) < 0.02 * bound
        assert table.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert memory.images().std().item() == pytest.approx(0.0084 * 0.625, rel=0.1)  # enlarging evens out: (.75²+.25²)²


@pytest.mark.parametrize("how", AddressableMemory.INITS)
def test_start_depends_on_the_generator_alone(digits, how):
    before = torch.get_rng_state()
    one, two, other = (AddressableMemory(10, 1, 1, (8, 8)).init_from(digits, how, seeded(s)).images()
                       for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize("scale, im_size", [(1, (4, 6)), (2, (4, 6)), (3, (6, 6)), (2, (8, 2))])
@pytest.mark.parametrize("n_basis", [1, 3, 10])
def test_real_start_is_the_nearest_set_that_so_many_bases_can_show(scale, im_size, n_basis):
    """What is left out is the smallest possible: compared with a pseudoinverse and a dense SVD."""
    real = tiny_real(im_size=im_size)
    memory = AddressableMemory(3, 1, 3, im_size, n_basis, scale, num_per_class=5).init_from(real, "real", seeded())
    rows = Pixels(3, 5, 3, im_size).init_from(real, "real", seeded()).images().detach().double().flatten(1)
    enlarge = enlarging(3, [side // scale for side in im_size], scale)
    shown = rows @ torch.linalg.pinv(enlarge) @ enlarge
    left_out = torch.linalg.svdvals(shown)[n_basis:].square().sum() + (rows - shown).square().sum()
    error = (memory.images().double().flatten(1) - rows).square().sum()
    torch.testing.assert_close(error, left_out, rtol=1e-4, atol=1e-6)


def test_real_start_shares_the_singular_values_out_half_to_each_side():
    real = tiny_real()
    images, coefficients = principal_images(real.sample(real.classes, 6, seeded()), 4, 2)
    gram = coefficients.T @ coefficients
    enlarged = images.flatten(1) @ enlarging(3, (2, 3), 2)
    torch.testing.assert_close(enlarged @ enlarged.T, gram)
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()))
    assert (gram.diagonal().diff() < 0).all() and gram.diagonal().min() > 0


@pytest.mark.parametrize("number", [4, 30])                # fewer images than pixels, and more
def test_real_start_with_a_base_for_every_pixel_reproduces_the_images(number):
    real = tiny_real((30, 30, 30), (2, 3))
    memory = AddressableMemory(3, 1, 3, (2, 3), 18, 1, number).init_from(real, "real", seeded())
    pixels = Pixels(3, number, 3, (2, 3)).init_from(real, "real", seeded())
    assert (memory.images() - pixels.images()).abs().max() < 1e-5
    assert torch.equal(memory.labels, pixels.labels)


def test_bases_that_the_images_do_not_need_are_images_of_theirs_and_can_be_learned():
    real = tiny_real()
    memory = AddressableMemory(3, 1, 3, (4, 6), 20, 2, num_per_class=2).init_from(real, "real", seeded())
    used = memory.coefficients.abs().amax(0) > 0
    assert used.tolist() == [True] * 6 + [False] * 14      # six images need six bases
    memory.images().square().sum().backward()
    assert memory.coefficients.grad.abs().amax(0).min() > 0.01                   # of all, those not used yet included


def test_real_start_reads_the_batch_in_parts_without_a_difference(monkeypatch):
    batch = tiny_real().sample([0, 1, 2], 7, seeded())
    whole = principal_images(batch, 5, 2)
    monkeypatch.setattr("condense.synthetic.principal_images.READ", 4)           # 4 does not divide 21
    for ours, expected in zip(principal_images(batch, 5, 2), whole):
        assert torch.equal(ours, expected)


def test_real_start_of_black_images_is_black():
    black = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    labels = torch.arange(2).repeat_interleave(3)
    real = RealData("black", black, labels, black, labels, ["a", "b"], [0.0], [1.0])
    memory = AddressableMemory(2, 1, 1, (4, 4), 2, 2, num_per_class=3).init_from(real, "real", seeded())
    assert torch.equal(memory.images(), torch.zeros(6, 1, 4, 4))


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match="unknown start 'nois'; did you mean noise"):
        random_memory().init_from(None, "nois", seeded())


def test_more_images_than_a_class_has_are_refused_for_a_real_start_only():
    real = tiny_real()
    with pytest.raises(ValueError, match="needs 30 images of every class, but class 'bee' has 7.*--init noise"):
        build_synthetic("memory", real, 1, "real", seeded(), n_basis=2)
    assert len(build_synthetic("memory", real, 1, "noise", seeded(), n_basis=2).images()) == 90
