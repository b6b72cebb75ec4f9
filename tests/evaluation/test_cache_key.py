"""Caches of scores are keyed by every file that decides one: the imports of those files are read, and all are held."""

import ast

import pytest
import torch

from condense.comparison import baselines
from condense.continual import scoring
from condense.core.source_code import PACKAGE, code_files
from condense.evaluation.cache_key import DECIDING, cache_key, code_of_scores
from condense.operators import Compute

# Imported by files that decide scores, but without a part in any: they word errors, names and types, find and write
# files, parse options, hand on the names of their rooms, store results, sort the rows of images when they are loaded
# (the fingerprint of the data holds these), and add up confusion matrices.
NO_PART = {"__init__.py", "cli/__init__.py", "comparison/__init__.py", "comparison/intervals.py",
           "continual/__init__.py", "continual/order.py", "continual/sources.py", "core/__init__.py",
           "core/errors.py", "core/extras.py", "core/files.py", "core/registry.py", "core/source_code.py",
           "core/types.py", "core/words.py", "data/__init__.py", "data/pixels.py", "matching/__init__.py",
           "methods.py", "run/__init__.py", "run/results.py", "sharing/__init__.py", "sharing/stored.py",
           "synthetic/__init__.py"}
KEYS = {"scores": DECIDING, "baselines": (*DECIDING, *baselines.OWN_FILES), "steps": (*DECIDING, *scoring.OWN_FILES)}


def imported(name):
    """Return the files of the package that file `name` imports, with the faces of their rooms."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [dotted.split(".")[1:] for dotted in found if dotted.split(".")[0] == "condense"]
    paths = {"/".join([*names[:depth], "__init__.py"]) for names in parts for depth in range(len(names) + 1)}
    return {name for name in paths | {"/".join(names) + ".py" for names in parts} if (PACKAGE / name).is_file()}


@pytest.mark.parametrize("parts", KEYS.values(), ids=KEYS)
def test_whatever_deciding_files_import_decides_too_or_is_known_to_have_no_part(parts):
    files = code_files(*parts)
    reached = set().union(*map(imported, files))
    missing = reached - files - NO_PART
    assert not missing, f"name these in the key, or above with a reason: {sorted(missing)}"


def test_nothing_is_listed_that_is_not_there():
    assert all((PACKAGE / name).is_file() for name in NO_PART)


def test_keys_differ_by_device_and_precision_and_files():
    code = code_of_scores()
    keys = [cache_key(Compute(), code), cache_key(Compute(torch.device("cuda", 1)), code),
            cache_key(Compute(precision="bf16"), code), cache_key(Compute(), code_of_scores("methods.py")),
            cache_key(Compute(), code, ["pytest"])]
    assert all(key not in keys[:place] for place, key in enumerate(keys))
    assert cache_key(Compute(torch.device("cuda", 0)), code) == keys[1]   # the kind counts, not the number
