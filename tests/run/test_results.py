"""The result file: layout, equal bytes, refusals, what a failing disk leaves behind; and the picture."""

import os
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from condense.data import load_data
from condense.run import results
from condense.run.results import describe, load_result, result_stem, save_picture, save_result


def content(seed=0, ipc=2, classes=3):
    rng = torch.Generator().manual_seed(seed)
    data = [[torch.randn(classes * ipc, 1, 8, 8, generator=rng), torch.arange(classes).repeat_interleave(ipc)]
            for _ in range(2)]
    accuracies = {"ConvNet": [0.5, 0.25], "MLP": [0.125]}
    return data, accuracies, {"method": "DM", "options": {"seed": 0, "init": "real"}}


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_name_is_spelled_as_in_the_reference():
    assert result_stem("DSA", "CIFAR10", "ConvNet", 10) == "res_DSA_CIFAR10_ConvNet_10ipc"


def test_file_has_the_keys_and_nesting_of_the_reference(tmp_path):
    data, accuracies, meta = content()
    save_result(tmp_path / "r.pt", data, accuracies, meta)
    loaded = torch.load(tmp_path / "r.pt", weights_only=True)
    assert set(loaded) == {"data", "accs_all_exps", "meta"}
    assert type(loaded["data"]) is list and [type(entry) for entry in loaded["data"]] == [list, list]
    for (images, labels), (kept, kept_labels) in zip(loaded["data"], data):
        assert images.dtype == torch.float32 and labels.dtype == torch.int64 and not images.requires_grad
        assert torch.equal(images, kept) and torch.equal(labels, kept_labels)
    assert loaded["accs_all_exps"] == accuracies and loaded["meta"] == meta
    assert all(type(a) is float for values in loaded["accs_all_exps"].values() for a in values)
    assert load_result(tmp_path / "r.pt").keys() == loaded.keys()


def test_meta_says_what_is_needed_to_use_the_set(tmp_path):
    digits = load_data("Digits")
    meta = describe(digits, "DM", {"seed": 3, "lr_img": 1.0}, {"floats": 640, "bytes": 2560}, networks="MLP")
    save_result(tmp_path / "r.pt", [], {}, meta)
    loaded = load_result(tmp_path / "r.pt")
    assert loaded["data"] == [] and loaded["meta"] == meta
    assert {"format_version", "method", "dataset", "class_names", "im_size", "mean", "std", "zca", "options",
            "seed", "storage"} <= set(meta)
    assert (meta["seed"], meta["im_size"], meta["dataset"], meta["networks"]) == (3, [8, 8], "Digits", "MLP")


def test_soft_labels_and_other_dtypes_are_kept(tmp_path):
    soft = torch.rand(6, 3).softmax(1)
    save_result(tmp_path / "r.pt", [[torch.zeros(6, 1, 4, 4, dtype=torch.float64), soft]], {}, {})
    images, labels = load_result(tmp_path / "r.pt")["data"][0]
    assert images.dtype == torch.float32 and torch.equal(labels, soft)


def test_equal_contents_give_equal_bytes_wherever_they_lie(tmp_path):
    (tmp_path / "other").mkdir()
    data, accuracies, meta = content()
    variants = {
        "a.pt": (data, accuracies),
        "other/a_longer_name.pt": content()[:2],
        "numpy.pt": (data, {k: [np.float64(a) for a in v] for k, v in accuracies.items()}),
        "views.pt": ([[torch.cat((x, x))[:len(x)], torch.cat((y, y))[:len(y)]] for x, y in data], accuracies),
        "layout.pt": ([[x.to(memory_format=torch.channels_last), y] for x, y in data], accuracies),
        "learnable.pt": ([[torch.nn.Parameter(x), y] for x, y in data], accuracies),
    }
    for name, (sets, scores) in variants.items():
        save_result(tmp_path / name, sets, scores, meta)
    first = (tmp_path / "a.pt").read_bytes()
    assert [name for name in variants if (tmp_path / name).read_bytes() != first] == []
    save_result(tmp_path / "b.pt", content(seed=1)[0], accuracies, meta)
    assert (tmp_path / "b.pt").read_bytes() != first


def test_files_of_the_reference_with_numpy_scalars_load(tmp_path):
    data, accuracies, _ = content()
    scores = {model: [np.float64(a) for a in values] for model, values in accuracies.items()}
    torch.save({"data": data, "accs_all_exps": scores}, tmp_path / "new.pt")
    assert b"multiarray" in (tmp_path / "new.pt").read_bytes()
    assert load_result(tmp_path / "new.pt")["accs_all_exps"] == accuracies


def test_files_written_with_numpy_1_load(tmp_path):
    data, accuracies, _ = content()
    torch.save({"data": data, "accs_all_exps": {"ConvNet": [np.float64(0.5)]}}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            text = new.read(name)
            old.writestr(name, text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_result(tmp_path / "old.pt")["accs_all_exps"] == {"ConvNet": [0.5]}


def refusal(path):
    with pytest.raises(ValueError) as caught:
        load_result(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(tmp_path, share):
    save_result(tmp_path / "r.pt", *content())
    whole = (tmp_path / "r.pt").read_bytes()
    (tmp_path / "r.pt").write_bytes(whole[:int(share * len(whole))])
    assert "incomplete or no result file" in refusal(tmp_path / "r.pt")


class Foreign:
    """Something that a restricted load must not bring to life."""


FOREIGN = {
    "a list": [1, 2],
    "a tensor": torch.zeros(3),
    "other keys": {"images": torch.zeros(3)},
    "one key": {"data": []},
    "data is no list": {"data": 3, "accs_all_exps": {}},
    "entries are numbers": {"data": [1, 2], "accs_all_exps": {}},
    "entries are lists of numbers": {"data": [[[1], [2]]], "accs_all_exps": {}},
    "flat images": {"data": [[torch.zeros(3, 4), torch.zeros(3)]], "accs_all_exps": {}},
    "lengths differ": {"data": [[torch.zeros(3, 1, 2, 2), torch.zeros(4)]], "accs_all_exps": {}},
    "three parts": {"data": [[torch.zeros(1, 1, 2, 2)] * 3], "accs_all_exps": {}},
    "a label for all": {"data": [[torch.zeros(1, 1, 2, 2), torch.tensor(1)]], "accs_all_exps": {}},
    "an object": {"data": [], "accs_all_exps": {}, "meta": Foreign()},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(tmp_path, kind):
    torch.save(FOREIGN[kind], tmp_path / "r.pt")
    refusal(tmp_path / "r.pt")


def test_text_and_missing_files_are_refused(tmp_path):
    (tmp_path / "r.pt").write_text("no tensors here")
    refusal(tmp_path / "r.pt")
    with pytest.raises(FileNotFoundError, match="no result file"):
        load_result(tmp_path / "absent.pt")
    with pytest.raises(FileNotFoundError):
        load_result(tmp_path)


# A disk that cannot take the file

@pytest.mark.parametrize("error", [RuntimeError("PytorchStreamWriter failed\nat some line"),
                                   OSError(28, "No space left")])
def test_a_failing_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch, error):
    save_result(tmp_path / "r.pt", *content())
    before = (tmp_path / "r.pt").read_bytes()

    def half(_, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(results.torch, "save", half)
    with pytest.raises(OSError) as caught:
        save_result(tmp_path / "r.pt", *content(seed=1))
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert (tmp_path / "r.pt").read_bytes() == before and leftovers(tmp_path) == ["r.pt"]


@pytest.mark.skipif(os.name != "posix", reason="file size limits are a POSIX matter")
def test_a_disk_that_is_really_full_keeps_the_old_file(tmp_path):
    save_result(tmp_path / "r.pt", *content())
    before = (tmp_path / "r.pt").read_bytes()
    program = textwrap.dedent("""
        import resource, sys, torch
        from condense.run.results import save_picture, save_result
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        images = torch.rand(100, 3, 32, 32)
        for write in (lambda: save_result(sys.argv[1] + "/r.pt", [[images, torch.arange(100)]], {}, {}),
                      lambda: save_picture(sys.argv[1] + "/p.png", images, 10)):
            try:
                write()
            except OSError as error:
                assert len(str(error).splitlines()) == 1, error
            else:
                sys.exit("the limit did not bite")
    """)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.pt").read_bytes() == before and leftovers(tmp_path) == ["r.pt"]


# The picture

def picture(folder, images, ipc):
    save_picture(folder / "p.png", images, ipc)
    with Image.open(folder / "p.png") as file:
        return file.mode, np.asarray(file)


@pytest.mark.parametrize("classes, ipc, height, width", [(10, 2, 32, 32), (3, 1, 64, 64), (4, 5, 40, 56),
                                                        (1, 3, 32, 32)])
def test_picture_has_a_row_per_class_and_two_pixels_between_images(tmp_path, classes, ipc, height, width):
    images = torch.rand(classes * ipc, 3, height, width, generator=torch.Generator().manual_seed(0))
    mode, pixels = picture(tmp_path, images, ipc)
    assert mode == "RGB"
    assert pixels.shape == (classes * (height + 2) + 2, ipc * (width + 2) + 2, 3)
    expected = np.zeros_like(pixels)
    for number, image in enumerate(images):
        top, left = 2 + number // ipc * (height + 2), 2 + number % ipc * (width + 2)
        eight_bit = np.floor(image.permute(1, 2, 0).double().numpy() * 255 + 0.5)
        expected[top:top + height, left:left + width] = eight_bit
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert (pixels[:2] == 0).all() and (pixels[:, -2:] == 0).all()


@pytest.mark.parametrize("side, factor", [(8, 4), (16, 2), (5, 6), (32, 1), (28, 1)])
def test_small_images_are_enlarged_by_a_whole_factor(tmp_path, side, factor):
    images = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    _, pixels = picture(tmp_path, images, 2)
    shown = side * factor
    assert pixels.shape == (3 * (shown + 2) + 2, 2 * (shown + 2) + 2, 3)
    first = pixels[2:2 + shown, 2:2 + shown]
    assert (first == first[::factor, ::factor].repeat(factor, 0).repeat(factor, 1)).all()


def test_grey_images_become_three_equal_channels(tmp_path):
    mode, pixels = picture(tmp_path, torch.rand(4, 1, 32, 32), 2)
    assert mode == "RGB" and (pixels == pixels[..., :1]).all()
    assert pixels.max() > 200


def test_picture_shows_at_most_fifty_images_of_a_class(tmp_path):
    images = torch.zeros(2 * 60, 1, 32, 32)
    images[60:] = 1                                        # the second class is white
    _, pixels = picture(tmp_path, images, 60)
    assert pixels.shape[:2] == (2 * 34 + 2, 50 * 34 + 2)
    assert (pixels[2:34] == 0).all() and (pixels[36, 2:34] == 255).all()


def test_picture_of_a_single_image_has_its_frame(tmp_path):
    _, pixels = picture(tmp_path, torch.ones(1, 3, 32, 32), 1)
    assert pixels.shape == (36, 36, 3) and (pixels[:2] == 0).all() and (pixels[2:34, 2:34] == 255).all()


def test_picture_takes_learnable_images_and_any_layout(tmp_path):
    images = torch.rand(4, 3, 32, 32)
    plain = picture(tmp_path, images, 2)[1]
    learnable = images.to(memory_format=torch.channels_last).requires_grad_()
    assert (picture(tmp_path, learnable, 2)[1] == plain).all()


def test_bytes_do_not_tell_where_a_word_came_from(tmp_path):
    written = []
    for word in ("cpu", "".join(["c", "pu"])):             # a literal, and one made at run time, as flags are
        save_result(tmp_path / "res.pt", [(torch.ones(1, 1, 2, 2), torch.zeros(1).long())], {}, {"device": word})
        written.append((tmp_path / "res.pt").read_bytes())
    assert written[0] == written[1]
