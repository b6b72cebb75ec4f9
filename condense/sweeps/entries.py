"""Results below a folder as entries of a table, and the cells that a sweep planned and that have none."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from condense.comparison.baselines import load_baselines
from condense.core.errors import InputError
from condense.run.results import load_result


@dataclass
class Entry:
    """One evaluated network of one result, or (with no accuracies) a planned cell without a result."""

    run: str                               # where, below the folder of the table
    keys: dict                             # {option, `method` or `network`: str}
    accuracies: list = field(default_factory=list)
    random: list = field(default_factory=list)
    reason: str = ""                       # why a planned cell has none, where its log ends with that

    def place(self, names: Sequence[str]) -> tuple[str | None, ...]:
        """The values of `names`; where a result has no such option a dash, where nothing is known yet None."""
        return tuple(self.keys.get(name, "–" if self.accuracies else None) for name in names)


def read_entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """Return ([Entry] in the order that the cells were planned in, [problems in words]) of all below `folder`."""
    entries: list[Entry] = []
    problems: list[str] = []
    planned = {path.parent for path in folder.rglob("cell.txt")}
    finished = {cell for cell in planned if (cell / "cell.done").exists()}
    for path in sorted(folder.rglob("res_*ipc.pt"), key=lambda path: natural(str(path))):
        if path.parent in planned - finished:             # left by another command, or not whole
            continue
        try:
            entries += read_result(path, str(path.relative_to(folder)), problems)
        except ValueError as error:
            problems.append(f"Not read: {error}.")
        except KeyError as error:
            problems.append(f"Not read: {path} has no {error}; it is from another program.")
    found = {(folder / entry.run).parent for entry in entries}
    entries += [Entry(str(cell.relative_to(folder)), read_plan(cell), reason=read_reason(cell))
                for cell in planned - found]
    if not entries:
        raise InputError(f"no result file below {folder}; make one with --save_path {folder}")
    return sorted(entries, key=lambda entry: int(entry.keys.get("order", 0))), problems


def read_result(path: Path, run: str, problems: list[str]) -> list[Entry]:
    """Return the entries of one result file, a network each."""
    result = load_result(path)
    meta = result["meta"]
    options = {name: str(value) for name, value in meta["options"].items()}
    options |= {"method": meta["method"], **read_plan(path.parent)}
    if "experts" in meta:                                 # sets of different experts are different rows, not seeds
        options["experts"] = recipe_of(meta["experts"][0], meta["options"])
    if result["data"] and "storage" in meta:
        options |= {"bytes": f"{meta['storage']['bytes']:,}", "images": images_per_class(result["data"][0][1])}
    try:
        random = load_baselines(path, meta)
    except ValueError as error:
        problems.append(f"{error}.")
        random = {}
    return [Entry(run, {**options, "network": model}, accuracies, random.get(model, []))
            for model, accuracies in result["accs_all_exps"].items()]


def recipe_of(experts: dict, options: dict) -> str:
    """Return a short name of how the experts of a run with `options` were made; data and network go without saying."""
    about = {**experts.get("options", {}), "experts": experts["experts"]}
    recipe = {name: value for name, value in about.items() if name not in options or name == "seed"}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:8]


def images_per_class(labels: Tensor) -> str:
    """Return how many images a set gives each class to train on, as text: "8", or "7-8" where classes differ.

    Sets with soft labels (n, K) have as many of each class.
    """
    if labels.dim() == 2:
        return str(labels.shape[0] // labels.shape[1])
    counts = sorted({int(count) for count in labels.unique(return_counts=True)[1]})
    return "-".join(map(str, counts if len(counts) < 2 else (counts[0], counts[-1])))


def read_plan(cell: Path) -> dict[str, str]:
    """Return what a sweep calls the cell in this folder, {option: str}; {} where no sweep made the folder."""
    path = cell / "cell.txt"
    if not path.exists():
        return {}
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())


def read_reason(cell: Path) -> str:
    """Return the error that the log of a sweep's cell ends with, or "" where it ends otherwise."""
    path = cell / "cell.log"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("error: ") if last.startswith("error: ") else ""


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key in which W32 comes before W128."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]
