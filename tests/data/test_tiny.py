"""Tiny ImageNet: both layouts of its tree, the tensor file, and how much memory loading takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import condense
from condense.data import load_data
from condense.data.pixels import resized

WNIDS = ("n02", "n01", "n03")                            # not in sorted order, as in the original
QUIET = {"progress": False}


def save(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if level % 2 else "RGB", (64, 64), level if level % 2 else (level,) * 3).save(path, "JPEG")


@pytest.fixture
def tree(tmp_path):
    """A small tree: of the wnids listed, n99 has no images; levels of grey tell class and image."""
    root = tmp_path / "tiny-imagenet-200"
    for label, wnid in enumerate(WNIDS):
        for i in range(4):
            save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 60 * label + i)
    for i, wnid in enumerate(("n01", "n02", "n03", "n01")):
        save(root / "val" / "images" / f"val_{i}.JPEG", 60 * WNIDS.index(wnid) + i)
    (root / "wnids.txt").write_text("\n".join((*WNIDS, "n99")))
    (root / "words.txt").write_text("n00\tnothing\nn01\tslug\nn02\tEgyptian cat, Mau\n")
    (root / "val" / "val_annotations.txt").write_text("".join(
        f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62\n" for i, wnid in enumerate(("n01", "n02", "n03", "n01"))))
    return root


def test_the_tree_takes_labels_from_wnids_and_names_from_words(tree):
    real = load_data("TinyImageNet", tree.parent, **QUIET)
    assert real.class_names == ["Egyptian cat, Mau", "slug", "n03"] and real.class_counts == [4, 4, 4]
    assert real.spec == (3, 3, (64, 64))                 # RGB, though half of the files are grey
    assert real.test_labels.tolist() == [1, 0, 2, 1]
    assert (real.images[:, 1, 5, 5] // 30).tolist() == [0] * 4 + [2] * 4 + [4] * 4
    assert real.mean == [0.485, 0.456, 0.406] and real.std == [0.229, 0.224, 0.225]


def test_the_tree_itself_may_be_named(tree):
    assert load_data("TinyImageNet", tree, **QUIET).fingerprint == \
        load_data("TinyImageNet", tree.parent, **QUIET).fingerprint


@pytest.mark.parametrize("inside, leftover", [("images", False), ("", True)])
def test_validation_images_sorted_into_class_folders_are_accepted(tree, inside, leftover):
    for i, wnid in enumerate(("n01", "n02", "n03", "n01")):
        (tree / "val" / wnid / inside).mkdir(parents=True, exist_ok=True)
        (tree / "val" / "images" / f"val_{i}.JPEG").rename(tree / "val" / wnid / inside / f"val_{i}.JPEG")
    (tree / "val" / "images").rmdir()
    if leftover:
        (tree / "val" / "images").mkdir()
    real = load_data("TinyImageNet", tree, **QUIET)
    assert real.test_labels.tolist() == [0, 1, 1, 2]
    assert (real.test_images[:, 0, 0, 0] // 30).tolist() == [0, 2, 2, 4]


def test_tiny_images_can_be_made_smaller(tree):
    assert load_data("TinyImageNet", tree, im_size=32, **QUIET).im_size == (32, 32)


def test_a_tree_without_images_says_so(tree):
    for path in (tree / "val" / "images").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no images in .*val"):
        load_data("TinyImageNet", tree, **QUIET)


@pytest.fixture
def tensors():
    """What tinyimagenet.pt holds, labels unsorted."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 3
    images = torch.randint(0, 256, (12, 3, 64, 64), dtype=torch.uint8, generator=rng)
    images[:, 0, 0, 0] = labels
    return {"classes": ["a", "b", "c"], "images_train": images, "labels_train": labels,
            "images_val": images[:6].clone(), "labels_val": labels[:6].clone()}


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.int64])
def test_tinyimagenet_pt_loads_from_its_folder_or_by_name_whatever_its_type(tmp_path, tensors, kind):
    stored = {key: value.to(kind) if key.startswith("images") else value for key, value in tensors.items()}
    torch.save(stored, tmp_path / "tinyimagenet.pt")
    for path in (tmp_path, tmp_path / "tinyimagenet.pt"):
        real = load_data("TinyImageNet", path)
        assert real.class_names == ["a", "b", "c"] and real.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert torch.equal(real.images, tensors["images_train"][tensors["labels_train"].argsort(stable=True)])
        assert torch.equal(real.test_images, tensors["images_val"]) and real.mean == [0.485, 0.456, 0.406]
    smaller = load_data("TinyImageNet", tmp_path, im_size=32)
    assert torch.equal(smaller.images, resized(load_data("TinyImageNet", tmp_path).images, 32))


MEASURE = """
import sys
import torch
from condense.data import load_data, pixels, tensor_file
pixels.BLOCK_BYTES = tensor_file.BLOCK_BYTES = 64 * 2**20 // 12     # in proportion to a set that is not full size
load_data("Digits", ".")                                     # what is imported on first use
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")                                          # the peak counts from here
def memory(key):
    with open("/proc/self/status") as file:
        return int(file.read().split(key + ":")[1].split()[0]) * 1024
before = memory("VmRSS")
real = load_data("TinyImageNet", sys.argv[1], progress=False)
print(memory("VmRSS") - before, memory("VmHWM") - before)
"""


def grown(folder):
    """(resident, peak) memory in bytes that loading adds to a process."""
    done = subprocess.run([sys.executable, "-c", MEASURE, folder], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(condense.__file__).parents[1])})
    if "clear_refs" in done.stderr:
        pytest.skip("this system does not let a process measure its peak memory")
    return map(int, done.stdout.split())


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="reads /proc of Linux")
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_loading_the_tensor_file_never_holds_the_set_twice(tmp_path, kind):
    """A twelfth of the full size (98 MB of pixels) in a twelfth of the block size, labels unsorted."""
    labels = torch.arange(8_000) % 200
    pixels = torch.randint(0, 256, (8_000, 3, 64, 64), dtype=torch.uint8)
    torch.save({"classes": [str(label) for label in range(200)], "images_train": pixels.to(kind),
                "labels_train": labels, "images_val": pixels[:200].to(kind), "labels_val": labels[:200]},
               tmp_path / "tinyimagenet.pt")
    held, (resident, peak) = pixels.numel(), grown(tmp_path)
    assert resident < 1.5 * held
    assert peak < 1.5 * held


# Real data

def test_the_20_class_slice_of_tiny_imagenet_loads_as_20_classes(tiny_folder):
    real = load_data("TinyImageNet", tiny_folder, **QUIET)
    assert real.spec == (3, 20, (64, 64)) and real.class_counts == [500] * 20
    assert torch.bincount(real.test_labels).tolist() == [50] * 20
    assert real.class_names[0] == "Egyptian cat"
    pixels = real.images[::50].double() / 255            # ImageNet's mean, roughly
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx(real.mean, abs=0.06)
