"""Code is told apart by its bytes."""

import pytest

from condense.core import source_code
from condense.core.source_code import code_files, code_sha256, library_versions


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in the place of ours."""
    for name in ("room/a.py", "room/deeper/b.py", "room/notes.txt", "file.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"print('{name}')\n")
    monkeypatch.setattr(source_code, "PACKAGE", tmp_path)
    return tmp_path


def digest(*parts):
    return code_sha256(*(parts or ("room", "file.py")))


def test_a_folder_is_every_python_file_below_it(package):
    assert code_files("room", "file.py") == {"room/a.py", "room/deeper/b.py", "file.py"}


@pytest.mark.parametrize("name", ["room/a.py", "room/deeper/b.py", "file.py"])
def test_any_byte_of_any_file_counts(package, name):
    before = digest()
    (package / name).write_text((package / name).read_text() + " ")
    assert digest() != before


def test_names_count_and_new_files_do(package):
    before = digest()
    (package / "room/a.py").rename(package / "room/c.py")
    renamed = digest()
    (package / "room/d.py").touch()
    assert len({before, renamed, digest()}) == 3


def test_order_and_line_endings_and_other_files_do_not_count(package):
    before = digest()
    (package / "room/a.py").write_bytes(b"print('room/a.py')\r\n")
    (package / "room/notes.txt").write_text("other")
    (package / "other.py").touch()
    assert digest() == digest("file.py", "room") == digest("file.py", "room", "room/a.py") == before


@pytest.mark.parametrize("part", ["gone.py", "gone", "room/gone.py"])
def test_a_part_that_is_not_there_is_an_error_and_no_empty_digest(package, part):
    with pytest.raises(FileNotFoundError, match=f"condense/{part}"):
        digest("room", part)


def test_versions_are_those_installed_and_none_of_what_is_not_here():
    assert library_versions("pytest", "no-such-distribution") == {"pytest": pytest.__version__,
                                                                  "no-such-distribution": None}
