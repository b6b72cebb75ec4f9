"""Addressable memory: the form in a file, read back bit for bit or refused."""

import io

import pytest
import torch

from condense.synthetic import restore_synthetic, stored_factors
from condense.synthetic.memory import AddressableMemory
from tests.synthetic.memory_sets import random_memory, seeded


def reloaded(factors):
    file = io.BytesIO()
    torch.save(factors, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("how", AddressableMemory.INITS)
@pytest.mark.parametrize("n_basis, scale", [(3, 2), (30, 1), (5, 4)])
def test_factors_through_a_file_give_the_same_images_bit_for_bit(digits, how, n_basis, scale):
    before = AddressableMemory(10, 4, 1, (8, 8), n_basis, scale).init_from(digits, how, seeded())
    after = restore_synthetic(reloaded(stored_factors(before)))
    assert torch.equal(after.images(), before.images()) and torch.equal(after.labels, before.labels)
    assert torch.equal(after.recall(torch.full((1, 10), 0.1)), before.recall(torch.full((1, 10), 0.1)))
    assert (after.counts, after.scale, after.storage()) == (before.counts, before.scale, before.storage())


def test_soft_labels_come_back_with_the_memory():
    before = random_memory().float()
    before.own_labels.use_soft(torch.randn(12, 3, generator=seeded()))
    assert torch.equal(restore_synthetic(reloaded(stored_factors(before))).labels, before.labels)


def test_factors_are_detached_copies_of_plain_types():
    memory = random_memory()
    factors = memory.factors()
    assert {name: value for name, value in factors.items() if not torch.is_tensor(value)} == \
        {"parameterization": "memory", "ipc": 1, "num_per_class": 4, "downsample_scale": 2}
    assert factors["bases"].shape == (5, 2, 2, 3) and factors["coefficients"].shape == (12, 5)
    assert factors["labels"].tolist() == [0, 1, 2]         # one for each class
    kept = factors["bases"].clone()
    with torch.no_grad():
        memory.bases.add_(1)
    assert torch.equal(factors["bases"], kept)
    assert all(not factors[name].requires_grad and factors[name].dtype == torch.float32
               for name in ("bases", "coefficients"))


def test_labels_that_do_not_count_from_zero_come_back():
    factors = random_memory().factors() | {"labels": torch.tensor([7, 2, 5])}
    assert AddressableMemory.from_factors(factors).labels.tolist() == [7] * 4 + [2] * 4 + [5] * 4


@pytest.mark.parametrize("name", ["bases", "coefficients", "labels", "ipc", "num_per_class", "downsample_scale"])
def test_missing_part_is_named(name):
    factors = random_memory().factors()
    del factors[name]
    with pytest.raises(ValueError, match=rf"^a memory without {name}; save the set again$"):
        AddressableMemory.from_factors(factors)


@pytest.mark.parametrize("name, value, said", [
    ("bases", torch.zeros(5, 2, 2, 3, dtype=torch.float64), "bases of a memory is torch.float64, not a tensor of "),
    ("coefficients", [[0.0]], "coefficients of a memory is list, not a tensor of torch.float32"),
    ("labels", torch.zeros(3), "labels of a memory is torch.float32, not a tensor of torch.int64"),
    ("ipc", 0, "ipc of a memory is 0, not a whole number"),
    ("ipc", True, "ipc of a memory is True, not a whole number"),
    ("num_per_class", 4.0, "num_per_class of a memory is 4.0, not a whole number"),
    ("downsample_scale", -2, "downsample_scale of a memory is -2, not a whole number"),
    ("num_per_class", 3, "do not fit together"),
    ("bases", torch.zeros(4, 2, 2, 3), r"bases \[4, 2, 2, 3\], coefficients \[12, 5\].*do not fit together"),
    ("bases", torch.zeros(5, 12), "do not fit together"),
    ("bases", torch.zeros(5, 2, 0, 3), "do not fit together"),
    ("coefficients", torch.zeros(11, 5), "do not fit together"),
    ("coefficients", torch.zeros(60), "do not fit together"),
    ("labels", torch.tensor([0, 1]), "do not fit together"),
    ("labels", torch.tensor(0), "do not fit together"),
])
def test_part_that_does_not_fit_is_named_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        AddressableMemory.from_factors(random_memory().factors() | {name: value})
    assert "\n" not in str(refused.value) and str(refused.value).endswith("; save the set again")


def test_state_dict_restores_the_set():
    one, two = (random_memory(seed=seed) for seed in (0, 1))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.images(), two.images())
