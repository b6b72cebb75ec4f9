"""Decoding many files: the cache, the decoding processes, and the whole of CIFAR-10."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import condense
from condense.data import image_files, load_data

QUIET = {"progress": False}


@pytest.fixture
def decodings(monkeypatch):
    """The number of times that files were decoded, as a list of counts."""
    counts, plain = [], image_files._decode_files
    monkeypatch.setattr(image_files, "_decode_files", lambda root, paths, *rest: counts.append(len(paths))
                        or plain(root, paths, *rest))
    return counts


def test_a_second_start_decodes_nothing_and_gives_the_same(tmp_path, decodings, write_tree):
    write_tree(tmp_path)
    first, second = (load_data("folder", tmp_path, **QUIET) for _ in range(2))
    assert decodings == [10] and first.fingerprint == second.fingerprint


@pytest.mark.parametrize("change", ["touched", "added", "resized", "squashed", "code", "Pillow"])
def test_what_changes_the_pixels_is_decoded_again(tmp_path, decodings, change, write_tree, write_image, monkeypatch):
    write_tree(tmp_path)
    load_data("folder", tmp_path, im_size=4, **QUIET)
    if change == "touched":
        os.utime(tmp_path / "ant" / "0.png", ns=(1, 1))
    if change == "added":
        write_image(tmp_path / "ant" / "new.png")
    if change == "code":
        monkeypatch.setattr(image_files, "CODE", "other")
    if change == "Pillow":
        monkeypatch.setattr(image_files, "library_versions", lambda *names: dict.fromkeys(names, "0"))
    size, resize = 5 if change == "resized" else 4, "squash" if change == "squashed" else "crop"
    load_data("folder", tmp_path, im_size=size, resize=resize, **QUIET)
    assert len(decodings) == 2


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"garbage", lambda data: data[:-9],
                                    lambda data: data[:200],
                                    lambda data: data[:140] + b"\xff\x01" + data[142:]],
                         ids=["empty", "garbage", "short", "header", "flipped"])
def test_a_damaged_cache_file_is_rebuilt(tmp_path, decodings, monkeypatch, damage, write_tree):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    write_tree(tmp_path / "data")
    first = load_data("folder", tmp_path / "data", **QUIET).fingerprint
    (cached,) = (tmp_path / "cache" / "images").iterdir()
    cached.write_bytes(damage(cached.read_bytes()))
    assert load_data("folder", tmp_path / "data", **QUIET).fingerprint == first
    assert load_data("folder", tmp_path / "data", **QUIET).fingerprint == first
    assert len(decodings) == 2


def test_a_cache_folder_that_cannot_be_written_is_a_warning_only(tmp_path, monkeypatch, caplog, write_tree):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "file" / "cache"))
    write_tree(tmp_path / "data")
    assert len(load_data("folder", tmp_path / "data", **QUIET)) == 8
    assert "not cached" in caplog.text and "CONDENSE_CACHE" in caplog.text


# Decoding processes

def test_processes_decode_to_the_same_pixels_as_this_one(tmp_path, monkeypatch, write_tree):
    write_tree(tmp_path, count=30)
    alone = load_data("folder", tmp_path, im_size=5, **QUIET).fingerprint
    monkeypatch.setattr(image_files, "FEW", 0)
    monkeypatch.setattr(image_files, "CHUNK", 7)
    monkeypatch.setattr(image_files, "_read_cache", lambda *_: None)
    assert load_data("folder", tmp_path, im_size=5, **QUIET).fingerprint == alone


def test_processes_report_problems_like_this_one(tmp_path, monkeypatch, write_tree, write_image):
    write_tree(tmp_path, count=100, mode="L", colour=3)
    monkeypatch.setattr(image_files, "FEW", 0)
    monkeypatch.setattr(image_files, "CHUNK", 8)
    write_image(tmp_path / "bee" / "colour.png")
    assert load_data("folder", tmp_path, **QUIET).channel == 3
    (tmp_path / "bee" / "077.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot decode .*077.png"):
        load_data("folder", tmp_path, **QUIET)


def test_a_process_that_dies_is_an_error_not_a_hang(tmp_path, monkeypatch, write_tree):
    write_tree(tmp_path, count=20)
    (tmp_path / "dies.py").write_text("import sys; sys.stdin.readline(); sys.exit(3)")
    monkeypatch.setattr(image_files, "FEW", 0)
    monkeypatch.setattr(image_files.decoder, "__file__", str(tmp_path / "dies.py"))
    with pytest.raises(RuntimeError, match="ended early"):
        load_data("folder", tmp_path, **QUIET)


def test_decoding_processes_run_neither_the_users_script_nor_torch(tmp_path, write_tree):
    """A script without an `if __name__` guard works, and prints once; workers import no torch."""
    write_tree(tmp_path / "data", count=300)
    script = tmp_path / "script.py"
    script.write_text("print('started')\n"
                      "from condense.data import load_data\n"
                      f"print(len(load_data('folder', {str(tmp_path / 'data')!r}, progress=False)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(condense.__file__).parents[1])})
    assert done.stdout.split() == ["started", "480"] and done.stderr == ""
    source = ("import sys, json; sys.argv = [sys.executable]; import runpy;"
              f"sys.stdin.close(); runpy.run_path({image_files.decoder.__file__!r});"
              "print('torch' in sys.modules)")
    checked = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert checked.stdout.strip() == "False"


def test_the_bar_shows_only_while_decoding_on_a_terminal(tmp_path, capsys, write_tree, monkeypatch):
    write_tree(tmp_path / "first")
    write_tree(tmp_path)
    load_data("folder", tmp_path / "first", progress=True)
    assert capsys.readouterr().err == ""                 # a log file wants no bars
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    load_data("folder", tmp_path, progress=True)
    assert "decoding images" in capsys.readouterr().err
    load_data("folder", tmp_path, progress=True)
    assert capsys.readouterr().err == ""


# Real data

def test_cifar10_as_jpeg_files_loads_whole_and_is_decoded_once(cifar10_folder, decodings):
    real = load_data("folder", cifar10_folder, **QUIET)
    assert real.spec == (3, 10, (32, 32)) and real.class_counts == [5000] * 10
    assert torch.bincount(real.test_labels).tolist() == [1000] * 10
    assert real.class_names[0] == "airplane" and real.class_names[-1] == "truck"
    assert real.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)    # CIFAR-10's, but for JPEG
    assert load_data("folder", cifar10_folder, **QUIET).fingerprint == real.fingerprint
    assert decodings == [60_000]
