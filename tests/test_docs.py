"""The documents: links lead somewhere, commands parse, tables follow the code, and worked examples work."""

import dataclasses
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from condense.cli import parse, with_forms
from condense.methods import METHODS
from condense.synthetic import PARAMETERIZATIONS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")), *sorted((ROOT / "docs").glob("*.md"))]
LARGEST_README = 12_288                    # bytes: what one reads in a few minutes
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
ASSIGNMENTS = re.compile(r"^(?:[A-Z_]+=(?:\"[^\"]*\"|\S*)\s+)+")
EXTEND = ROOT / "docs" / "extend.md"
names = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def prose(page):
    """Return the text of a page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in plain}


def links(page):
    """Return the targets of all links and pictures of a page that lead to files."""
    found = [link or picture for link, picture in LINK.findall(prose(page))]
    return [target for target in found if not target.startswith(("http://", "https://", "mailto:"))]


def blocks(page, *languages):
    """Return the code blocks of a page in these languages."""
    return [body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page):
    """Return the command lines in a page's shell blocks, without variables in front and comments behind."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(ASSIGNMENTS.sub("", line), comments=True) for line in lines]
    return [words_of_one for words_of_one in words if words_of_one]


def program_commands(page):
    return [words for words in commands(page) if words[0] == "python" and words[1].endswith(".py")]


def test_readme_is_short():
    assert len(README.read_bytes()) <= LARGEST_README


@names
def test_links_lead_to_files_and_headings(page):
    for target in links(page):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{page.name}: {target} names no heading"


def test_every_page_is_found_from_the_readme():
    reached, waiting = {README}, [README]
    while waiting:
        page = waiting.pop()
        found = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)}
        new = {path for path in found if path.suffix == ".md"} - reached
        reached |= new
        waiting += new
    assert not set(PAGES) - reached


@names
def test_programs_in_commands_exist_and_their_flags_parse(page, monkeypatch):
    if page == EXTEND:                                     # its commands are run below
        return
    monkeypatch.chdir(ROOT)                                # configs are named from the root
    for words in program_commands(page):
        assert (ROOT / words[1]).is_file(), f"{page.name}: there is no {words[1]}"
        module = importlib.import_module(words[1].removesuffix(".py")) if (ROOT / words[1]).parent == ROOT else None
        if hasattr(module, "Config"):
            config = parse(with_forms(module.Config, PARAMETERIZATIONS), words[2:])
            getattr(module, "check", lambda config: None)(config)


@names
def test_programs_named_in_prose_exist(page):
    named = re.findall(r"`(?:python |bash )?([\w/]+\.(?:py|sh))\b[^`]*`", prose(page))
    there = {diff_files(diff)[1] for diff in blocks(EXTEND, "diff")}
    there |= set(re.findall(r"^New file `([^`]+)`", EXTEND.read_text(encoding="utf-8"), re.MULTILINE))
    assert not {name for name in named if not (ROOT / name).is_file()} - there - {"SCRIPT.py"}


@names
def test_flags_named_in_prose_are_options_of_a_script(page):
    named = re.findall(r"(?<![\w-])--([a-zA-Z][\w-]*)", prose(page))
    make_flags = page_of_flags()
    known = {name for script in make_flags.scripts() for field in dataclasses.fields(make_flags.config_of(script))
             for name in (field.name, *field.metadata["aliases"])}
    assert {name.removeprefix("no-") for name in named} <= known | {"help"}


@names
def test_shell_scripts_in_commands_exist(page):
    named = [words[1] for words in commands(page) if words[0] == "bash"]
    assert all((ROOT / name).is_file() for name in named), named


@names
def test_commands_begin_with_a_program_that_this_test_knows(page):
    known = {"python", "bash", "source", "pip", "git", "pre-commit", "ruff"}
    assert {words[0] for words in commands(page)} <= known


def table_rows(page, heading):
    """Return the cells of the first table whose header begins with `heading`."""
    lines = prose(page).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[first + 2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_readme_names_every_method_with_its_script_and_page():
    told = {name.strip(): cells for cells in table_rows(README, "method") for name in cells[0].split(",")}
    assert set(told) == set(METHODS)
    for name, method in METHODS.items():
        objective, script, page = told[name][1:]
        assert objective == method.objective, name
        words = re.findall(r"`([^`]+)`", script)[-1].replace("METHOD", name).split()
        assert words[0] == method.script, name
        config = parse(with_forms(importlib.import_module(method.module).Config, PARAMETERIZATIONS), words[1:])
        assert {option: getattr(config, option) for option in method.options} == method.options, name
        target = re.fullmatch(r"\[[^\]]*\]\((docs/\w+\.md)\)", page)
        assert target and (ROOT / target[1]).is_file(), name
        assert method.script in (ROOT / target[1]).read_text(encoding="utf-8"), f"{page} does not name {method.script}"


@cache
def page_of_flags():
    """Return the program docs/make_flags.py as a module."""
    spec = importlib.util.spec_from_file_location("make_flags", ROOT / "docs" / "make_flags.py")
    make_flags = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_flags)
    return make_flags


def test_page_of_flags_is_what_the_scripts_have():
    make_flags = page_of_flags()
    assert make_flags.PAGE.read_text(encoding="utf-8") == make_flags.page(), "run: python docs/make_flags.py"


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "share.md"], ids=lambda path: path.name)
def test_python_in_the_documents_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main_DM = importlib.import_module("main_DM")
    options = ["--config", str(ROOT / "configs" / "quickstart.yaml"), "--Iteration", "0", "--num_eval", "1",
               "--epoch_eval_train", "0", "--save_path", "result/quickstart", "--no-progress"]
    main_DM.main(parse(with_forms(main_DM.Config, PARAMETERIZATIONS), options))
    for block in blocks(page, "python"):
        found = {}
        exec(compile(block, page.name, "exec"), found)
        assert found["data"].images.shape[0] == 10 if "data" in found else len(found["images"]) == 10


def diff_files(diff):
    """Return the file that a diff is for, and the one it makes of it."""
    return re.search(r"^--- a/(\S+)$", diff, re.MULTILINE)[1], re.search(r"^\+\+\+ b/(\S+)$", diff, re.MULTILINE)[1]


def apply(diff, root):
    """Apply a diff whose hunks are found by their text, not by line numbers; each has to stand there once."""
    before, after = diff_files(diff)
    text = (root / before).read_text(encoding="utf-8")
    for hunk in diff.split("\n@@\n")[1:]:
        lines = hunk.rstrip("\n").split("\n")
        old, new = ("\n".join(line[1:] for line in lines if line[:1] != sign) for sign in "+-")
        assert text.count(old) == 1, f"{before}: {old!r} stands there {text.count(old)} times"
        text = text.replace(old, new)
    (root / after).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the code with all worked examples of docs/extend.md applied."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "condense", root / "condense", ignore=shutil.ignore_patterns("__pycache__"))
    for script in ROOT.glob("*.py"):
        shutil.copy(script, root)
    text = EXTEND.read_text(encoding="utf-8")
    for path, body in re.findall(r"^New file `([^`]+)`.*?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        assert not (root / path).exists()
        (root / path).write_text(body, encoding="utf-8")
    for diff in blocks(EXTEND, "diff"):
        apply(diff, root)
    return root


def test_worked_examples_run(extended):
    program = "\n".join(["import runpy, sys", *(
        f"sys.argv = {words[1:]!r}\ntry: runpy.run_path({words[1]!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, (sys.argv, end.code)"
        for words in program_commands(EXTEND) if not words[1].startswith("docs/"))])
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    done = subprocess.run([sys.executable, "-c", program], cwd=extended, env=environment, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    results = {path.name for path in (extended / "result").glob("*.pt")}
    assert results >= {"res_DM_Stripes_ConvNetD2_1ipc.pt", "res_DC_Digits_SmallNet_1ipc.pt",
                       "res_DM_Digits_ConvNetD2_1ipc.pt", "res_DMabs_Digits_ConvNetD2_1ipc.pt"}
    assert '"brief"' in (extended / "result" / "scores.json").read_text()
