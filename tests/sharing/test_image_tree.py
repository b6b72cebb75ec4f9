"""Sets as folders of image files: pixels, classes and their order."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from condense.sharing.layouts import read_set

DRAWN = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def tree(folder, classes, per_class=2, grey=False, suffix="png"):
    """Write `per_class` images of each class, in the order of DRAWN; returns their pixels on the scale [0, 1]."""
    used = iter(DRAWN)
    for name in classes:
        for i in range(per_class):
            pixels = next(used)
            write(folder / name / f"{i}.{suffix}", pixels[..., 0] if grey else pixels)
    pixels = torch.from_numpy(DRAWN[:len(classes) * per_class]).permute(0, 3, 1, 2).float() / 255
    return pixels[:, :1] if grey else pixels


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_colour_images_come_back_to_the_bit(tmp_path, suffix):
    pixels = tree(tmp_path, ["ant", "bee", "cat"], suffix=suffix)
    file = read_set(tmp_path)
    assert (file.layout, file.space, file.class_names) == ("folder", "raw", ("ant", "bee", "cat"))
    assert torch.equal(file.sets[0].images, pixels) and file.sets[0].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert "order of their names" in file.known_by


def test_grey_images_have_one_channel(tmp_path):
    pixels = tree(tmp_path, ["a", "b"], grey=True)
    assert torch.equal(read_set(tmp_path).sets[0].images, pixels)
    write(tmp_path / "b" / "9.png", DRAWN[9])
    assert read_set(tmp_path).sets[0].images.shape == (5, 3, 8, 8)


def test_jpeg_is_read_as_its_decoder_does(tmp_path):
    tree(tmp_path, ["a", "b"], suffix="jpg")
    with Image.open(tmp_path / "a" / "1.jpg") as image:
        expected = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(read_set(tmp_path).sets[0].images[1], expected)


def test_numbers_are_ordered_as_numbers(tmp_path):
    tree(tmp_path, ["0", "1", "2", "10"], 1)
    file = read_set(tmp_path)
    assert file.class_names == ("0", "1", "2", "10") and "order of their numbers" in file.known_by


def exported(folder):
    pixels = tree(folder, ["x", "m"])                     # class 0 in the folder x, class 1 in m
    for number, (name, old) in enumerate([("x", 0), ("m", 0), ("x", 1), ("m", 1)]):
        (folder / name / f"{old}.png").rename(folder / name / f"{number + 8}.png")
    (folder / "classes.json").write_text(json.dumps({"class_names": ["x/y", "m"], "folders": ["x", "m"]}))
    return pixels[[0, 2, 1, 3]]


def test_classes_json_gives_order_and_full_names_and_files_their_place(tmp_path):
    pixels = exported(tmp_path)
    file = read_set(tmp_path)
    assert file.class_names == ("x/y", "m") and file.sets[0].labels.tolist() == [0, 1, 0, 1]
    assert torch.equal(file.sets[0].images, pixels) and "classes.json" in file.known_by


def refusal(folder):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_set(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


@pytest.mark.parametrize("content", ["{", "[1]", '{"class_names": ["a"]}', '{"class_names": ["a"], "folders": ["x"]}',
                                     '{"class_names": ["a"], "folders": ["x", "m"]}',
                                     '{"class_names": ["a", "b"], "folders": ["x", "x"]}'])
def test_classes_json_that_does_not_fit_is_refused(tmp_path, content):
    exported(tmp_path)
    (tmp_path / "classes.json").write_text(content)
    assert "classes.json" in refusal(tmp_path)


def test_images_of_two_sizes_or_damaged_are_refused_by_name(tmp_path):
    tree(tmp_path, ["a", "b"])
    write(tmp_path / "b" / "7.png", DRAWN[0][:5])
    assert "7.png is 5x8" in refusal(tmp_path) and "one size" in refusal(tmp_path)
    (tmp_path / "b" / "7.png").write_bytes(b"no picture")
    assert "7.png" in refusal(tmp_path)


def test_a_folder_without_a_set_is_refused_with_what_it_could_hold(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "images_*.pt" in refusal(tmp_path)
