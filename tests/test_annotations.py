"""Public functions say what they take and return; mypy holds the bodies of those that do against it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "condense"
# Rooms and files whose public functions are not all annotated yet.
WAITING = ("cli", "sharing", "synthetic", "core/files.py", "data/real.py", "data/zca.py", "training/transforms.py",
           "comparison/baselines.py", "comparison/scored_set.py", "run/run.py", "run/outcome.py", "run/results.py")
OWN = {"self", "cls", "ctx"}


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def is_of(path, waiting):
    return name_of(path) == waiting or name_of(path).startswith(f"{waiting}/")


def public_functions(node, prefix=""):
    """Yield (dotted name, node) of functions and methods without a leading underscore; of methods, __init__ and kin."""
    for inner in node.body:
        if isinstance(inner, ast.ClassDef) and not inner.name.startswith("_"):
            yield from public_functions(inner, f"{prefix}{inner.name}.")
        elif isinstance(inner, ast.FunctionDef) and (not inner.name.startswith("_")
                                                     or (prefix and inner.name.startswith("__"))):
            yield prefix + inner.name, inner


def unannotated(function):
    """Return the names of a function's parameters that say no type, and "return" where it does not say its own."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    missing = [p.arg for p in parameters if p is not None and p.annotation is None and p.arg not in OWN]
    return missing + ["return"] * (function.returns is None)


def lacking(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name: missing for name, function in public_functions(tree) if (missing := unannotated(function))}


ANNOTATED = [path for path in sorted(PACKAGE.rglob("*.py")) if not any(is_of(path, waiting) for waiting in WAITING)]


@pytest.mark.parametrize("path", ANNOTATED, ids=name_of)
def test_public_functions_are_annotated(path):
    assert not lacking(path)


@pytest.mark.parametrize("waiting", WAITING)
def test_what_waits_has_something_to_wait_for(waiting):
    files = [path for path in PACKAGE.rglob("*.py") if is_of(path, waiting)]
    assert any(lacking(path) for path in files), f"{waiting} is annotated: take it off WAITING"
