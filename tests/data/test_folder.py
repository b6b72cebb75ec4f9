"""Image folders: layouts, kinds of images, sizes, and what is refused."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from condense.data import load_data
from condense.data.decoder import decode

QUIET = {"progress": False}


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Layouts

@pytest.mark.parametrize("part", ["test", "val"])
def test_train_with_test_or_val_loads_both_parts(tmp_path, part, write_tree):
    write_tree(tmp_path / "train", count=4)
    write_tree(tmp_path / part, count=2)
    real = load_data("folder", tmp_path, **QUIET)
    assert real.class_names == ["ant", "bee"] and real.class_counts == [4, 4]
    assert real.test_labels.tolist() == [0, 0, 1, 1] and real.spec == (3, 2, (8, 8))
    assert real.images[:, 0, 0, 0].tolist() == [0] * 4 + [50] * 4
    assert real.images[:, 1, 0, 0].tolist() == [0, 10, 20, 30] * 2


def test_test_comes_before_val_where_a_folder_has_both(tmp_path, write_tree):
    for part, count in (("train", 4), ("test", 2), ("val", 3)):
        write_tree(tmp_path / part, count=count)
    assert len(load_data("folder", tmp_path, **QUIET).test_labels) == 4


@pytest.mark.parametrize("inside", ["", "train"])
def test_one_tree_holds_out_a_stratified_fifth_by_seed_and_says_so(tmp_path, caplog, inside, write_tree):
    write_tree(tmp_path / inside, count=10)
    with caplog.at_level(logging.INFO, "condense"):
        real = load_data("folder", tmp_path, seed=3, **QUIET)
    assert "a stratified fifth is held out with seed 3, 4 of 20 images" in caplog.text
    assert real.class_counts == [8, 8] and torch.bincount(real.test_labels).tolist() == [2, 2]
    ants = torch.cat([real.images[:8], real.test_images[:2]])
    assert sorted(ants[:, 1, 0, 0].tolist()) == list(range(0, 100, 10))          # none lost, none twice
    assert load_data("folder", tmp_path, seed=3, **QUIET).fingerprint == real.fingerprint
    assert load_data("folder", tmp_path, seed=4, **QUIET).fingerprint != real.fingerprint


def test_images_lie_at_any_depth_and_hidden_or_other_files_do_not_count(tmp_path, write_tree, write_image):
    write_tree(tmp_path, count=5)
    write_image(tmp_path / "ant" / "more" / "deep" / "x.PNG")
    write_image(tmp_path / "ant" / ".thumbnails" / "x.png")
    write_image(tmp_path / "ant" / "._x.png")
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / ".git").mkdir()
    real = load_data("folder", tmp_path, **QUIET)
    assert real.num_classes == 2 and len(real) + len(real.test_labels) == 11


def test_a_class_may_be_called_train(tmp_path, write_tree):
    write_tree(tmp_path, ("car", "train"))
    assert load_data("folder", tmp_path, **QUIET).class_names == ["car", "train"]


@pytest.mark.parametrize("extra, says", [("train", "class cow has images in .*train but none in .*test"),
                                         ("test", "class cow has images in .*test but none in .*train")])
def test_a_class_of_one_part_only_is_named(tmp_path, extra, says, write_tree, write_image):
    write_tree(tmp_path / "train")
    write_tree(tmp_path / "test")
    write_image(tmp_path / extra / "cow" / "0.png")
    with pytest.raises(ValueError, match=says) as error:
        load_data("folder", tmp_path, **QUIET)
    one_line(error)


def test_folders_without_two_classes_of_images_say_what_to_put_where(tmp_path, write_tree, write_image):
    for place, kind, says in ((tmp_path / "no", FileNotFoundError, "no folder .*train/<class>"),
                              (tmp_path, FileNotFoundError, "no images in folders under .*train/<class>")):
        with pytest.raises(kind, match=says) as error:
            load_data("folder", place, **QUIET)
        one_line(error)
    write_tree(tmp_path, ("ant",))
    with pytest.raises(ValueError, match=r"one class only \(ant\).*at least two folders"):
        load_data("folder", tmp_path, **QUIET)
    write_image(tmp_path / "bee" / "0.png")
    with pytest.raises(ValueError, match="'bee' .* has 1 image"):
        load_data("folder", tmp_path, **QUIET)


# Kinds of images

@pytest.mark.parametrize("mode, colour, value", [("L", 77, 77), ("1", 1, 255), ("I;16", 77 * 256 + 200, 77),
                                                 ("LA", (77, 255), 77), ("LA", (0, 0), 255)])
def test_a_collection_of_grey_images_has_one_channel(tmp_path, mode, colour, value, write_tree):
    write_tree(tmp_path, mode=mode, colour=colour)
    real = load_data("folder", tmp_path, **QUIET)
    assert real.channel == 1 and real.images.unique().tolist() == [value]


def test_one_colour_image_among_many_grey_makes_three_channels(tmp_path, write_tree, write_image):
    write_tree(tmp_path, mode="L", colour=9, count=150)          # more than are looked at first
    write_image(tmp_path / "ant" / "077.png", (1, 2, 3))
    real = load_data("folder", tmp_path, **QUIET)
    assert real.channel == 3
    assert [1, 2, 3] in torch.cat([real.images, real.test_images])[:, :, 0, 0].tolist()


@pytest.mark.parametrize("mode, colour, extension, expected", [
    ("RGB", (1, 2, 3), "png", [1, 2, 3]), ("RGB", (1, 2, 3), "bmp", [1, 2, 3]),
    ("RGB", (1, 2, 3), "ppm", [1, 2, 3]), ("RGB", (1, 2, 3), "tif", [1, 2, 3]),
    ("RGBA", (1, 2, 3, 255), "png", [1, 2, 3]), ("RGBA", (1, 2, 3, 0), "png", [255, 255, 255]),
    ("RGBA", (0, 0, 100, 51), "tiff", [204, 204, 224]),
    ("L", 5, "pgm", [5, 5, 5]), ("CMYK", (0, 0, 0, 0), "tif", [255, 255, 255])])
def test_every_kind_becomes_rgb_with_transparency_on_white(tmp_path, mode, colour, extension, expected,
                                                           write_image):
    write_image(tmp_path / f"x.{extension}", colour, (4, 4), mode)
    assert decode(str(tmp_path / f"x.{extension}"), 3, (4, 4))[:, 0, 0].tolist() == expected


@pytest.mark.parametrize("extension", ["gif", "png"])
def test_palette_images_show_their_colours_and_their_holes_white(tmp_path, extension):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30, 90, 90, 90])
    image.putpixel((0, 0), 2)
    image.save(tmp_path / f"x.{extension}", transparency=2)
    pixels = decode(str(tmp_path / f"x.{extension}"), 3, (4, 4))
    assert pixels[:, 0, 0].tolist() == [255] * 3 and pixels[:, 1, 1].tolist() == [10, 20, 30]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)                    # red corner top left, wide
    upright[:8, :16, 0] = 250
    stored = Image.fromarray(upright)
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}      # what viewers undo
    for step in undo.get(orientation, []):
        stored = stored.transpose(Image.Transpose(step))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.jpg", exif=exif, quality=95)
    pixels = decode(str(tmp_path / "x.jpg"), 3, (16, 32)).astype(int)
    assert np.abs(pixels - upright.transpose(2, 0, 1)).mean() < 5


def test_rotated_photographs_of_one_size_as_displayed_need_no_im_size(tmp_path, write_tree, write_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_tree(tmp_path, size=(12, 8))
    for name in ("ant", "bee"):
        write_image(tmp_path / name / "turned.jpg", size=(8, 12), exif=exif)
    assert load_data("folder", tmp_path, **QUIET).im_size == (8, 12)


@pytest.mark.parametrize("cut", [30, 400])
def test_a_truncated_image_is_named(tmp_path, cut, write_tree):
    write_tree(tmp_path, count=6)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    broken = tmp_path / "bee" / "broken.jpg"
    Image.fromarray(noise).save(broken, quality=95)
    broken.write_bytes(broken.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="cannot decode .*broken.jpg .*replace the file or") as error:
        load_data("folder", tmp_path, **QUIET)
    one_line(error)


# Sizes

def test_mixed_sizes_are_refused_naming_the_commonest_and_the_flag(tmp_path, write_tree, write_image):
    write_tree(tmp_path, size=(10, 6), count=40)
    write_image(tmp_path / "bee" / "odd.png", size=(5, 5))
    says = r"most are 6x10, but .*odd.png is 5x5; give --im_size N .* --im_size 6"
    with pytest.raises(ValueError, match=says) as error:
        load_data("folder", tmp_path, **QUIET)
    one_line(error)


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("size", [(40, 30), (31, 77), (16, 16), (9, 12)])
def test_resizing_equals_torchvisions(tmp_path, resize, size):
    from torchvision import transforms

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
    image.save(tmp_path / "x.png")
    theirs = {"crop": transforms.Compose([transforms.Resize(16), transforms.CenterCrop(16)]),
              "squash": transforms.Resize((16, 16))}[resize](image)
    ours = decode(str(tmp_path / "x.png"), 3, (16, 16), resize)
    assert np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))


def test_im_size_brings_mixed_sizes_together(tmp_path, write_tree, write_image):
    write_tree(tmp_path, size=(10, 6))
    write_image(tmp_path / "bee" / "odd.png", size=(50, 70))
    assert load_data("folder", tmp_path, im_size=4, **QUIET).im_size == (4, 4)
    with pytest.raises(ValueError, match="unknown --resize 'stretch'"):
        load_data("folder", tmp_path, im_size=4, resize="stretch", **QUIET)
    with pytest.raises(ValueError, match="--im_size must be at least 1"):
        load_data("folder", tmp_path, im_size=0, **QUIET)
