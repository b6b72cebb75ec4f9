"""Latent codes and decoders in a file, read back bit for bit or refused."""

import io

import pytest
import torch

from condense.synthetic import build_synthetic, restore_synthetic, stored_factors
from condense.synthetic.latent_decoder import LatentDecoder
from tests.synthetic.latent_sets import random_set, seeded


def reloaded(factors):
    file = io.BytesIO()
    torch.save(factors, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("options", [
    {}, {"out": "sigmoid", "decoder_act": "leaky"}, {"n_decoder": 1, "codes_per_class": 2},
    {"latent_channels": 3, "latent_hidden": (5,), "n_decoder": 3}])
def test_factors_through_a_file_give_the_same_images_bit_for_bit(digits, options):
    before = build_synthetic("latent_decoder", digits, 3, "noise", seeded(), **options)
    after = restore_synthetic(reloaded(stored_factors(before)))
    with torch.no_grad():
        assert torch.equal(after.images(), before.images()) and torch.equal(after.labels, before.labels)
    assert (after.counts, after.plan, after.storage()) == (before.counts, before.plan, before.storage())


def test_soft_labels_come_back_with_the_set():
    before = random_set().float()
    before.own_labels.use_soft(torch.randn(18, 3, generator=seeded()))
    assert torch.equal(restore_synthetic(reloaded(stored_factors(before))).labels, before.labels)


def test_factors_are_detached_copies_of_plain_types():
    latent = random_set(out="sigmoid").float()
    factors = latent.factors()
    assert {name: value for name, value in factors.items() if not torch.is_tensor(value)} == \
        {"parameterization": "latent_decoder", "ipc": 10, "n_decoder": 3, "codes_per_class": 2, "channels": [3, 4, 2],
         "im_size": [8, 8], "decoder_act": "relu", "out": "sigmoid"}
    assert {name: list(value.shape) for name, value in factors.items() if torch.is_tensor(value)} == \
        {"codes": [3, 2, 3, 2, 2], "weight1": [3, 3, 4, 4, 4], "weight2": [3, 4, 2, 4, 4], "bias1": [3, 4],
         "bias2": [3, 2], "mean": [2], "std": [2], "labels": [3]}
    kept = factors["codes"].clone()
    with torch.no_grad():
        latent.codes.add_(1)
    assert torch.equal(factors["codes"], kept)
    assert not any(value.requires_grad for value in factors.values() if torch.is_tensor(value))


def test_labels_that_do_not_count_from_zero_come_back():
    factors = random_set().float().factors() | {"labels": torch.tensor([7, 2, 5])}
    assert LatentDecoder.from_factors(factors).labels.tolist() == [7] * 6 + [2] * 6 + [5] * 6


@pytest.mark.parametrize("name", ["codes", "weight1", "bias2", "labels", "mean", "std", "ipc", "n_decoder",
                                  "codes_per_class", "channels", "im_size", "decoder_act", "out"])
def test_missing_part_is_named(name):
    factors = random_set(out="sigmoid").float().factors()
    del factors[name]
    with pytest.raises(ValueError, match=rf"^codes and decoders without {name}; save the set again$"):
        LatentDecoder.from_factors(factors)


@pytest.mark.parametrize("name, value, said", [
    ("codes", torch.zeros(3, 2, 3, 2, 2, dtype=torch.float64), r"float64 \[3, 2, 3, 2, 2\], not torch.float32"),
    ("codes", torch.zeros(6, 3, 2, 2), r"codes of codes and decoders is torch.float32 \[6, 3, 2, 2\], not"),
    ("weight1", [[0.0]], "weight1 of codes and decoders is list, not torch.float32"),
    ("bias2", torch.zeros(3, 3), r"bias2 of codes and decoders is torch.float32 \[3, 3\], not torch.float32 \[3, 2\]"),
    ("labels", torch.zeros(3), "labels of codes and decoders is torch.float32"),
    ("labels", torch.tensor(0), "labels of codes and decoders are not one for each class"),
    ("labels", torch.tensor([0, 1]), "codes of codes and decoders is"),
    ("ipc", 0, "ipc of codes and decoders is 0, not 1 whole number from 1 on"),
    ("ipc", True, "ipc of codes and decoders is True"),
    ("n_decoder", 2, "weight1 of codes and decoders|codes of codes and decoders"),
    ("codes_per_class", 2.0, "codes_per_class of codes and decoders is 2.0"),
    ("channels", [3, 2], r"channels of codes and decoders is \[3, 2\], not 3 whole numbers"),
    ("channels", [3, 5, 2], "weight1 of codes and decoders is"),
    ("channels", [[3], 5, 2], "channels of codes and decoders is"),
    ("im_size", [8], r"im_size of codes and decoders is \[8\], not 2 whole numbers"),
    ("im_size", [16, 16], "codes of codes and decoders is"),
    ("out", "tanh", "unknown out of codes and decoders 'tanh'"),
    ("decoder_act", "rely", "did you mean relu"),
])
def test_part_that_does_not_fit_is_named_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        LatentDecoder.from_factors(random_set().float().factors() | {name: value})
    assert "\n" not in str(refused.value)
