"""Tensor files: .pt and .npz, layouts, ranges, labels, test parts, errors."""

import logging
import pickle

import numpy as np
import pytest
import torch

from condense.data import load_data
from condense.data import tensor_file as module
from condense.data.pixels import resized


def contents(layout="NCHW", kind="uint8", test="val"):
    """Twelve 6x5 images of 3 classes, labels unsorted, in the keys of the reference."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 1 if layout == "NHW" else 3, 6, 5), dtype=np.uint8)
    images[0, 0, 0, 0], images[1, 0, 0, 0] = 0, 255
    pixels = {"NHW": images[:, 0], "NHWC": images.transpose(0, 2, 3, 1), "NCHW": images}[layout]
    pixels = {"unit": pixels / np.float32(255), "double": pixels.astype(np.float64)}.get(
        kind, pixels.astype(kind if kind not in ("unit", "double") else "uint8"))
    labels = np.arange(12) % 3
    table = {"classes": np.array(["a", "b", "c"]), "images_train": pixels, "labels_train": labels}
    if test:
        table |= {f"images_{test}": pixels[:4], f"labels_{test}": labels[:4]}
    return table, images


def store(path, table):
    if path.suffix == ".npz":
        np.savez(path, **table)
    else:
        torch.save({key: value.tolist() if key == "classes" else torch.tensor(value)
                    for key, value in table.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
@pytest.mark.parametrize("kind", ["uint8", "int32", "float32", "double", "unit"])
def test_every_layout_and_range_gives_the_same_bytes(tmp_path, suffix, layout, kind):
    table, images = contents(layout, kind)
    real = load_data("file", store(tmp_path / f"x{suffix}", table))
    order = np.argsort(table["labels_train"], kind="stable")
    assert np.array_equal(real.images.numpy(), images[order])
    assert np.array_equal(real.test_images.numpy(), images[:4]) and real.test_labels.tolist() == [0, 1, 2, 0]
    assert real.class_names == ["a", "b", "c"]
    expected = images.astype(float) / 255
    assert real.mean == pytest.approx(expected.mean((0, 2, 3)))
    assert real.std == pytest.approx(expected.std((0, 2, 3)))


def test_blocks_join_to_the_whole(tmp_path, monkeypatch):
    table, _ = contents()
    path = store(tmp_path / "x.pt", table)
    whole = load_data("file", path).fingerprint
    monkeypatch.setattr(module, "BLOCK_BYTES", 5 * 90)           # five images
    assert load_data("file", path).fingerprint == whole


def test_the_test_part_may_be_called_test(tmp_path):
    assert len(load_data("file", store(tmp_path / "x.npz", contents(test="test")[0])).test_labels) == 4


def test_without_a_test_part_a_stratified_fifth_is_held_out_and_said(tmp_path, caplog):
    path = store(tmp_path / "x.pt", contents(test=None)[0])
    with caplog.at_level(logging.INFO, "condense"):
        real = load_data("file", path, seed=1)
    assert real.class_counts == [3, 3, 3] and sorted(real.test_labels.tolist()) == [0, 1, 2]
    assert "a stratified fifth is held out with seed 1, 3 of 12" in caplog.text


@pytest.mark.parametrize("classes, names", [(None, ["-1", "4", "70"]), (["x", "y", "z"], ["x", "y", "z"])])
def test_labels_with_gaps_are_numbered_in_order(tmp_path, classes, names):
    table, _ = contents()
    values = np.array([70, -1, 4])
    table |= {key: values[table[key]] for key in ("labels_train", "labels_val")}
    table.pop("classes") if classes is None else table.update(classes=np.array(classes))
    real = load_data("file", store(tmp_path / "x.npz", table))
    assert real.class_names == names and real.test_labels.tolist() == [2, 0, 1, 2]


def test_class_names_may_be_indexed_by_labels_that_skip_some(tmp_path):
    table, _ = contents()
    table |= {"classes": np.array(list("abcde")), "labels_train": table["labels_train"] * 2,
              "labels_val": table["labels_val"] * 2}
    assert load_data("file", store(tmp_path / "x.pt", table)).class_names == ["a", "c", "e"]


def test_pt_files_of_numpy_arrays_and_of_the_old_format_load(tmp_path):
    table, images = contents()
    torch.save(table | {"classes": ["a", "b", "c"]}, tmp_path / "arrays.pt")
    store(tmp_path / "new.pt", table)
    torch.save(torch.load(tmp_path / "new.pt"), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(table | {"classes": ["a", "b", "c"]}, tmp_path / "numpy1.pt",
               _use_new_zipfile_serialization=False)
    stored = (tmp_path / "numpy1.pt").read_bytes()               # NumPy 1 called its parts so
    (tmp_path / "numpy1.pt").write_bytes(stored.replace(b"numpy._core.", b"numpy.core."))
    files = [tmp_path / f"{name}.pt" for name in ("arrays", "new", "old", "numpy1")]
    assert len({load_data("file", file).fingerprint for file in files}) == 1


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("place", ["value", "whole"])
def test_objects_are_never_unpickled(tmp_path, place):
    table, _ = contents()
    torch.save(Evil() if place == "whole" else table | {"classes": Evil()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="cannot read .*x.pt.*store tensors"):
        load_data("file", tmp_path / "x.pt")
    array = np.empty(1, object)
    array[0] = Evil()
    if place == "value":
        np.savez(tmp_path / "x.npz", **(table | {"classes": array}))
    else:
        (tmp_path / "x.npz").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="cannot read "):
        load_data("file", tmp_path / "x.npz")


@pytest.mark.parametrize("change, says", [
    ({"labels_train": None}, "holds classes, images_train, images_val, labels_val; it needs images_train"),
    ({"images_train": np.full((12, 3, 6, 5), -1.5)}, "from -1.5 to -1.5; store pixels before normalisation"),
    ({"images_train": np.full((12, 3, 6, 5), np.nan)}, "values from nan"),
    ({"images_train": np.full((12, 3, 6, 5), 300)}, "values from 300 to 300"),
    ({"images_train": np.zeros((12, 3, 6, 3))}, r"shape \(12, 3, 6, 3\); give it"),
    ({"images_train": np.zeros((12, 4, 6, 5))}, r"shape \(12, 4, 6, 5\); give it"),
    ({"images_train": np.zeros((12, 30))}, r"shape \(12, 30\); give it"),
    ({"labels_train": np.zeros(11, int)}, "it needs 12 integers"),
    ({"labels_train": np.eye(12)}, "it needs 12 integers"),
    ({"labels_val": np.array([0, 1, 2, 9])}, r"labels that labels_train lacks: \[9\]"),
    ({"classes": np.array(["a", "b"])}, "names 2 classes but has 3 labels"),
    ({"images_val": np.zeros((4, 3, 7, 7), np.uint8)}, "same channels and size"),
])
@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, change, says, suffix):
    table = {key: value for key, value in (contents()[0] | change).items() if value is not None}
    with pytest.raises(ValueError, match=says) as error:
        load_data("file", store(tmp_path / f"x{suffix}", table))
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_short_or_no_dictionary_is_refused_in_one_line(tmp_path):
    for suffix in (".pt", ".npz"):
        path = store(tmp_path / f"x{suffix}", contents()[0])
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(ValueError, match="cannot read") as error:
            load_data("file", path)
        assert "\n" not in str(error.value)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list, not a dictionary"):
        load_data("file", tmp_path / "list.pt")


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_images_are_brought_to_another_size_in_both_parts(tmp_path, resize):
    path = store(tmp_path / "x.pt", contents()[0])
    own, other = load_data("file", path), load_data("file", path, im_size=4, resize=resize)
    assert own.im_size == (6, 5) and other.im_size == (4, 4) and other.fingerprint != own.fingerprint
    assert torch.equal(other.images, resized(own.images, 4, resize))
    assert torch.equal(other.test_images, resized(own.test_images, 4, resize))
