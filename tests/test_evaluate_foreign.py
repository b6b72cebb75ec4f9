"""evaluate.py on sets of other makers: every layout, every space, from a URL; and what is refused."""

import hashlib
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from condense.cli import build
from condense.data import load_data
from tests.evaluated import QUICK, normalised, real_pixels, write_layout


@pytest.mark.parametrize("name", ["reference", "steps", "mtt", "idc", "tensors", "folder"])
def test_every_foreign_layout_scores_as_the_images_it_holds(score, tmp_path, name):
    path, flags = write_layout(name, tmp_path)
    ours, _ = write_layout("tensors", tmp_path)
    (row,), printed = score(path, *flags, *QUICK, "--protocol", "dsa", output=tmp_path / "theirs.json")
    (same,), _ = score(ours, "--dataset", "Digits", *QUICK, "--protocol", "dsa", output=tmp_path / "ours.json")
    assert row["accuracies"] == same["accuracies"]
    assert "read as" in printed and row["space"] in printed and row["evidence"] in printed


def test_raw_and_normalised_versions_score_the_same(score, tmp_path):
    pixels, labels = real_pixels()
    accuracies = []
    for space, images in (("raw", pixels), ("normalised", normalised(pixels))):
        torch.save({"images": images, "labels": labels}, tmp_path / f"{space}.pt")
        (row,), _ = score(tmp_path / f"{space}.pt", "--dataset", "Digits", *QUICK, output=tmp_path / f"{space}.json")
        assert row["space"] == space
        accuracies.append(row["accuracies"])
    assert accuracies[0] == accuracies[1]


def test_a_whitened_file_without_its_transform_is_scored_in_whitened_space_after_a_warning(score, tmp_path):
    digits = load_data("Digits", zca=True)
    batch = digits.sample(digits.classes, 10, torch.Generator().manual_seed(0))
    torch.save(batch.images(), tmp_path / "images_3.pt")
    torch.save(batch.labels, tmp_path / "labels_3.pt")
    rows, printed = score(tmp_path / "images_3.pt", "--dataset", "Digits", "--space", "zca", *QUICK)
    assert "does not hold its ZCA" in printed and rows[0]["data"]["fingerprint"] == digits.fingerprint


def test_too_few_images_to_tell_ask_for_the_space(score_error, tmp_path):
    pixels, labels = real_pixels(1)
    torch.save((normalised(pixels), labels), tmp_path / "ten.pt")
    assert "--space" in score_error(tmp_path / "ten.pt", "--dataset", "Digits", *QUICK)


class Quiet(SimpleHTTPRequestHandler):
    """A handler that does not write every request to standard error."""

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a web server of files in `tmp_path`/web, and a function that stops it."""
    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web"))) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", served.shutdown
        served.shutdown()
        thread.join()


def test_a_set_is_fetched_by_its_address_checked_and_kept(score, score_error, own, server, tmp_path, monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    address, stop = server
    url = f"{address}/{own.name}"
    assert "404" in score_error(url)
    shutil.copy(own, tmp_path / "web")
    sha256 = hashlib.sha256(own.read_bytes()).hexdigest()
    assert "sha256" in score_error(url, "--sha256", "0" * 64)
    assert not [path for path in (tmp_path / "cache" / "downloads").rglob("*") if path.suffix in (".pt", ".part")]
    rows, _ = score(url, "--sha256", sha256, "--stored", "--baselines", "none")
    assert rows[0]["set"] == url and rows[0]["sha256"] == sha256
    stop()
    assert score(url, "--stored", "--baselines", "none")[0] == rows


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(score_error, tmp_path):
    class Payload:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"data": [Payload()], "accs_all_exps": {}}, tmp_path / "evil.pt")
    score_error(tmp_path / "evil.pt", "--dataset", "Digits")
    assert not (tmp_path / "ran").exists()


def test_a_set_that_does_not_say_its_data_asks_for_them(score_error, tmp_path):
    path, _ = write_layout("tensors", tmp_path)
    assert "--dataset" in score_error(path)


def test_a_set_of_ours_scores_the_same_in_every_format_that_says_how_its_run_scored_it(score, own, tmp_path):
    import export
    cfg = build(export.Config, {"sets": (str(own),), "format": ("tensors", "safetensors", "reference"),
                                "to": str(tmp_path / "shared"), "experiment": 0, "progress": False})
    export.main(cfg)
    (expected,), _ = score(own, *QUICK, "--experiment", "0")
    found = []
    for path in sorted((tmp_path / "shared").iterdir()):
        if path.suffix != ".json":
            (row,), _ = score(path, *QUICK, "--experiment", "0", "--space", "normalised",
                              output=tmp_path / f"{path.name}.json")
            assert row["tensors_sha256"] == expected["tensors_sha256"]
            found.append((row["layout"], row["accuracies"] == expected["accuracies"]))
    assert found == [("reference", False), ("safetensors", True), ("tensors", True)]      # the first: other networks


def test_what_was_exported_knows_the_images_it_was_made_from(score, score_error, dm, tmp_path):
    import export
    dm.run(tmp_path, "--classes", "0-4")
    export.main(build(export.Config, {"sets": (str(dm.path(tmp_path)),), "format": ("safetensors",),
                                      "progress": False}))
    (path,) = tmp_path.glob("*.safetensors")
    rows, _ = score(path, *QUICK)
    assert rows[0]["data"]["classes"] == "0-4" and len(rows[0]["class_names"]) == 5
    assert "was made from" in score_error(path, *QUICK, "--classes", "1-5")
