"""export.py as a user runs it: on a result of a method script, and on files of others."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import export
from condense.run.script import run_script
from condense.sharing.layouts import read_set
from tests.sharing.export_sets import NAME, drawn, foreign_result, own_result, soft_labels
from utils import load_synthetic_set


def run(*arguments):
    run_script(export.main, export.Config, export.__doc__, [str(argument) for argument in arguments])


def error_line(capsys, *arguments):
    """Run into an error; returns (exit code, its only line)."""
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return stop.value.code, lines[0]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def result(tmp_path_factory, dm):
    """What main_DM.py writes."""
    folder = tmp_path_factory.mktemp("result")
    dm.run(folder, "--Iteration", "1", "--num_eval", "1", "--epoch_eval_train", "1", "--num_exp", "2", "--model",
           "ConvNetD1")
    return folder / NAME


def test_every_format_in_one_call_lands_beside_the_set_and_reads_back(tmp_path, result, capsys):
    path = tmp_path / NAME
    path.write_bytes(result.read_bytes())
    run(path, "--format", "card", "safetensors", "tensors", "reference", "folder", "--experiment", "1")
    stem = NAME.removesuffix(".pt")
    written = [f"{stem}.card.md", f"{stem}.card.png", f"{stem}.reference.pt", f"{stem}_exp1.json",
               f"{stem}_exp1.safetensors", f"{stem}_exp1.tensors.pt", f"{stem}_exp1_png"]
    assert names(tmp_path) == sorted([NAME, *written])
    original = read_set(path).sets
    for name in (f"{stem}_exp1.safetensors", f"{stem}_exp1.tensors.pt"):
        (one,) = read_set(tmp_path / name).sets
        assert torch.equal(one.images, original[1].images) and torch.equal(one.labels, original[1].labels)
    for one, expected in zip(read_set(tmp_path / f"{stem}.reference.pt").sets, original, strict=True):
        assert torch.equal(one.images, expected.images)
    assert read_set(tmp_path / f"{stem}_exp1_png").sets[0].labels.tolist() == original[1].labels.tolist()
    said = capsys.readouterr().out
    assert "normalised: its meta says so" in said and "clamped" in said and "sha256" in said


@pytest.mark.parametrize("space", ["normalised", "raw"])
@pytest.mark.parametrize("name, ending", [("tensors", ".pt"), ("safetensors", ".safetensors")])
def test_a_raw_export_normalises_back_to_the_same_set(tmp_path, result, name, ending, space):
    first, back = tmp_path / f"first{ending}", tmp_path / f"back{ending}"
    run(result, "--format", name, "--space", space, "--to", first)
    run(first, "--format", name, "--space", "normalised", "--to", back)
    images, expected = read_set(back).sets[0].images, read_set(result).sets[0].images
    torch.testing.assert_close(images, expected, rtol=0, atol=0 if space == "normalised" else 1e-6)
    assert read_set(first).space == space and read_set(back).mean == read_set(result).mean


def test_a_tree_of_images_becomes_tensors_again(tmp_path, result):
    run(result, "--format", "folder", "--to", tmp_path / "png")
    run(tmp_path / "png", "--format", "tensors", "--to", tmp_path / "again.pt")
    again, expected = read_set(tmp_path / "again.pt"), read_set(result)
    mean, std = expected.mean[0], expected.std[0]
    pixels = (expected.sets[0].images.double() * std + mean).clamp(0, 1)
    assert again.space == "raw" and (again.sets[0].images - pixels).abs().max() <= 1 / 510 + 1e-6
    assert again.class_names == expected.class_names


def test_files_of_others_take_what_the_flags_say(tmp_path):
    path = foreign_result(tmp_path, drawn(20, 1, 28, 28), torch.arange(10).repeat_interleave(2), "mine.pt")
    run(path, "--format", "tensors", "--dataset", "MNIST", "--from_space", "normalised", "--space", "raw", "--to",
        tmp_path / "raw.pt")                               # no MNIST is there: its constants are known
    back = read_set(tmp_path / "raw.pt")
    assert torch.equal(back.sets[0].images, (drawn(20, 1, 28, 28).double() * 0.3081 + 0.1307).float())
    assert back.dataset == "MNIST" and back.mean == (0.1307,)


def test_a_space_that_nothing_decides_is_asked_for_by_its_flag_here(tmp_path, capsys):
    path = foreign_result(tmp_path, drawn(20, 1, 8, 8), torch.arange(10).repeat_interleave(2), "mine.pt")
    code, line = error_line(capsys, path, "--format", "tensors", "--dataset", "Digits")
    assert code == 2 and "--from_space" in line and " --space" not in line
    run(path, "--format", "tensors", "--dataset", "Digits", "--from_space", "normalised")
    assert "as --from_space says" in capsys.readouterr().out


def test_data_that_are_needed_are_loaded_as_their_flags_say(tmp_path):
    path, _, sets = own_result(tmp_path, zca=True)
    run(path, "--format", "tensors", "--space", "normalised", "--to", tmp_path / "out.pt")
    plain = own_result(tmp_path, name="plain.pt")[1]
    assert read_set(tmp_path / "out.pt").mean == tuple(plain.mean)


def test_several_formats_go_into_the_folder_named(tmp_path, result):
    run(result, "--format", "card,tensors", "--to", tmp_path / "out", "--no-picture")
    stem = NAME.removesuffix(".pt")
    assert names(tmp_path / "out") == [f"{stem}.card.md", f"{stem}.tensors.pt"]


def test_scores_of_the_file_get_onto_its_card(tmp_path, result):
    import hashlib
    row = {"name": "DM", "sha256": hashlib.sha256(result.read_bytes()).hexdigest(), "network": "LeNet", "mean": 0.5,
           "std": 0.25, "networks": 3, "protocol": "dsa"}
    (tmp_path / "scores.json").write_text(json.dumps({"rows": [row]}))
    run(result, "--format", "card", "--scores", tmp_path / "scores.json", "--to", tmp_path / "out.md")
    assert "| DM | LeNet | dsa | 50.00 ± 25.00 % | 3 |" in (tmp_path / "out.md").read_text(encoding="utf-8")


def test_nothing_is_replaced_or_written_in_part_unless_asked(tmp_path, result, capsys):
    target = tmp_path / "out.pt"
    target.write_bytes(b"dear")
    code, line = error_line(capsys, result, "--format", "tensors", "--to", target)
    assert code == 2 and "exists already; --overwrite" in line and target.read_bytes() == b"dear"
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / NAME.replace(".pt", ".tensors.pt")).write_bytes(b"dear")
    assert error_line(capsys, result, "--format", "card", "tensors", "--to", folder)[0] == 2
    assert len(names(folder)) == 1                         # the card was not begun
    run(result, "--format", "tensors", "--to", target, "--overwrite")
    assert read_set(target).layout == "tensors"


@pytest.fixture
def server(tmp_path):
    """A folder that is served over http: (folder, URL)."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_set_from_the_internet_is_written_into_the_current_folder(tmp_path, result, server, monkeypatch):
    folder, url = server
    (folder / NAME).write_bytes(result.read_bytes())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    run(f"{url}/{NAME}", "--format", "tensors")
    assert names(tmp_path / "here") == [NAME.replace(".pt", ".tensors.pt")]


@pytest.mark.parametrize("flags, mend", [
    ([], "--format says what to write: folder (PNG files"),
    (["--format", "png"], "unknown value 'png'; choose one of: folder"),
    (["--format", "folder", "--space", "raw"], "has a fixed space; leave --space out"),
    (["--format", "reference", "--space", "raw"], "give --space normalised or zca, or --format tensors"),
    (["--format", "tensors", "--space", "zca"], "has no ZCA whitening"),
    (["--format", "tensors", "--experiment", "9"], "there is no --experiment 9"),
    (["--format", "reference", "--experiment", "1"], "covers all experiments; leave --experiment out"),
    (["--format", "card", "--which", "best"], "leave --which out"),
    (["--format", "tensors", "--which", "best"], "no set of the best iteration"),
    (["--format", "tensors", "--scores", "x.json"], "--scores belongs to --format card"),
    (["--format", "tensors", "--no-picture"], "--no-picture belongs to --format card"),
    (["--format", "card", "--scores", "nowhere.json"], "no file nowhere.json"),
    (["--format", "tensors", "--dataset", "MNIST"], "leave --dataset out"),
    (["--format", "tensors", "--sha256", "0" * 64], "another file"),
    (["--format", "safetensors", "--to", "set.pt"], "ends in .safetensors; write set.pt.safetensors"),
    (["--format", "tensors", "--labels", "x.pt"], "leave --labels x.pt out"),
    (["--formt", "card"], "did you mean --format?"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_with_the_mend_exit_code_2_and_nothing_written(tmp_path, result, capsys, flags, mend):
    path = tmp_path / NAME
    path.write_bytes(result.read_bytes())
    code, line = error_line(capsys, path, *flags)
    assert code == 2 and mend in line
    assert names(tmp_path) == [NAME]


def test_one_set_at_a_time_that_is_there(tmp_path, result, capsys):
    assert "one set at a time, not 2" in error_line(capsys, result, result, "--format", "card")[1]
    assert "no synthetic set" in error_line(capsys, tmp_path / "nowhere.pt", "--format", "card")[1]
    assert error_line(capsys, "--format", "card")[0] == 2


def test_help_names_every_format(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    said = capsys.readouterr().out
    assert stop.value.code == 0 and all(name in said for name in ("SET", "safetensors", "--from_space", "card"))


def test_views_of_a_run_with_hallucinators_are_told_by_every_format_that_drops_them(tmp_path, dm, capsys):
    dm.run(tmp_path, "--parameterization", "hallucinator", "--n_style", "3", "--ipc", "4", "--Iteration", "1",
           "--num_eval", "1", "--epoch_eval_train", "1", "--model", "ConvNetD1")
    capsys.readouterr()
    run(dm.path(tmp_path), "--format", "card", "folder", "reference", "tensors", "--to", tmp_path / "out")
    said = capsys.readouterr().out
    assert said.count("every 3 images in a row show one base, of which an epoch sees one") == 2
    (text,) = (path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.card.md"))
    assert "| views | every 3 images in a row show one base, of which an epoch sees one |" in text
    (tensors,) = (tmp_path / "out").glob("*.tensors.pt")
    assert load_synthetic_set(tensors).views == load_synthetic_set(dm.path(tmp_path)).views == 3


def test_soft_labels_and_a_lossy_tree_are_told(tmp_path, capsys):
    path, _, _ = own_result(tmp_path, labels=soft_labels())
    run(path, "--format", "folder", "reference")
    said = capsys.readouterr().out
    assert "of soft labels the most probable" in said and "labels are probabilities (n, K)" in said
