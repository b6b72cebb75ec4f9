"""Files that are no set, not whole, or dangerous are refused in one line, and nothing in them runs."""

import os
import pickle
import zipfile

import pytest
import torch

from condense.sharing.layouts import LAYOUTS, read_set

IMAGES, LABELS = torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1])


def refusal(path):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_set(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def saved(path, content, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


CONTENTS = {
    "result.pt": {"data": [[IMAGES, LABELS]], "accs_all_exps": {}, "meta": {"format_version": 1}},
    "reference.pt": {"data": [[IMAGES, LABELS]], "accs_all_exps": {"ConvNet": [0.5]}},
    "steps.pt": {"data": [[IMAGES, LABELS], [IMAGES, LABELS + 2]]},
    "mtt/images_3.pt": IMAGES,
    "idc/data.pt": [IMAGES, LABELS],
    "tensors.pt": (IMAGES, LABELS),
    "safetensors.safetensors": {"images": IMAGES, "labels": LABELS},
}


def one_of(layout, folder):
    """Write a set of `layout`; returns its file."""
    (name, content), = [(name, content) for name, content in CONTENTS.items() if name.startswith(layout)]
    if layout == "mtt":
        saved(folder / "mtt" / "labels_3.pt", LABELS)
    if layout == "safetensors":
        from safetensors.torch import save_file
        save_file(content, folder / name)
        return folder / name
    return saved(folder / name, content)


FILES = [layout for layout in LAYOUTS if layout != "folder"]


@pytest.mark.parametrize("layout", FILES)
def test_every_layout_is_recognised_and_refused_where_it_is_cut_off(tmp_path, layout):
    path = one_of(layout, tmp_path)
    assert read_set(path).layout == layout
    whole = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[:int(share * len(whole))])
        refusal(path)


class Payload:
    """Makes a file when it is brought to life, as a hostile one would do worse."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("place", ["alone", "next to the data", "as a label", "pickled without torch", "old format"])
def test_objects_are_refused_and_nothing_runs(tmp_path, place):
    target, path = tmp_path / "ran", tmp_path / "set.pt"
    hostile = Payload(target)
    content = {"data": [[IMAGES, LABELS]], "accs_all_exps": {}, "meta": hostile}
    if place == "pickled without torch":
        path.write_bytes(pickle.dumps(content))
    else:
        content = {"alone": hostile, "as a label": (IMAGES, hostile)}.get(place, content)
        saved(path, content, _use_new_zipfile_serialization=place != "old format")
    refusal(path)
    assert not target.exists()
    if place == "next to the data":                       # it would have worked, had anybody asked
        torch.load(path, weights_only=False)["meta"].close()
        assert target.exists()


def test_objects_are_called_by_their_name_not_damage(tmp_path):
    assert "objects or code" in refusal(saved(tmp_path / "x.pt", {"images": os.getcwd, "labels": LABELS}))


NONE = {
    "a number": 3,
    "a dict of others": {"weights": IMAGES},
    "three tensors": (IMAGES, LABELS, LABELS),
    "flat images": (IMAGES.flatten(1), LABELS),
    "integers for images": (IMAGES.long(), LABELS),
    "no images": (IMAGES[:0], LABELS[:0]),
    "no experiments": {"data": [], "accs_all_exps": {}},
    "lengths that differ": (IMAGES, LABELS[:3]),
    "labels below 0": (IMAGES, LABELS - 1),
    "labels that are not whole": (IMAGES, LABELS + 0.5),
    "labels of three dimensions": (IMAGES, LABELS[:, None, None]),
    "labels that are infinite": (IMAGES, torch.full((4, 2), torch.inf)),
    "images that are not numbers": (IMAGES / 0, LABELS),
    "a dict without labels": {"images": IMAGES},
    "accuracies that are none": {"data": [[IMAGES, LABELS]], "accs_all_exps": {"ConvNet": 0.5}},
    "an entry that is none": {"data": [[IMAGES]], "accs_all_exps": {}},
    "an entry of lists": {"data": [[[1], [2]]], "accs_all_exps": {}},
}


@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_set_is_refused(tmp_path, kind):
    assert len(refusal(saved(tmp_path / "x.pt", NONE[kind]))) < 800


def test_a_file_of_another_kind_or_none_is_refused(tmp_path):
    (tmp_path / "x.pt").write_text("no tensors")
    assert "no PyTorch file" in refusal(tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "y.pt", "w") as archive:
        archive.writestr("a", "b")
    refusal(tmp_path / "y.pt")
    (tmp_path / "x.safetensors").write_text("no tensors")
    assert "no safetensors file" in refusal(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match="no synthetic set"):
        read_set(tmp_path / "absent.pt")


def test_labels_and_step_sizes_of_a_run_are_checked_as_images_are(tmp_path):
    saved(tmp_path / "images_best.pt", IMAGES)
    for content in ("text", LABELS[:3], {"a": 1}):
        saved(tmp_path / "labels_best.pt", content)
        refusal(tmp_path / "images_best.pt")
    saved(tmp_path / "labels_best.pt", LABELS)
    for content in ("fast", torch.zeros(2), torch.tensor(-1.0), torch.tensor(torch.nan)):
        saved(tmp_path / "lr_best.pt", content)
        with pytest.raises(ValueError, match="step size"):
            read_set(tmp_path)
