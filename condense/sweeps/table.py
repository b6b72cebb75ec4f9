"""Table of the results below a folder, compared with random real images.

    python scripts/table.py result/sweep_accuracy --rows model,ipc,method --columns dataset

Accuracies of runs that differ in nothing but their seed are pooled. --rows and --columns name options of the method
scripts, or `method` or `network` (the one evaluated); without --rows all that differ. The baselines are those that
`python evaluate.py RESULT --stored --beside` left with each result. `images` (decoded, per class) and `bytes`
(stored, whole set) can be named too. Below the table is what is missing and, where a sweep's cell failed, why.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condense.comparison.baselines import beats
from condense.comparison.tables import FORMATS, Table, latex, markdown
from condense.core.errors import InputError, UserError
from condense.core.files import atomic_path
from condense.core.registry import unknown
from condense.sweeps.entries import Entry, read_entries

POOLED = {"seed", "device", "chunk", "compile", "deterministic", "order", "save",
          "bytes", "images"}               # what does not tell results apart, or only follows from what does
MOST_NAMED = 10                            # missing cells that a note names


def main(argv: list[str] | None = None) -> int:
    """Print the table that the command line asks for; returns the exit code: 0, or 2 for what is refused."""
    args = parse(argv)
    try:
        print(make_table(Path(args.folder), args.rows, args.columns, args.note, args.format, args.write), end="")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of results, at any depth")
    parser.add_argument("--rows", help="options that tell rows apart, by commas [all that differ]")
    parser.add_argument("--columns", default="dataset", help="options that tell columns apart [dataset]")
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="what to print [markdown]")
    parser.add_argument("--note", help="a sentence to put below the table")
    parser.add_argument("--write", action="store_true", help="also write table.md and table.tex into the folder")
    return parser.parse_args(argv)


def make_table(folder: Path, rows: str | None = None, columns: str = "dataset", note: str | None = None,
               form: str = "markdown", write: bool = False) -> str:
    """Return the table of the results below `folder` as text in `form`; `write` also puts it into the folder.

    `rows` and `columns` are names by commas; without `rows` all that differ. Raises InputError where there are no
    results, where a name is unknown, or where a place would pool what is not alike.
    """
    entries, problems = read_entries(folder)
    table = build(entries, rows, columns.split(","), [*([note] if note else []), *problems])
    if write:
        for suffix, text in {"md": markdown(table), "tex": latex(table)}.items():
            with atomic_path(folder / f"table.{suffix}") as path:
                path.write_text(text, encoding="utf-8")
    return FORMATS[form](table)


def build(entries: list[Entry], rows: str | None, columns: list[str], problems: list[str]) -> Table:
    """Return the `Table` of `entries`; raises ValueError where a place would pool what is not alike."""
    down = rows.split(",") if rows else differing(entries, columns)
    check_names([*down, *columns], entries)
    several = {entry.run for entry in entries if entry.accuracies}
    if len(several) < sum(bool(entry.accuracies) for entry in entries) and "network" not in [*down, *columns]:
        down = [*down, "network"]
    fixed = [name for name in down if len({entry.keys.get(name) for entry in entries}) == 1]
    shown = [name for name in down if name not in fixed] or down[-1:]
    lines, across = places(entries, shown), places(entries, columns)
    pools = {(row, column): pool([entry for entry in entries if entry.accuracies and entry.place(shown) == row
                                  and entry.place(columns) == column]) for row in lines for column in across}
    sizes = {(len(ours), len(random)) for ours, random in pools.values() if ours}
    texts = [[*row, *(cell(*pools[row, column], len(sizes) > 1) for column in across)] for row in lines]
    header = [*shown, *(", ".join(column) for column in across)]
    common = [f"{name} {entries[0].keys.get(name)}" for name in fixed if name not in shown]
    return Table(header, texts, notes(common, sizes, list(pools.values()), entries) + problems)


def differing(entries: Sequence[Entry], columns: Sequence[str]) -> list[str]:
    """Return the names of what tells the results apart, but for `columns`; those that every result has."""
    scored = [entry.keys for entry in entries if entry.accuracies]
    names = [name for name in (scored[0] if scored else {}) if all(name in keys for keys in scored)]
    return [name for name in names if name not in POOLED and name not in columns
            and len({keys[name] for keys in scored}) > 1] or ["method"]


def check_names(names: Sequence[str], entries: Sequence[Entry]) -> None:
    known = list(dict.fromkeys(name for entry in entries for name in entry.keys if name != "order"))
    for name in names:
        if name not in [*known, "network"]:
            raise InputError(unknown("option", name, known))


def places(entries: Sequence[Entry], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the distinct values of `names` as tuples: numbers by size, the rest in the order of first appearance."""
    ranks = []
    for name in names:
        values = list(dict.fromkeys(entry.keys.get(name) for entry in entries))
        numbers = all(value and value.isdigit() for value in values)
        ranks.append(sorted(values, key=int) if numbers else values)  # type: ignore[arg-type]
    found = {entry.place(names) for entry in entries}
    return sorted((place for place in found if None not in place),
                  key=lambda place: [rank.index(value) for rank, value in zip(ranks, place)])


def pool(group: list[Entry]) -> tuple[list[float], list[float]]:
    """Return (accuracies, accuracies of random images) of entries that differ in their seed alone."""
    for i, entry in enumerate(group):
        for other in group[:i]:
            refuse_unlike(other, entry)
    return ([value for entry in group for value in entry.accuracies],
            [value for entry in group for value in entry.random])


def refuse_unlike(one: Entry, other: Entry) -> None:
    names = [name for name in {**one.keys, **other.keys}
             if name not in POOLED and one.keys.get(name) != other.keys.get(name)]
    apart = ", ".join(f"{name} ({one.keys.get(name)}, {other.keys.get(name)})" for name in names)
    if names:
        raise InputError(f"{one.run} and {other.run} differ in {apart} and are not pooled; name that in --rows "
                         "or --columns, or give a folder that holds one of them")
    if one.keys["seed"] == other.keys["seed"]:
        raise InputError(f"{one.run} and {other.run} hold a run of the same options and seed; give a folder that "
                         "holds one of them")


def cell(ours: Sequence[float], random: Sequence[float], with_sizes: bool) -> str:
    """Word one place: ours, a mark where it is needed, random images."""
    if not ours:
        return "–"
    sizes = f" [{len(ours)}, {len(random)}]" if with_sizes else ""
    return f"{figure(ours)}{mark(ours, random)} ({figure(random) if random else '–'}){sizes}"


def figure(fractions: Sequence[float]) -> str:
    values = [100 * value for value in fractions]
    std = f" ± {statistics.pstdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{std}"


def mark(ours: Sequence[float], random: Sequence[float]) -> str:
    if min(len(ours), len(random)) < 5:
        return "‡"
    return "" if beats(ours, random) else "†"


def notes(common: Sequence[str], sizes: set[tuple[int, int]], pools: Sequence[tuple[list[float], list[float]]],
          entries: Sequence[Entry]) -> list[str]:
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


def named(entries: Sequence[Entry]) -> str:
    """Name the runs of `entries`, of many the first."""
    more = f" and {len(entries) - MOST_NAMED} more" if len(entries) > MOST_NAMED else ""
    return ", ".join(entry.run for entry in entries[:MOST_NAMED]) + more
