"""Table of the results below a folder, held against random real images.

    python scripts/table.py result/sweep_accuracy --rows model,ipc,method --columns dataset

Accuracies of runs that differ in nothing but their seed are pooled. --rows and --columns name options of the method
scripts, or `method` or `network` (the one evaluated); without --rows all that differ. The baselines are those that
`python evaluate.py RESULT --stored --beside` left beside each result. `images` (decoded, per class) and `bytes`
(stored, whole set) can be named too. Below the table is what is missing and, where a sweep's cell failed, why.
"""

import argparse
import hashlib
import json
import re
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.comparison.baselines import beats, load_baselines  # noqa: E402
from condense.comparison.tables import FORMATS, Table, latex, markdown  # noqa: E402
from condense.core.errors import InputError  # noqa: E402
from condense.core.files import atomic_path  # noqa: E402
from condense.core.registry import unknown  # noqa: E402
from condense.run.results import load_result  # noqa: E402

POOLED = {"seed", "device", "chunk", "compile", "deterministic", "order", "save",
          "bytes", "images"}               # what does not tell results apart, or only follows from what does
MOST_NAMED = 10                            # missing cells that a note names


@dataclass
class Entry:
    """One evaluated network of one result, or (with no accuracies) a planned cell without a result."""

    run: str                               # where, below the folder of the table
    keys: dict                             # {option, `method` or `network`: str}
    accuracies: list = field(default_factory=list)
    random: list = field(default_factory=list)
    reason: str = ""                       # why a planned cell has none, where its log ends with that

    def place(self, names):
        """The values of `names`; where a result has no such option a dash, where nothing is known yet None."""
        return tuple(self.keys.get(name, "–" if self.accuracies else None) for name in names)


def main(argv=None):
    args = parse(argv)
    try:
        entries, problems = read(Path(args.folder))
        table = build(entries, args.rows, args.columns.split(","), [args.note] * bool(args.note) + problems)
        if args.write:
            for suffix, text in {"md": markdown(table), "tex": latex(table)}.items():
                with atomic_path(Path(args.folder) / f"table.{suffix}") as path:
                    path.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(FORMATS[args.format](table), end="")


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of results, at any depth")
    parser.add_argument("--rows", help="options that tell rows apart, by commas [all that differ]")
    parser.add_argument("--columns", default="dataset", help="options that tell columns apart [dataset]")
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="what to print [markdown]")
    parser.add_argument("--note", help="a sentence to put below the table")
    parser.add_argument("--write", action="store_true", help="write table.md and table.tex into the folder, too")
    return parser.parse_args(argv)


def read(folder):
    """Return ([Entry] in the order that the cells were planned in, [problems in words]) of all below `folder`."""
    entries, problems = [], []
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


def read_result(path, run, problems):
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


def recipe_of(experts, options):
    """Return a short name of how the experts of a run with `options` were made; data and network go without saying."""
    about = {**experts.get("options", {}), "experts": experts["experts"]}
    recipe = {name: value for name, value in about.items() if name not in options or name == "seed"}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:8]


def images_per_class(labels):
    """Return how many images a set gives each class to train on, as text: "8", or "7-8" where classes differ.

    Sets with soft labels (n, K) have as many of each class.
    """
    if labels.dim() == 2:
        return str(labels.shape[0] // labels.shape[1])
    counts = sorted({int(count) for count in labels.unique(return_counts=True)[1]})
    return "-".join(map(str, counts if len(counts) < 2 else (counts[0], counts[-1])))


def read_plan(cell):
    """Return what a sweep calls the cell in this folder, {option: str}; {} where no sweep made the folder."""
    path = cell / "cell.txt"
    if not path.exists():
        return {}
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())


def read_reason(cell):
    """Return the error that the log of a sweep's cell ends with, or "" where it ends otherwise."""
    path = cell / "cell.log"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("error: ") if last.startswith("error: ") else ""


def natural(text):
    """Sort key in which W32 comes before W128."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def build(entries, rows, columns, problems):
    """Return the `Table` of `entries`; raises ValueError where a place would pool what is not alike."""
    rows = rows.split(",") if rows else differing(entries, columns)
    check_names([*rows, *columns], entries)
    several = {entry.run for entry in entries if entry.accuracies}
    if len(several) < sum(bool(entry.accuracies) for entry in entries) and "network" not in [*rows, *columns]:
        rows = [*rows, "network"]
    fixed = [name for name in rows if len({entry.keys.get(name) for entry in entries}) == 1]
    shown = [name for name in rows if name not in fixed] or rows[-1:]
    across, down = places(entries, columns), places(entries, shown)
    pools = {(row, column): pool([entry for entry in entries if entry.accuracies and entry.place(shown) == row
                                  and entry.place(columns) == column]) for row in down for column in across}
    sizes = {(len(ours), len(random)) for ours, random in pools.values() if ours}
    texts = [[*row, *(cell(*pools[row, column], len(sizes) > 1) for column in across)] for row in down]
    header = [*shown, *(", ".join(column) for column in across)]
    common = [f"{name} {entries[0].keys.get(name)}" for name in fixed if name not in shown]
    return Table(header, texts, notes(common, sizes, list(pools.values()), entries) + problems)


def differing(entries, columns):
    """Return the names of what tells the results apart, but for `columns`; those that every result has."""
    scored = [entry.keys for entry in entries if entry.accuracies]
    names = [name for name in (scored[0] if scored else {}) if all(name in keys for keys in scored)]
    return [name for name in names if name not in POOLED and name not in columns
            and len({keys[name] for keys in scored}) > 1] or ["method"]


def check_names(names, entries):
    known = list(dict.fromkeys(name for entry in entries for name in entry.keys if name != "order"))
    for name in names:
        if name not in [*known, "network"]:
            raise InputError(unknown("option", name, known))


def places(entries, names):
    """Return the distinct values of `names` as tuples: numbers by size, the rest in the order of first appearance."""
    ranks = []
    for name in names:
        values = list(dict.fromkeys(entry.keys.get(name) for entry in entries))
        numbers = all(value and value.isdigit() for value in values)
        ranks.append(sorted(values, key=int) if numbers else values)
    found = {entry.place(names) for entry in entries}
    return sorted((place for place in found if None not in place),
                  key=lambda place: [rank.index(value) for rank, value in zip(ranks, place)])


def pool(group):
    """Return (accuracies, accuracies of random images) of entries that differ in their seed alone."""
    for i, entry in enumerate(group):
        for other in group[:i]:
            refuse_unlike(other, entry)
    return ([value for entry in group for value in entry.accuracies],
            [value for entry in group for value in entry.random])


def refuse_unlike(one, other):
    names = [name for name in {**one.keys, **other.keys}
             if name not in POOLED and one.keys.get(name) != other.keys.get(name)]
    apart = ", ".join(f"{name} ({one.keys.get(name)}, {other.keys.get(name)})" for name in names)
    if names:
        raise InputError(f"{one.run} and {other.run} differ in {apart} and are not pooled; name that in --rows "
                         "or --columns, or give a folder that holds one of them")
    if one.keys["seed"] == other.keys["seed"]:
        raise InputError(f"{one.run} and {other.run} hold a run of the same options and seed; give a folder that "
                         "holds one of them")


def cell(ours, random, with_sizes):
    """Word one place: ours, a mark where it is needed, random images."""
    if not ours:
        return "–"
    sizes = f" [{len(ours)}, {len(random)}]" if with_sizes else ""
    return f"{figure(ours)}{mark(ours, random)} ({figure(random) if random else '–'}){sizes}"


def figure(fractions):
    values = [100 * value for value in fractions]
    std = f" ± {statistics.pstdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{std}"


def mark(ours, random):
    if min(len(ours), len(random)) < 5:
        return "‡"
    return "" if beats(ours, random) else "†"


def notes(common, sizes, pools, entries):
    """Return what a reader must know, in sentences."""
    marks = {mark(*pool) for pool in pools if pool[0]}
    empty, missing = sum(not ours for ours, _ in pools), [entry for entry in entries if not entry.accuracies]
    runs = len({entry.run for entry in entries})
    size = "ours over {}, random over {} networks".format(*next(iter(sizes))) if len(sizes) == 1 else \
        "in brackets the networks of each"
    lines = [f"{', '.join(common)}."] if common else []
    lines.append(f"Test accuracy in percent, mean ± population standard deviation over the networks of all "
                 "experiments and seeds; in parentheses random real images, as many as --ipc says, same protocol; "
                 f"{size}.")
    if "†" in marks:
        lines.append("† does not beat random real images: not better by more than three standard errors.")
    if "‡" in marks:
        lines.append("‡ not judged: fewer than 5 networks on a side.")
    if empty:
        lines.append(f"– no result: {empty} of {len(pools)} places.")
    if missing:
        lines.append(f"Missing runs: {len(missing)} of {runs}: {named(missing)}.")
    for reason in dict.fromkeys(entry.reason for entry in missing if entry.reason):
        lines.append(f"Failed: {named([entry for entry in missing if entry.reason == reason])}: {reason}.")
    return lines


def named(entries):
    """Name the runs of `entries`, of many the first."""
    more = f" and {len(entries) - MOST_NAMED} more" if len(entries) > MOST_NAMED else ""
    return ", ".join(entry.run for entry in entries[:MOST_NAMED]) + more


if __name__ == "__main__":
    main()
