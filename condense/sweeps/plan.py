"""The cells of a sweep: their folders, their commands, and what is refused before anything is written."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from condense.cli import parse, with_forms
from condense.core.errors import InputError
from condense.core.registry import lookup
from condense.methods import METHODS, Method
from condense.synthetic import PARAMETERIZATIONS

ROOT = Path(__file__).resolve().parents[2]
OWN_FLAGS = {"--dataset": "DATASETS", "--data_path": "DATA_PATH", "--ipc": "IPCS", "--method": "METHODS",
             "--model": "MODELS", "--seed": "SEEDS", "--save_path": "OUT"}


@dataclass(frozen=True)
class SweepRequest:
    """What the user asks of the sweep `name`: `lists` {variable: words}, places, and `flags` for every cell."""

    name: str
    lists: dict
    flags: tuple = ()
    data_path: str = "data"
    out: str = "result"
    jobs: int = 1
    python: str = "python"


@dataclass(frozen=True)
class Grid:
    """Cells of one setting: `methods` times the other lists, with `flags` and, where one varies, `--option value`."""

    methods: list
    flags: tuple = ()
    option: str = ""
    value: str = ""


@dataclass(frozen=True)
class Cell:
    """One run of the script of `method`: its `folder` below OUT, its flags, and its `labels` in the table.

    One without labels makes what later cells read, and has no place in the table.
    """

    folder: str
    method: Method
    flags: tuple
    labels: dict = field(default_factory=dict)


def read_request(name: str, defaults: dict, flags: Sequence[str], environment: Mapping[str, str]) -> SweepRequest:
    """Return the `SweepRequest` of the environment's variables; empty ones count as unset. Raises InputError."""
    for word in flags:
        flag = word.partition("=")[0]
        if flag in OWN_FLAGS:
            raise InputError(f'a sweep sets {flag} itself; say which in front of the command: {OWN_FLAGS[flag]}="..." '
                             f"bash scripts/{name}.sh")
    jobs = environment.get("JOBS") or "1"
    if not (jobs.isascii() and jobs.isdigit() and int(jobs)):
        raise InputError(f"JOBS must be 1 or larger, not '{jobs}'")
    return SweepRequest(name, {key: (environment.get(key) or default).split() for key, default in defaults.items()},
                   tuple(flags), environment.get("DATA_PATH") or "data", environment.get("OUT") or f"result/{name}",
                   int(jobs), environment.get("PYTHON") or "python")


def plan_cells(request: SweepRequest, grids: list[Grid]) -> list[Cell]:
    """Return the cells of all `grids`, in the order of the lists. Raises InputError for what cannot be planned."""
    rows = {name: find_method(name) for grid in grids for name in grid.methods}
    for grid in grids:
        if grid.option and f"--{grid.option}" in {word.partition("=")[0] for word in request.flags}:
            raise InputError(f"this sweep sets --{grid.option} itself; choose its values in the list that --help names")
    lists = request.lists
    cells = [plan_cell(request, grid, dataset, ipc, name, rows[name], model, seed) for grid in grids
             for dataset, ipc, name, model, seed in product(lists["DATASETS"], lists["IPCS"], grid.methods,
                                                            lists["MODELS"], lists["SEEDS"])]
    folders: set[str] = set()
    for cell in cells:
        if cell.folder in folders:
            raise InputError(f"two cells would write to {request.out}/{cell.folder}; name each one once, and give "
                             "paths different last names")
        folders.add(cell.folder)
    return cells


def find_method(name: str) -> Method:
    """Return the row of method `name`; raises InputError where there is none, or its script is not there."""
    try:
        method = lookup(METHODS, name, "method")
    except InputError as error:
        raise InputError(f"METHODS: {error}") from None
    if not (ROOT / method.script).is_file():
        raise InputError(f"METHODS: there is no script {method.script}; run the sweep from a checkout of the toolkit")
    return method


def plan_cell(request: SweepRequest, grid: Grid, dataset: str, ipc: str, name: str, method: Method, model: str,
              seed: str) -> Cell:
    """Return one `Cell`.

    Flags of the published runs come first, so that the user's override them; what the cell is comes last.
    """
    data, path, label = place_data(dataset, request.data_path)
    varied = f"_{grid.value}" if grid.value else ""
    folder = f"{label}_ipc{ipc}_{name}_{model}{varied}/seed{seed}"
    labels = {"dataset": label, "ipc": ipc, "method": name, "model": model, "seed": seed}
    flags = [*published_flags(name, method, model), *grid.flags, *request.flags]
    if "method" in method.options:
        flags += ["--method", method.options["method"]]
    if grid.option:
        labels[grid.option] = grid.value
        flags += [f"--{grid.option}", grid.value]
    flags += ["--dataset", data, "--data_path", path, "--ipc", ipc, "--model", model, "--seed", seed,
              "--save_path", f"{request.out}/{folder}"]
    return Cell(folder, method, tuple(flags), labels)


def place_data(dataset: str, data_path: str) -> tuple[str, str, str]:
    """Return (name, folder or file, label) of a word of DATASETS: NAME, NAME:PATH, folder:PATH or file:PATH."""
    name, colon, path = dataset.partition(":")
    path = path if colon else data_path
    label = {"folder": f"folder-{Path(path).name}", "file": f"file-{Path(path).stem}"}.get(name, name)
    return name, path, label


def published_flags(name: str, method: Method, model: str) -> Iterator[str]:
    """Yield the flags that make a script the method `name`, and those that its paper has for `model`."""
    if model == "MLP" and (method.host or name) in ("DC", "DSA"):
        yield from ("--lr_img", "0.01")
    for option, value in method.options.items():
        if value is True:
            yield f"--{option}"
        elif option != "method":                         # which no user may change: it says what the cell is
            yield from (f"--{option}", str(value))


def check_cells(cells: list[Cell]) -> None:
    """Parse the flags of every cell, as its script will: what is misspelt is one line now instead of one per cell.

    Raises OptionError.
    """
    configs: dict[str, type] = {}
    for cell in cells:
        if cell.method.script not in configs:
            configs[cell.method.script] = with_forms(cell.method.load().Config, PARAMETERIZATIONS)
        parse(configs[cell.method.script], cell.flags)


def write_plan(request: SweepRequest, cells: list[Cell]) -> None:
    """Make the cells' folders, each with its labels in cell.txt; raises InputError where OUT cannot be written to."""
    for order, cell in enumerate(cells, 1):
        if not cell.labels:
            continue
        folder = Path(request.out, cell.folder)
        text = "".join(f"{name} {value}\n" for name, value in {"order": order, **cell.labels}.items())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cell.txt").write_text(text, encoding="utf-8")
        except OSError:
            raise InputError(f"cannot write to OUT={request.out}; name a folder that can be written to") from None


def cell_environment(request: SweepRequest, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the cells: with several at a time, each has its share of the cores."""
    if request.jobs == 1 or environment.get("OMP_NUM_THREADS"):
        return dict(environment)
    return {**environment, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // request.jobs))}
