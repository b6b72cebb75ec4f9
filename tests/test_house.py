"""The rooms of `condense` stand in one order, and imports run down it: read from the code itself."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# from the roof down
ROOMS = ("continual", "sweeps", "sharing", "compat", "comparison", "experts", "run", "evaluation", "training",
         "synthetic", "matching", "cli", "data", "augmentation", "networks", "operators", "core", "methods")
FACES = {"utils", "networks", "augment"}                    # what scripts share
SHARED_TOP = [REPOSITORY / f"{name}.py" for name in sorted(FACES)]
SCRIPTS = sorted(set(REPOSITORY.glob("*.py")) - set(SHARED_TOP))
CODE = sorted((REPOSITORY / "condense").rglob("*.py"))
PRIVATE = re.compile(r"\b(torch|F|nn)\.(_[a-z]\w*|\w+\._[a-z]\w*)")


def imported(path):
    """Return the dotted names of all that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their room, so that they can be read"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path):
    parts = path.relative_to(REPOSITORY / "condense").parts
    return parts[0].removesuffix(".py")


def rooms_imported(path):
    return {name.split(".")[1] for name in imported(path) if name.startswith("condense.")} & set(ROOMS)


def test_every_file_stands_in_a_room():
    loose = [path.name for path in (REPOSITORY / "condense").glob("*.py")]
    assert sorted(loose) == ["__init__.py", "methods.py"]
    assert {room_of(path) for path in CODE} - {"__init__"} <= set(ROOMS)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_run_down_the_house(path):
    own = room_of(path)
    if own == "__init__":                                   # the face of the whole package hands on what others use
        return
    up = [room for room in rooms_imported(path) if room != own and ROOMS.index(room) < ROOMS.index(own)]
    assert not up, f"{own} imports {up}, which stand above it"


@pytest.mark.parametrize("path", [*CODE, *SHARED_TOP], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_shared_imports_a_script(path):
    scripts = {script.stem for script in SCRIPTS} | (FACES if path in CODE else set())
    assert not {name.split(".")[0] for name in imported(path)} & scripts


def test_every_room_says_in_one_line_what_it_is_for():
    for room in {path.parent for path in CODE}:
        said = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert said and "\n" not in said.split("\n\n")[0], room


def test_private_names_of_torch_stand_in_one_file():
    named = {path.name for path in CODE if PRIVATE.search(path.read_text(encoding="utf-8"))}
    assert named == {"torch_private.py"}


def test_no_two_files_of_a_room_import_each_other_in_a_circle():
    files = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
             for path in CODE}
    arrows = {}
    for module, path in files.items():
        if path.name == "__init__.py":                      # a face hands names on; it stands above its own room
            continue
        found = {name if name in files else name.rpartition(".")[0] for name in imported(path)}
        arrows[module] = {name for name in found if name in files and name != module
                          and files[name].name != "__init__.py"}
    done = set()

    def visit(module, trail):
        assert module not in trail, f"a circle: {' -> '.join([*trail, module])}"
        if module not in done:
            for other in arrows.get(module, ()):
                visit(other, [*trail, module])
            done.add(module)

    for module in arrows:
        visit(module, [])
