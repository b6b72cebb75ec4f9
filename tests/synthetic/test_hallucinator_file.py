"""Bases and hallucinators in a file, read back bit for bit or refused."""

import io

import pytest
import torch

from condense.synthetic import restore_synthetic, stored_factors
from condense.synthetic.hallucinator import HallucinatedBases
from tests.synthetic.hallucinator_sets import random_set, seeded

TENSORS = ("bases", "encoder", "encoder_bias", "scale", "shift", "decoder", "decoder_bias")


def reloaded(factors):
    file = io.BytesIO()
    torch.save(factors, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("how", HallucinatedBases.INITS)
@pytest.mark.parametrize("options", [{}, {"single_channel": True}, {"base_channel": 2, "budget": "published"},
                                     {"n_style": 1}, {"lambda_club_content": 0.0}], ids=str)
def test_factors_through_a_file_give_the_same_images_bit_for_bit(digits, how, options):
    before = HallucinatedBases(10, 4, 1, (8, 8), **options).init_from(digits, how, seeded())
    after = restore_synthetic(reloaded(stored_factors(before)))
    assert torch.equal(after.images(), before.images()) and torch.equal(after.labels, before.labels)
    assert (after.counts, after.views, after.storage()) == (before.counts, before.views, before.storage())


def test_soft_labels_come_back_with_the_set():
    before = random_set().float()
    logits = torch.randn(24, 3, generator=seeded())
    before.own_labels.use_soft(logits)
    assert torch.equal(restore_synthetic(reloaded(stored_factors(before))).labels, before.labels)
    assert before.storage()["label_floats"] == 6 * 3       # one for each base, whatever it is seen through
    of_bases = logits.view(6, 4, 3).mean(1).softmax(1)
    torch.testing.assert_close(before.labels.detach(), of_bases[torch.arange(24) // 4])


def test_factors_are_detached_copies_of_plain_types_and_hold_what_storage_counts():
    synthetic = random_set()
    factors = synthetic.factors()
    assert {name: value for name, value in factors.items() if not torch.is_tensor(value)} == \
        {"parameterization": "hallucinator", "ipc": 1, "bases_per_class": 2}
    assert factors["labels"].tolist() == [0, 1, 2]         # one for each class
    assert sum(factors[name].numel() for name in TENSORS) == synthetic.storage()["floats"]
    assert all(not factors[name].requires_grad and factors[name].dtype == torch.float32 for name in TENSORS)
    kept = {name: factors[name].clone() for name in TENSORS}
    with torch.no_grad():
        for parameter in synthetic.parameters():
            parameter.add_(1)
    assert all(torch.equal(factors[name], kept[name]) for name in TENSORS)


def test_labels_that_do_not_count_from_zero_come_back():
    factors = random_set().factors() | {"labels": torch.tensor([7, 2, 5])}
    assert HallucinatedBases.from_factors(factors).labels.tolist() == [7] * 8 + [2] * 8 + [5] * 8


@pytest.mark.parametrize("name", [*TENSORS, "labels", "ipc", "bases_per_class"])
def test_missing_part_is_named(name):
    factors = random_set().factors()
    del factors[name]
    with pytest.raises(ValueError, match=rf"^hallucinators without {name}; save the set again$"):
        HallucinatedBases.from_factors(factors)


@pytest.mark.parametrize("name, value, said", [
    ("bases", torch.zeros(6, 2, 5, 6, dtype=torch.float64), "bases of hallucinators is torch.float64, not a tensor of"),
    ("scale", [[0.0]], "scale of hallucinators is list, not a tensor of torch.float32"),
    ("labels", torch.zeros(3), "labels of hallucinators is torch.float32, not a tensor of torch.int64"),
    ("ipc", 0, "ipc of hallucinators is 0, not a whole number"),
    ("bases_per_class", True, "bases_per_class of hallucinators is True, not a whole number"),
    ("bases_per_class", 3, "3 bases per class do not fit together"),
    ("bases", torch.zeros(6, 2, 5, 7), r"bases \[6, 2, 5, 7\].* do not fit together"),
    ("bases", torch.zeros(6, 2, 2, 6), "do not fit together"),
    ("bases", torch.zeros(6, 60), "do not fit together"),
    ("bases", torch.zeros(0, 2, 5, 6), "do not fit together"),
    ("encoder", torch.zeros(4, 2, 1, 3, 3), "do not fit together"),
    ("shift", torch.zeros(4, 2, 3, 3), "do not fit together"),
    ("decoder", torch.zeros(3, 2, 2, 3, 3), "do not fit together"),
    ("decoder_bias", torch.zeros(5, 2), "do not fit together"),
    ("decoder_bias", torch.zeros(2), "do not fit together"),
    ("labels", torch.tensor([0, 1]), "do not fit together"),
    ("labels", torch.tensor(0), "do not fit together"),
])
def test_part_that_does_not_fit_is_named_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        HallucinatedBases.from_factors(random_set().factors() | {name: value})
    assert "\n" not in str(refused.value) and str(refused.value).endswith("; save the set again")
