"""Low rank: the form in a file, read back bit for bit or refused."""

import io

import pytest
import torch

from condense.synthetic import Pixels
from condense.synthetic.low_rank import LowRank
from tests.synthetic.low_rank_sets import random_set, seeded


def reloaded(factors):
    file = io.BytesIO()
    torch.save(factors, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("how", LowRank.INITS)
def test_factors_through_a_file_give_the_same_images_bit_for_bit(digits, how):
    before = LowRank(10, 3, 1, (8, 8), 3).init_from(digits, how, seeded())
    after = LowRank.from_factors(reloaded(before.factors()))
    assert torch.equal(after.images(), before.images()) and torch.equal(after.labels, before.labels)
    assert (after.counts, after.rank, after.storage()) == (before.counts, before.rank, before.storage())


def test_factors_are_detached_copies_of_plain_types():
    synthetic = random_set()
    factors = synthetic.factors()
    assert {name: value for name, value in factors.items() if not torch.is_tensor(value)} == \
        {"parameterization": "low_rank", "ipc": 1, "num_per_class": 4, "im_size": [5, 7]}
    assert factors["a"].shape == (12, 2, 5, 2) and factors["b"].shape == (12, 2, 2, 7)
    assert factors["labels"].tolist() == [0, 1, 2]         # one for each class
    kept = factors["a"].clone()
    with torch.no_grad():
        synthetic.a.add_(1)
    assert torch.equal(factors["a"], kept) and not factors["a"].requires_grad and factors["a"].dtype == torch.float32


def test_labels_that_do_not_count_from_zero_come_back():
    factors = random_set().factors() | {"labels": torch.tensor([7, 2, 5])}
    assert LowRank.from_factors(factors).labels.tolist() == [7] * 4 + [2] * 4 + [5] * 4


def test_pixels_have_no_factors_beside_their_images():
    assert Pixels(2, 1, 1, (4, 4)).factors() is None


@pytest.mark.parametrize("name", ["a", "b", "labels", "ipc", "num_per_class", "im_size"])
def test_missing_part_is_named(name):
    factors = random_set().factors()
    del factors[name]
    with pytest.raises(ValueError, match=rf"^a low-rank set without {name}; save the set again$"):
        LowRank.from_factors(factors)


@pytest.mark.parametrize("name, value, said", [
    ("a", torch.zeros(12, 2, 5, 2, dtype=torch.float64), "a of a low-rank set is torch.float64, not a tensor of "),
    ("b", [[0.0]], "b of a low-rank set is list, not a tensor of torch.float32"),
    ("labels", torch.zeros(3), "labels of a low-rank set is torch.float32, not a tensor of torch.int64"),
    ("ipc", 0, "ipc of a low-rank set is 0, not a whole number"),
    ("num_per_class", 4.0, "num_per_class of a low-rank set is 4.0, not a whole number"),
    ("num_per_class", 3, "do not fit together"),
    ("im_size", [7, 5], "do not fit together"),
    ("im_size", None, "do not fit together"),
    ("a", torch.zeros(11, 2, 5, 2), r"a \[11, 2, 5, 2\], b \[12, 2, 2, 7\].*do not fit together"),
    ("a", torch.zeros(12, 1, 5, 2), "do not fit together"),
    ("a", torch.zeros(12, 2, 4, 2), "do not fit together"),
    ("a", torch.zeros(12, 2, 5, 3), "do not fit together"),
    ("a", torch.zeros(12, 2, 10), "do not fit together"),
    ("b", torch.zeros(12, 2, 2, 6), "do not fit together"),
    ("labels", torch.tensor([0, 1]), "do not fit together"),
    ("labels", torch.tensor(0), "do not fit together"),
])
def test_part_that_does_not_fit_is_named_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        LowRank.from_factors(random_set().factors() | {name: value})
    assert "\n" not in str(refused.value) and str(refused.value).endswith("; save the set again")


def test_factors_of_rank_zero_are_refused():
    factors = random_set().factors() | {"a": torch.zeros(12, 2, 5, 0), "b": torch.zeros(12, 2, 0, 7)}
    with pytest.raises(ValueError, match="do not fit together"):
        LowRank.from_factors(factors)


def test_state_dict_restores_the_set():
    one, two = (random_set(seed=seed) for seed in (0, 1))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.images(), two.images())
