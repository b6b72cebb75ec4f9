"""What a recipe allows, when its learning rate drops, which epochs it keeps."""

from dataclasses import replace

import pytest
import torch
from torch.func import vmap

from condense.experts.recipe import LOSSES, Recipe, parse_epochs


@pytest.mark.parametrize("text, epochs", [("all", (0, 50)), ("4", (0, 4)), (4, (0, 4)), ("40-62", (40, 62)),
                                          ("0-50", (0, 50)), ("007-9", (7, 9))])
def test_epochs_to_keep_are_all_up_to_one_or_a_range(text, epochs):
    assert parse_epochs(text, 50) == epochs


@pytest.mark.parametrize("text, mend", [("4-", "like 4"), ("-4", "like 4"), ("some", "like 4"), ("1.5", "like 4"),
                                        ("9-4", "write 4-9"), ("", "like 4"), ("4-9-12", "40-62")])
def test_other_epochs_are_refused_by_the_mend(text, mend):
    with pytest.raises(ValueError, match=mend):
        parse_epochs(text, 50)


@pytest.mark.parametrize("changes, mend", [
    ({"last": 51}, "--train_epochs 50"),
    ({"first": 0, "last": 0}, "keep 0-1"),
    ({"optimizer": "adm"}, "did you mean adam"),
    ({"init": "xavir"}, "did you mean xavier"),
    ({"optimizer": "adam", "momentum": 0.9}, "--mom, .* belong to --optimizer sgd"),
    ({"optimizer": "adam", "rho_max": 0.1}, "--rho_max .* belong to --optimizer sgd"),
    ({"optimizer": "adam", "decay": True}, "fall by --decay_epochs"),
    ({"decay": True, "decay_epochs": 3}, "leave one of them out"),
    ({"rho_max": 0.01, "rho_min": 0.02}, "exchange them"),
    ({"strategy": "flip_colour"}, "did you mean color"),
    ({"augmentation": "classic", "strategy": "crop_scal"}, "did you mean scale"),
])
def test_what_cannot_be_is_refused(changes, mend):
    with pytest.raises(ValueError, match=mend):
        Recipe(**changes)


def test_learning_rate_drops_after_the_epoch_with_index_half_plus_one():
    recipe = Recipe(50, lr=0.01, decay=True)
    rates = [recipe.rate(epoch) for epoch in range(50)]
    assert rates == [0.01] * 27 + [0.001] * 23 and [e for e in range(50) if recipe.drops_at(e)] == [27]
    assert {replace(recipe, decay=False).rate(epoch) for epoch in range(50)} == {0.01}
    assert not any(replace(recipe, decay=False).drops_at(epoch) for epoch in range(50))


def test_learning_rate_falls_by_its_factor_after_every_so_many_epochs_and_the_optimiser_stays():
    recipe = Recipe(7, last=7, lr=0.08, decay_epochs=3, decay_factor=0.25)
    assert [recipe.rate(epoch) for epoch in range(7)] == pytest.approx([0.08] * 3 + [0.02] * 3 + [0.005])
    assert not any(recipe.drops_at(epoch) for epoch in range(7))


def test_one_snapshot_can_be_kept_alone():
    assert Recipe(50, first=40, last=40).kept == 1


def test_rho_follows_the_learning_rate():
    recipe = Recipe(50, decay=True, rho_max=0.02, rho_min=0.01)
    assert [recipe.rho(e) for e in (0, 26, 27, 49)] == pytest.approx([0.02, 0.02, 0.01, 0.01])
    assert {replace(recipe, rho_min=None).rho(e) for e in range(50)} == {0.02}
    assert {replace(recipe, decay=False).rho(e) for e in range(50)} == {0.02}


def test_losses_are_the_textbook_ones_summed_or_meaned():
    logits, labels = torch.randn(7, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 0, 2])
    one_hot = torch.nn.functional.one_hot(labels, 4).double()
    per_image = {"ce": -(one_hot * logits.log_softmax(1)).sum(1), "mse": (logits - one_hot).square().mean(1)}
    assert set(per_image) == set(LOSSES)
    for name, values in per_image.items():
        torch.testing.assert_close(LOSSES[name](logits, labels, reduction="sum"), values.sum())
        torch.testing.assert_close(LOSSES[name](logits, labels), values.mean())
        stacked = vmap(LOSSES[name])(torch.stack([logits, -logits]), torch.stack([labels, labels]))
        torch.testing.assert_close(stacked[0], values.mean())


def test_half_the_disk_is_float16():
    assert Recipe().dtype == torch.float32 and Recipe(half=True).dtype.itemsize == 2
