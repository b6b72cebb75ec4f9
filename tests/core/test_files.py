"""Files are whole or absent."""

import os
import signal
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


def test_who_does_not_want_to_wait_raises_and_leaves_the_holder_its_lock(tmp_path):
    def refuse():
        raise ZeroDivisionError

    with locked(tmp_path / "lock"):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", refuse):
                raise AssertionError("must not get here")


def test_a_free_lock_is_had_at_once_also_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", lambda: pytest.fail("nobody has it")):
        pass


@pytest.mark.parametrize("path", ["file/lock", "."])
def test_a_lock_that_cannot_be_made_is_an_os_error(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError), locked(tmp_path / path):
        raise AssertionError("must not get here")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder where no file can be made")
def test_a_lock_in_a_folder_that_takes_no_files_is_not_waited_for():
    with pytest.raises(OSError), locked("/proc/lock", lambda: pytest.fail("nobody has it")):
        raise AssertionError("must not get here")


HOLDER = """
import os, signal, subprocess, sys
from condense.core.files import locked
with locked(sys.argv[1]) as lock:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=sys.stdin, pass_fds=[lock.fileno()])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="files are inherited on POSIX systems alone")
def test_a_child_that_inherits_the_lock_keeps_it_when_its_parent_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "lock"], stdin=subprocess.PIPE,
                              cwd=Path(__file__).parents[2])
    assert holder.wait(60) == -signal.SIGKILL
    waited = []
    with locked(tmp_path / "lock", lambda: (waited.append(True), holder.communicate(b"end\n"))):
        assert waited
