"""Multi-formation: the form in a file, read back bit for bit or refused, and the published code's own files."""

import io

import pytest
import torch

from condense.sharing.layouts import read_set
from condense.sharing.loading import place
from condense.sharing.spaces import Spaces
from condense.synthetic import build_synthetic, restore_synthetic, stored_factors
from condense.synthetic.multi_formation import MultiFormation
from tests.synthetic.multi_formation_sets import random_mosaics, seeded, tiny_real


def reloaded(factors):
    file = io.BytesIO()
    torch.save(factors, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("how", MultiFormation.INITS)
def test_factors_through_a_file_give_the_same_images_bit_for_bit(how, factor):
    before = build_synthetic("multi_formation", tiny_real(), 2, how, seeded(), factor=factor)
    after = restore_synthetic(reloaded(stored_factors(before)))
    assert torch.equal(after.images(), before.images()) and torch.equal(after.labels, before.labels)
    assert (after.counts, after.factor, after.storage()) == (before.counts, before.factor, before.storage())


def test_soft_labels_come_back_with_the_mosaics():
    before = random_mosaics().float()
    before.own_labels.use_soft(torch.randn(24, 3, generator=seeded()))
    assert torch.equal(restore_synthetic(reloaded(stored_factors(before))).labels, before.labels)


def test_factors_are_detached_copies_of_plain_types():
    synthetic = random_mosaics()
    factors = synthetic.factors()
    assert {name: value for name, value in factors.items() if not torch.is_tensor(value)} == {
        "parameterization": "multi_formation", "ipc": 2, "factor": 2}
    assert factors["mosaics"].shape == (6, 2, 8, 6) and factors["labels"].tolist() == [0, 1, 2]
    kept = factors["mosaics"].clone()
    with torch.no_grad():
        synthetic.mosaics.add_(1)
    assert torch.equal(factors["mosaics"], kept) and not factors["mosaics"].requires_grad
    renumbered = MultiFormation.from_factors(factors | {"labels": torch.tensor([7, 2, 5])})
    assert renumbered.labels.tolist() == [7] * 8 + [2] * 8 + [5] * 8


@pytest.mark.parametrize("name", ["mosaics", "grey", "labels", "ipc", "factor"])
def test_missing_part_is_named(name):
    factors = random_mosaics().factors()
    del factors[name]
    with pytest.raises(ValueError, match=rf"^a multi-formation set without {name}; save the set again$"):
        MultiFormation.from_factors(factors)


@pytest.mark.parametrize("name, value, said", [
    ("mosaics", torch.zeros(6, 2, 8, 6, dtype=torch.float64), "mosaics of .* is torch.float64, not a tensor of "),
    ("grey", [0.0], "grey of .* is list, not a tensor of torch.float32"),
    ("ipc", 0, "ipc of .* is 0, not a whole number"), ("factor", True, "factor of .* is True, not a whole number"),
    ("ipc", 3, r"mosaics \[6, 2, 8, 6\], grey \[2, 1, 1\], labels \[3\] .* 3 mosaics per class do not fit together"),
    ("mosaics", torch.zeros(6, 2, 48), "do not fit together"), ("grey", torch.zeros(3, 1, 1), "do not fit together"),
    ("labels", torch.zeros(3, 1, dtype=torch.int64), "do not fit together"),
])
def test_part_that_does_not_fit_is_named_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        MultiFormation.from_factors(random_mosaics().factors() | {name: value})
    assert "\n" not in str(refused.value) and str(refused.value).endswith("; save the set again")


def test_factor_of_a_file_that_no_set_has_is_refused():
    with pytest.raises(ValueError, match="--factor 5 makes tiles of 8x6 images without a pixel"):
        MultiFormation.from_factors(random_mosaics().factors() | {"factor": 5})


@pytest.mark.parametrize("factor", [2, 3])
def test_published_file_holds_the_same_images_as_the_set_of_its_mosaics(tmp_path, digits, factor):
    """Raw mosaics as the published code saves them, and the same ones normalised as ours."""
    mosaics, labels = torch.rand(20, 1, 8, 8, generator=seeded()), torch.arange(10).repeat_interleave(2)
    folder = tmp_path / f"digits_factor{factor}"
    folder.mkdir()
    torch.save([mosaics, labels], folder / "data.pt")
    (theirs,) = place(read_set(folder), Spaces(lambda zca: digits)).sets
    ours = build_synthetic("multi_formation", digits, 2, "noise", seeded(1), factor=factor)
    with torch.no_grad():
        ours.mosaics.copy_(digits.normalise(255 * mosaics))
    for c in range(10):                                    # in each class tile by tile, as they are
        torch.testing.assert_close(theirs.images()[theirs.labels == c], ours.images()[ours.labels == c],
                                   rtol=1e-4, atol=1e-5)
