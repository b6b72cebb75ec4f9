"""ImageNet and its subsets: labels in both layouts, resizing, sides by name, and what is refused."""

import os

import pytest
import torch
from PIL import Image

from condense.data import DATASETS, SUBSETS, default_side, imagenet, load_data
from condense.data.decoder import decode

QUIET = {"progress": False}
WOOF = ["Australian terrier", "border terrier", "Samoyed", "beagle", "Shih-Tzu", "English foxhound",
        "Rhodesian ridgeback", "dingo", "golden retriever", "Old English sheepdog"]
PUBLISHED = {"imagenette": [0, 217, 482, 491, 497, 566, 569, 571, 574, 701],
             "imagewoof": [193, 182, 258, 162, 155, 167, 159, 273, 207, 229],
             "imagemeow": [281, 282, 283, 284, 285, 291, 292, 290, 289, 287],
             "imagesquawk": [84, 130, 88, 144, 145, 22, 96, 9, 100, 89],
             "imagefruit": [953, 954, 949, 950, 951, 957, 952, 945, 943, 948],
             "imageyellow": [309, 986, 954, 951, 987, 779, 599, 291, 72, 11]}
# wnids of IDC's hundred classes in its order, without the n and leading zeros
IDC_WNIDS = """
    2869837 1749939 2488291 2107142 13037406 2091831 4517823 4589890 3062245 1773797 1735189 7831146 7753275 3085013
    4485082 2105505 1983481 2788148 3530642 4435653 2086910 2859443 13040303 3594734 2085620 2099849 1558993 4493381
    2109047 4111531 2877765 4429376 2009229 1978455 2106550 1820546 1692333 7714571 2974003 2114855 3785016 3764736
    3775546 2087046 7836838 4099969 4592741 3891251 2701002 3379051 2259212 7715103 3947888 4026417 2326432 3637318
    1980166 2113799 2086240 3903868 2483362 4127249 2089973 3017168 2093428 2804414 2396427 4418357 2172182 1729322
    2113978 3787032 2089867 2119022 3777754 4238763 2231487 3032252 2138441 2104029 3837869 3494278 4136333 3794056
    3492542 2018207 4067472 3930630 3584829 2123045 4229816 2100583 3642806 4336792 3259280 2116738 2108089 3424325
    1855672 2090622
"""
WOOF_IDS = PUBLISHED["imagewoof"]


def wnid_of(class_id):
    return f"n{class_id:08d}"


def save(path, class_id, image, size=(40, 30)):
    """A JPEG whose red tells the class and blue the image, darker in its left half."""
    picture = Image.new("RGB", size, (class_id % 250, 0, 40 * image))
    picture.paste((class_id % 250, 200, 40 * image), (size[0] // 2, 0, *size))
    picture.save(path, "JPEG", quality=95)


def make_tree(root, with_images, class_ids=range(1000), train=3, val=2, **image):
    """The folders of `class_ids` in train/ and val/; those `with_images` have some."""
    for part, count in (("train", train), ("val", val)):
        for class_id in class_ids:
            folder = root / part / wnid_of(class_id)
            folder.mkdir(parents=True)
            for i in range(count if class_id in with_images else 0):
                save(folder / f"{part}_{class_id}_{i}.JPEG", class_id, i, **image)
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tree with all 1000 classes, of which those of imagewoof have images; in a folder of data sets."""
    folder = tmp_path_factory.mktemp("data")
    make_tree(folder / "ImageNet", set(WOOF_IDS))
    return folder


@pytest.fixture
def woof(tmp_path):
    """A folder of the ten classes of imagewoof alone."""
    return make_tree(tmp_path / "imagewoof2", set(WOOF_IDS), sorted(WOOF_IDS))


def test_subsets_are_different_classes_as_published():
    assert {name: list(SUBSETS[name]) for name in PUBLISHED} == PUBLISHED
    numbers = {name: (len(subset), len(set(subset.values()))) for name, subset in SUBSETS.items()}
    assert numbers == {**dict.fromkeys([*PUBLISHED, "imagenet10"], (10, 10)), "imagenet100": (100, 100)}
    assert list(SUBSETS["imagewoof"].items()) == list(zip(WOOF_IDS, WOOF))


def test_idcs_classes_are_those_of_its_wnids_in_its_order():
    """Class ids number the sorted wnids, so both lists ascend in the same order."""
    wnids, ids = [int(number) for number in IDC_WNIDS.split()], list(SUBSETS["imagenet100"])
    ascending = sorted(range(100), key=wnids.__getitem__)
    assert ascending == sorted(range(100), key=ids.__getitem__) and len(set(wnids)) == 100
    assert ids[:10] == list(SUBSETS["imagenet10"]) == [452, 64, 374, 236, 993, 176, 882, 904, 503, 74]
    known = {2085620: 151, 2123045: 281, 13040303: 994}    # Chihuahua, tabby, stinkhorn
    assert {wnid: ids[wnids.index(wnid)] for wnid in known} == known


@pytest.mark.parametrize("name", ["imagenet10", "imagenet100"])
def test_idcs_classes_are_loaded_with_its_labels_from_a_tree_of_them_alone(tmp_path, name):
    ids = list(SUBSETS[name])
    make_tree(tmp_path, set(ids), sorted(ids), train=1, val=1, size=(8, 8))
    real = load_data("ImageNet", tmp_path, subset=name, im_size=8, **QUIET)
    assert real.class_names == list(SUBSETS[name].values()) and real.class_counts == [1] * len(ids)
    for images, labels in ((real.images, real.labels), (real.test_images, real.test_labels)):
        reds = images[labels.argsort(), 0, 4, 1].float()
        assert (reds - torch.tensor(ids) % 250).abs().max() < 8                   # save() paints red by the class id


def test_labels_are_positions_in_the_list_though_it_is_not_sorted(whole):
    real = load_data("ImageNet", whole, subset="imagewoof", **QUIET)
    assert real.class_names == WOOF and real.class_counts == [3] * 10 and real.name == "ImageNet"
    reds = real.images[:, 0, 64, 32].view(10, 3).float().mean(1)
    assert (reds - torch.tensor(WOOF_IDS) % 250).abs().max() < 6
    assert real.test_labels.tolist() == torch.arange(10).repeat_interleave(2).tolist()
    assert (real.test_images[::2, 0, 64, 32].float() - torch.tensor(WOOF_IDS) % 250).abs().max() < 6
    assert real.mean == [0.485, 0.456, 0.406] and real.std == [0.229, 0.224, 0.225]


def test_a_folder_of_the_subset_alone_gives_the_same_tensors_and_labels(whole, woof):
    one, two = (load_data("ImageNet", path, subset="imagewoof", **QUIET) for path in (whole, woof))
    assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels)
    assert torch.equal(one.test_images, two.test_images) and torch.equal(one.test_labels, two.test_labels)
    assert one.fingerprint == two.fingerprint and one.class_names == two.class_names


@pytest.mark.parametrize("inside", ["", "ImageNet", "imagenet"])
def test_the_tree_may_be_named_or_lie_in_the_data_folder(tmp_path, inside):
    make_tree(tmp_path / inside, {2, 5}, [2, 5])
    assert load_data("ImageNet", tmp_path, im_size=8, **QUIET).class_names == [wnid_of(2), wnid_of(5)]


def test_without_a_subset_every_folder_is_a_class_in_sorted_order(woof):
    (woof / "train" / ".cache").mkdir()
    real = load_data("ImageNet", woof, im_size=16, **QUIET)
    assert real.class_names == [wnid_of(class_id) for class_id in sorted(WOOF_IDS)] and real.spec == (3, 10, (16, 16))


def test_images_are_squashed_to_128_unless_told_otherwise(woof):
    real = load_data("ImageNet", woof, subset="imagewoof", **QUIET)
    assert real.im_size == (128, 128)
    for resize, size in (("squash", 20), ("crop", 20), ("auto", 20)):
        real = load_data("ImageNet", woof, subset="imagewoof", im_size=size, resize=resize, **QUIET)
        path = woof / "train" / wnid_of(193) / "train_193_0.JPEG"
        expected = decode(str(path), 3, (size, size), "crop" if resize == "crop" else "squash")
        assert real.images[0].tolist() == expected.tolist()


def test_folders_are_still_cropped_by_default(tmp_path):
    make_tree(tmp_path, {1, 2}, [1, 2])
    auto, crop, squash = (load_data("folder", tmp_path, im_size=12, **how, **QUIET).images
                          for how in ({}, {"resize": "crop"}, {"resize": "squash"}))
    assert torch.equal(auto, crop) and not torch.equal(auto, squash)


def test_grey_and_cmyk_files_among_the_images_become_rgb(woof):
    folder = woof / "train" / wnid_of(193)
    Image.new("L", (40, 30), 90).save(folder / "grey.JPEG", "JPEG")
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(folder / "print.JPEG", "JPEG")
    real = load_data("ImageNet", woof, subset="imagewoof", **QUIET)
    assert real.class_counts[0] == 5 and real.images[0, :, 64, 64].tolist() == [90, 90, 90]
    red, green, blue = real.images[1, :, 64, 64].tolist()
    assert red > 200 and green < 60 and blue < 60


def refusal(error, path, **how):
    with pytest.raises(error) as caught:
        load_data("ImageNet", path, **{**QUIET, **how})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_subset_names_the_nearest(woof):
    message = refusal(ValueError, woof, subset="imagewof")
    assert "unknown subset 'imagewof'; did you mean imagewoof?" in message


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "ImageNet"])
def test_a_subset_of_another_data_set_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"--subset imagewoof is one of --dataset ImageNet, not of {name}; leave"):
        load_data(name, tmp_path, subset="imagewoof")


def test_a_missing_tree_says_what_to_put_where(tmp_path):
    message = refusal(FileNotFoundError, tmp_path / "nowhere", subset="imagewoof")
    assert "nowhere; put its train/<wnid>/*.JPEG and val/<wnid>/*.JPEG there, or name" in message
    (tmp_path / "train").mkdir()
    assert "has 0 class folders" in refusal(FileNotFoundError, tmp_path)


def test_a_flat_validation_folder_is_refused_with_the_mend(woof):
    for folder in (woof / "val").iterdir():
        for path in folder.iterdir():
            path.rename(woof / "val" / path.name)
        folder.rmdir()
    message = refusal(ValueError, woof, subset="imagewoof")
    assert "are not sorted into classes; move each to" in message and "val/<wnid>/" in message


@pytest.mark.parametrize("change", ["less", "more"])
def test_another_number_of_classes_than_all_or_the_subsets_is_refused(woof, change):
    if change == "more":
        make_tree(woof, {1}, [1])
    else:
        for path in (woof / "train" / wnid_of(193)).iterdir():
            path.unlink()
        (woof / "train" / wnid_of(193)).rmdir()
    message = refusal(ValueError, woof, subset="imagewoof")
    number = 11 if change == "more" else 9
    assert f"train has {number} class folders; for --subset imagewoof give it all 1000 of ImageNet, or" in message


@pytest.mark.parametrize("part, emptied", [("train", True), ("val", True), ("val", False)])
def test_a_class_without_images_is_named(woof, part, emptied):
    folder = woof / part / wnid_of(229)
    for path in folder.iterdir():
        path.unlink()
    if not emptied:
        folder.rmdir()
    message = refusal(FileNotFoundError, woof, subset="imagewoof")
    assert f"no images in {folder}; put those of ImageNet's class n00000229 there" in message


def test_what_does_not_fit_the_memory_is_refused_before_it_is_decoded(woof, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 500, "SC_PAGE_SIZE": 4096}[name])
    monkeypatch.setattr(imagenet, "read_images", None)
    message = refusal(ValueError, woof, subset="imagewoof")
    assert "50 images of 128x128 take" in message and "choose a --subset, or a smaller --im_size" in message


@pytest.mark.parametrize("name, side", [("Digits", 8), ("MNIST", 28), ("FashionMNIST", 28), ("SVHN", 32),
                                        ("CIFAR10", 32), ("CIFAR100", 32), ("TinyImageNet", 64), ("ImageNet", 128),
                                        ("folder", None), ("file", None)])
def test_the_side_of_every_data_set_is_known_before_it_is_loaded(name, side):
    assert default_side(name) == side
    assert default_side(name, 48) == 48


def test_the_side_known_in_advance_is_that_of_the_images(whole, mnist_folder):
    for name, path, subset in (("Digits", ".", None), ("MNIST", mnist_folder, None), ("ImageNet", whole, "imagewoof")):
        assert load_data(name, path, subset=subset, **QUIET).im_size == (default_side(name),) * 2


def test_the_side_of_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="did you mean ImageNet?"):
        default_side("ImagNet")


def test_dm_condenses_a_subset_and_says_which(dm, whole, tmp_path, capsys):
    flags = ["--dataset", "ImageNet", "--data_path", str(whole), "--im_size", "32", "--ipc", "1", "--Iteration", "1",
             "--batch_real", "2", "--epoch_eval_train", "1"]
    result = dm.run(tmp_path, *flags, "--subset", "imagewoof")
    meta = result["meta"]
    assert meta["class_names"] == WOOF and meta["options"]["subset"] == "imagewoof" and meta["zca"] is None
    assert result["data"][0][0].shape == (10, 3, 32, 32)
    code, line = dm.error_line(capsys, tmp_path, *flags, "--subset", "imagemeow")
    assert code == 2 and "--subset was imagewoof, is imagemeow" in line


def test_dm_refuses_a_subset_of_another_data_set_in_one_line(dm, tmp_path, capsys):
    code, line = dm.error_line(capsys, tmp_path, "--subset", "imagewoof")
    assert code == 2 and "--subset imagewoof is one of --dataset ImageNet, not of Digits; leave it out" in line
