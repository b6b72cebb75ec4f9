"""Files are whole or absent."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from condense.core.files import atomic_path, cache_folder, locked


def test_success_puts_the_whole_file_in_place(tmp_path):
    target = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary != target
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and os.listdir(target.parent) == ["file.txt"]


def test_an_existing_file_is_replaced_at_once(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with atomic_path(str(target)) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_any_error_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_temporary_file_that_vanished_does_not_hide_the_error(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.unlink()
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_rename_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr("condense.core.files.os.replace", refuse)
    with pytest.raises(PermissionError), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == []


def test_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr("condense.core.files.os.fsync", lambda fd: steps.append("flush") or fsync(fd))
    monkeypatch.setattr("condense.core.files.os.replace", lambda a, b: steps.append("rename") or replace(a, b))
    with atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("x")
    assert steps[:2] == ["flush", "rename"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX matter")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "file.txt") as temporary:
            temporary.write_text("x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o666 & ~mask


def test_a_parent_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError), atomic_path(tmp_path / "file" / "child"):
        raise AssertionError("must not get here")


def test_cache_folder_obeys_its_variables_in_order(monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", "/a/b")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_folder() == Path("/a/b")
    monkeypatch.delenv("CONDENSE_CACHE")
    assert cache_folder() == Path("/c/condense")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "condense"


needs_locks = pytest.mark.skipif(os.name != "posix", reason="file locks are a POSIX matter")


@needs_locks
def test_second_holder_of_a_lock_waits_for_the_first_and_says_so(tmp_path):
    happened, waiting = [], threading.Event()

    def second():
        with locked(tmp_path / "lock", waiting.set):
            happened.append("second")

    with locked(tmp_path / "lock"):
        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(10)
        happened.append("first")
    other.join()
    assert happened == ["first", "second"]


@needs_locks
def test_a_free_lock_is_had_at_once_also_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", lambda: pytest.fail("nobody has it")):
        pass


@needs_locks
def test_a_child_that_inherits_the_file_holds_the_lock_until_it_ends(tmp_path):
    with locked(tmp_path / "lock") as file:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE,
                                 pass_fds=[file.fileno()])
    waited = []
    with locked(tmp_path / "lock", lambda: (waited.append(True), child.kill())):
        assert waited
    child.communicate()
