"""The package: what it declares, what comes with it, and that it works installed, from any folder."""

import ast
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import condense
from condense.run.results import describe, save_result
from condense.sharing.loading import load_synthetic_set

try:
    import tomllib
except ImportError:                                      # Python 3.10, where pytest brings it
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
IN_REQUIREMENTS = ("digits", "plot", "safetensors")
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn"}           # named otherwise than imported
CODE = sorted((REPOSITORY / "condense").rglob("*.py"))


def names(requirements):
    """Return the distributions that requirements name."""
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def outside(nodes):
    """Return the distributions that import statements and calls of `needed` among `nodes` ask for."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "needed":
            found.add(node.args[0].value)
    roots = {name.split(".")[0] for name in found} - {"condense", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(root, root) for root in roots}


def test_requirements_are_the_dependencies_and_what_a_checkout_needs_of_the_rest():
    lines = [line.split("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines()]
    expected = [*PROJECT["dependencies"], *(one for extra in IN_REQUIREMENTS for one in EXTRAS[extra])]
    assert [line for line in lines if line] == expected


def test_the_test_script_installs_what_the_tests_need():
    script = (REPOSITORY / "scripts" / "test.sh").read_text(encoding="utf-8")
    line = next(line for line in script.splitlines() if line.startswith("environment test"))
    assert re.findall(r'"([^"$]+)"', line) == EXTRAS["test"]


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_library_that_is_used_is_declared(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    base, rest = names(PROJECT["dependencies"]), names(one for extra in EXTRAS.values() for one in extra)
    assert outside(tree.body) <= base, "what a module imports with itself, the package depends on"
    assert outside(ast.walk(tree)) <= base | (rest - names(EXTRAS["test"]))


def test_every_dependency_is_used():
    used = set().union(*(outside(ast.walk(ast.parse(path.read_text(encoding="utf-8")))) for path in CODE))
    assert names(PROJECT["dependencies"]) <= used


def test_every_public_name_is_there_listed_and_the_same_each_time():
    from condense.sharing.evaluated import evaluate_set
    assert condense.evaluate_set is evaluate_set and condense.load_synthetic_set is load_synthetic_set
    assert set(condense.__all__) <= set(dir(condense))
    for name in condense.__all__:
        assert getattr(condense, name) is getattr(condense, name) is not None
    for name, home in condense._HOMES.items():
        assert name in condense.__all__ and getattr(import_module(home), name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        condense.load_everything  # noqa: B018


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that `pip install .` fills, without the libraries, which are here."""
    folder = tmp_path_factory.mktemp("installed")
    source, target = folder / "source", folder / "target"
    shutil.copytree(REPOSITORY / "condense", source / "condense", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("utils.py", "networks.py", "augment.py", "main_DM.py", "pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source / name)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                    "--no-build-isolation", "--no-compile", "--target", target, source], check=True)
    return target


def test_only_the_package_is_installed_and_all_of_it(installed):
    top = {path.name for path in installed.iterdir()}
    version = condense.__version__
    assert top == {"condense", f"{PROJECT['name'].replace('-', '_')}-{version}.dist-info"}
    files = {path.relative_to(installed) for path in (installed / "condense").rglob("*") if path.is_file()}
    assert files == {path.relative_to(REPOSITORY) for path in CODE}


USER = """
import sys, condense
assert "torch" not in sys.modules and "numpy" not in sys.modules
from condense import load_synthetic_set
loaded = load_synthetic_set(sys.argv[1])
print(condense.__file__, tuple(loaded.images.shape), loaded.class_names)
"""


def test_installed_it_reads_a_result_from_an_empty_folder(installed, tmp_path, digits):
    meta = describe(digits, "DM", {"seed": 0, "dataset": "Digits", "model": "MLP", "ipc": 1}, {"floats": 1, "bytes": 4})
    save_result(tmp_path / "res.pt", [[torch.zeros(10, 1, 8, 8), torch.arange(10)]], {"MLP": [0.5]}, meta)
    (tmp_path / "empty").mkdir()
    done = subprocess.run([sys.executable, "-c", USER, tmp_path / "res.pt"], cwd=tmp_path / "empty", text=True,
                          capture_output=True, env={"PYTHONPATH": str(installed), "PATH": "", "HOME": str(tmp_path)})
    assert done.stderr == ""
    assert done.stdout == f"{installed / 'condense' / '__init__.py'} (10, 1, 8, 8) {tuple(digits.class_names)}\n"
