"""Exports: what is asked for and not there, how files are named, and what is never replaced."""

import pytest

from condense.sharing.export import Choice
from condense.sharing.formats import plan, usual_name
from tests.sharing.export_sets import own_result, source_of


@pytest.mark.parametrize("asked, mend", [
    ({"experiment": 2}, "2 experiments, numbered from 0; there is no --experiment 2"),
    ({"which": "best"}, "no set of the best iteration; give --which last"),
    ({"space": "zca"}, "has no ZCA whitening; give --space normalised or raw"),
])
def test_what_a_set_does_not_have_is_refused(tmp_path, asked, mend):
    path, _, _ = own_result(tmp_path)
    with pytest.raises(ValueError, match=mend):
        source_of(path).bundle(**asked)


def test_another_data_set_than_our_file_says_is_refused(tmp_path):
    path, _, _ = own_result(tmp_path)
    with pytest.raises(ValueError, match="made for --dataset Digits, not MNIST; leave --dataset out"):
        source_of(path, dataset="MNIST")


@pytest.mark.parametrize("choice, names", [
    (Choice(), {"folder": "set_png", "tensors": "set.tensors.pt", "reference": "set.reference.pt",
                "safetensors": "set.safetensors", "card": "set.card.md"}),
    (Choice(experiment=2, which="best"), {"folder": "set_exp2_best_png", "reference": "set_best.reference.pt",
                                          "card": "set.card.md"}),
])
def test_files_are_named_after_the_set_and_what_was_chosen_of_it(tmp_path, choice, names):
    assert {name: usual_name(name, tmp_path / "set.pt", choice) for name in names} == names


def test_nothing_unasked_is_replaced_and_the_set_itself_never(tmp_path):
    path, asked = tmp_path / "set.pt", Choice(replace=True)
    path.write_bytes(b"set")
    (tmp_path / "set.json").write_text("{}")
    with pytest.raises(FileExistsError, match="set.json exists already; --overwrite"):
        plan(("safetensors",), path, tmp_path, None, Choice())
    assert plan(("safetensors",), path, tmp_path, None, asked) == {"safetensors": tmp_path / "set.safetensors"}
    with pytest.raises(FileExistsError, match="is the set itself"):
        plan(("tensors",), path, tmp_path, path, asked)
    (tmp_path / "set_png").mkdir()
    with pytest.raises(FileExistsError, match="not an exported tree"):
        plan(("folder",), path, tmp_path, None, asked)
