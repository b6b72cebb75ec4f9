"""Public functions say what they take and return; mypy holds the bodies of those that do against it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "condense"
OWN = {"self", "cls", "ctx"}


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_public_functions_are_annotated(path):
    assert not lacking(path)
