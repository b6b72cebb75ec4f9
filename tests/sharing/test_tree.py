"""PNG trees: names that every file system takes, pixels to 8 bits, whole or not at all."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from condense.sharing import tree
from condense.sharing.layouts import read_set
from condense.sharing.tree import CLASSES, atomic_folder, folder_names, write_tree


def test_tree_holds_each_image_in_its_classes_folder_numbered_by_its_place(tmp_path):
    pixels = torch.rand(5, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    write_tree(tmp_path / "set", pixels, torch.tensor([1, 0, 1, 1, 0]), ["cat", "dog"])
    found = sorted(str(path.relative_to(tmp_path / "set")) for path in (tmp_path / "set").rglob("*.png"))
    assert found == ["cat/00001.png", "cat/00004.png", "dog/00000.png", "dog/00002.png", "dog/00003.png"]
    shown = np.asarray(Image.open(tmp_path / "set" / "dog" / "00002.png"))
    expected = np.floor(pixels[2].permute(1, 2, 0).numpy().astype(np.float64) * 255 + 0.5)
    assert shown.shape == (6, 4, 3) and np.array_equal(shown, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_tree_is_read_back_in_order_within_half_a_grey_level(tmp_path, channels):
    pixels = torch.rand(24, channels, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(12).repeat(2)[torch.randperm(24, generator=torch.Generator().manual_seed(2))]
    names = ["zebra", "ant", "a/b", "A/B", "con", ".hidden", "x.", "ürgh", "10", "9", "", "tail "]
    write_tree(tmp_path / "set", pixels, labels, names)
    back = read_set(tmp_path / "set")
    assert back.class_names == tuple(names) and back.space == "raw"
    assert torch.equal(back.sets[0].labels, labels)
    assert (back.sets[0].images.double() - pixels.double()).abs().max() <= 1 / 510 + 1e-7


def test_values_outside_the_scale_are_clamped_and_counted(tmp_path):
    pixels = torch.tensor([-0.5, 0.0, 1.0, 1.25]).view(1, 1, 2, 2)
    assert write_tree(tmp_path / "set", pixels, torch.tensor([0]), ["a", "b"]) == 2
    assert np.asarray(Image.open(tmp_path / "set" / "a" / "00000.png")).tolist() == [[0, 0], [255, 255]]
    assert (tmp_path / "set" / "b").is_dir()


@pytest.mark.parametrize("names, expected", [
    (["cat", "dog"], ["cat", "dog"]),
    (["a/b", "a\\b", "a:b"], ["a_b", "a_b_2", "a_b_3"]),
    (["Cat", "cat"], ["Cat", "cat_2"]),
    (["x", "x_2", "x"], ["x", "x_2", "x_3"]),
    ([".git", "..", "NUL", "com1.txt", "end. "], ["_git", "class", "NUL_", "com1.txt_", "end"]),
    (["", "tab\tname"], ["class", "tab_name"]),
])
def test_folder_names_suit_every_file_system_and_are_told_apart(names, expected):
    assert folder_names(names) == expected


def test_long_class_names_are_cut_between_characters():
    first, second = folder_names(["ä" * 300, "ä" * 300 + "b"])
    assert first == "ä" * 50 and second == "ä" * 50 + "_2"


def test_classes_file_says_names_folders_and_more(tmp_path):
    write_tree(tmp_path / "set", torch.zeros(1, 1, 4, 4), torch.tensor([0]), ["a/b", "c"], {"lr": 0.5})
    content = json.loads((tmp_path / "set" / CLASSES).read_text(encoding="utf-8"))
    assert content == {"class_names": ["a/b", "c"], "folders": ["a_b", "c"], "lr": 0.5}


def test_images_that_png_has_no_form_for_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 or 3 channels, these images 4; export them as tensors"):
        write_tree(tmp_path / "set", torch.zeros(1, 4, 4, 4), torch.tensor([0]), ["a"])
    assert not list(tmp_path.iterdir())


def test_nothing_stays_of_a_tree_that_breaks_off(tmp_path, monkeypatch):
    def write(path, image):
        if path.name == "00001.png":
            raise OSError("disk full")
        original(path, image)

    original = tree._write_png
    write_tree(tmp_path / "set", torch.ones(1, 1, 4, 4), torch.tensor([0]), ["a"])
    monkeypatch.setattr(tree, "_write_png", write)
    with pytest.raises(OSError, match="disk full"):
        write_tree(tmp_path / "set", torch.zeros(2, 1, 4, 4), torch.tensor([0, 0]), ["a"], replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert np.asarray(Image.open(tmp_path / "set" / "a" / "00000.png")).min() == 255


def test_an_earlier_tree_is_replaced_whole_and_only_when_asked(tmp_path):
    write_tree(tmp_path / "set", torch.ones(2, 1, 4, 4), torch.tensor([0, 1]), ["a", "b"])
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_tree(tmp_path / "set", torch.zeros(1, 1, 4, 4), torch.tensor([0]), ["c"])
    write_tree(tmp_path / "set", torch.zeros(1, 1, 4, 4), torch.tensor([0]), ["c"], replace=True)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["c", CLASSES]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"dear")
    with pytest.raises(FileExistsError, match="not an exported tree and is not replaced"), \
            atomic_folder(tmp_path / "photos", replace=True):
        raise AssertionError("it was begun")
    assert (tmp_path / "photos" / "me.png").read_bytes() == b"dear"


def test_a_tree_has_the_rights_of_any_new_folder(tmp_path):
    (tmp_path / "usual").mkdir()
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "x").write_text("x")
    assert (tmp_path / "set").stat().st_mode == (tmp_path / "usual").stat().st_mode
