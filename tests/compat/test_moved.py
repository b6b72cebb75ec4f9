"""Names that moved are handed on, lazily, with one line each."""

import sys
from importlib import import_module
from types import ModuleType

import pytest

import utils
from condense.compat.moved import FROM_UTILS, moved


@pytest.fixture
def old():
    """A module that handed on three names, and holds one of its own."""
    module = ModuleType("old")
    module.own = 1
    module.__getattr__ = moved("old", {"Streams": "condense.core.randomness", "lookup": "condense.core.registry",
                                       "gone": "condense.core.registry", "find": "condense.core.registry:lookup",
                                       "own": "condense.core.registry"})
    return module


def test_a_moved_name_is_the_object_itself_and_its_room_is_named_once(old, caplog):
    from condense.core.randomness import Streams
    from condense.core.registry import lookup
    assert old.Streams is old.Streams is Streams and old.lookup is lookup
    assert caplog.messages == ["old.Streams has moved: from condense.core.randomness import Streams",
                               "old.lookup has moved: from condense.core.registry import lookup"]


def test_a_renamed_one_is_named_as_it_is_now(old, caplog):
    from condense.core.registry import lookup
    assert old.find is lookup
    assert caplog.messages == ["old.find has moved: from condense.core.registry import lookup"]


def test_from_import_finds_it_too(old, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "old", old)
    exec("from old import Streams, own")
    assert len(caplog.records) == 1


def test_what_the_module_holds_itself_is_not_looked_for_elsewhere(old, caplog):
    assert old.own == 1 and not caplog.records


@pytest.mark.parametrize("name", ["unknown", "gone", "__wrapped__"])
def test_any_other_name_is_missing_as_in_any_module(old, name, caplog):
    assert not hasattr(old, name) and getattr(old, name, 7) == 7 and not caplog.records


def test_a_room_is_imported_when_a_name_of_it_is_asked_for_and_no_sooner(tmp_path, monkeypatch):
    (tmp_path / "room_of_this_test.py").write_text("thing = 5")
    monkeypatch.syspath_prepend(tmp_path)
    ask = moved("old", {"thing": "room_of_this_test"})
    assert not hasattr(ModuleType("old"), "thing") and "room_of_this_test" not in sys.modules
    assert ask("thing") == 5 and sys.modules.pop("room_of_this_test").thing == 5


@pytest.mark.parametrize("name", FROM_UTILS)
def test_every_name_that_utils_handed_on_stands_where_the_table_says(name):
    home, _, renamed = FROM_UTILS[name].partition(":")
    assert getattr(utils, name) is getattr(import_module(home), renamed or name)
