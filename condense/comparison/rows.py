"""Results of an evaluation: one row per set (or baseline) and network, as a table and as `scores.json`."""

import contextlib
import hashlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from condense.comparison.baselines import beats
from condense.comparison.intervals import Summary, added, per_class, summary
from condense.comparison.tables import FORMATS, Table
from condense.core.errors import InputError
from condense.core.files import atomic_path, cache_folder, locked
from condense.evaluation.score import Score

FORMAT_VERSION = 1
KEYS = ("kind", "network", "tensors_sha256", "which", "experiment", "per_class_images", "recipe", "seed", "precision",
        "networks", "stored", "optimised")
JUDGED = 5                                 # networks a side, from which on one says whether a set beats random images


@dataclass(frozen=True)
class Row:
    """Networks of one architecture: what they were trained on, how, and their test accuracies.

    `accuracies` are fractions, a list over experiments of lists over networks. `images` and `bytes` are those of one
    set. `source` says all that it takes to repeat the row (plain values, equal for equal rows), `facts` what else is
    known of it. `equal` has the row of random images at equal bytes, where there is one. `kind` is
    "set", or which baseline it is. `told_apart` are words to add to a name that another row also has.
    """

    name: str
    network: str
    accuracies: list
    images: int
    bytes: int
    source: dict
    facts: dict = field(default_factory=dict)
    equal: tuple = ()
    kind: str = "set"
    told_apart: str = ""

    @property
    def summary(self) -> Summary:
        return summary(self.accuracies)

    @property
    def pooled(self) -> list[float]:
        """The accuracies of all networks of all experiments."""
        return [value for of_one in self.accuracies for value in of_one]

    def verdict(self) -> str:
        """Say in words whether the set beats random images at equal bytes; '' where there are none."""
        if not self.equal:
            return ""
        if min(len(self.pooled), len(self.equal[0].pooled)) < JUDGED:
            return "not judged: fewer than 5 networks"
        return "beats random" if beats(self.pooled, self.equal[0].pooled) else "does not beat random"

    def plain(self) -> dict[str, Any]:
        """Return the row as plain values, for `scores.json`."""
        judged = {"verdict": self.verdict()} if self.equal else {}
        return {"name": self.name, "kind": self.kind, "network": self.network, **asdict(self.summary),
                "accuracies": self.accuracies, "images": self.images, "bytes": self.bytes, **self.source, **self.facts,
                **judged}


def score_facts(scores: Sequence[Score], class_names: Sequence[str]) -> dict[str, Any]:
    """Return training accuracy, confusion matrix and class accuracies over `scores` (with `confusion`), as `facts`."""
    confusion = added([score.confusion for score in scores])                                # type: ignore[misc]
    trained = [score.train_accuracy for score in scores if math.isfinite(score.train_accuracy)]     # of no epoch: NaN
    return {"class_names": list(class_names), "confusion": confusion, "per_class": per_class(confusion),
            "train_accuracy": statistics.fmean(trained) if trained else None}


def merge_rows(rows: Sequence[Row]) -> list[Row]:
    """Return `rows`, of equal ones the first, with names that tell apart what is not the same set or recipe.

    A baseline may serve several sets, or, where they are trained differently, each may need its own.
    """
    kept, owners = {}, defaultdict(set)
    for row in rows:
        kept.setdefault(key_of(row.plain()), row)
    for row in kept.values():
        owners[row.name].add(row.told_apart)
    return [replace(row, name=f"{row.name} ({row.told_apart})") if len(owners[row.name]) > 1 else row
            for row in kept.values()]


def key_of(plain: dict[str, Any]) -> str:
    """Return what makes a row of `scores.json` this row and no other: a repeated one takes its place.

    Where its files lie does not count, what is in them does.
    """
    named = {key: plain.get(key) for key in KEYS} | {"data": plain["data"]["fingerprint"]}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def save_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Add `rows` to `scores.json` at `path`. A row that is made again replaces the old one.

    Raises ValueError where the file there is none of ours, before anything is changed.
    """
    name = hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()
    lock = cache_folder() / "locks" / f"{name}.lock"       # not in the file's folder, where users would see it
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):                 # without a lock two at a time may lose each other's rows
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock))
        kept = {key_of(row): row for row in load_rows(path)}
        for row in map(Row.plain, rows):
            kept[key_of(row)] = row
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"format_version": FORMAT_VERSION, "rows": list(kept.values())}, indent=1))


def load_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of `scores.json` at `path`, plain dicts; [] where nothing is. ValueError for other files."""
    try:
        content = json.loads(Path(path).read_text())
        if isinstance(content, dict) and all(isinstance(row, dict) for row in content["rows"]):
            return content["rows"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, OSError):
        pass
    raise InputError(f"{path} holds no scores of this toolkit; name another file with --output")


def score_table(rows: Sequence[Row], notes: Sequence[str] = ()) -> Table:
    """Return the `Table` of rows: one line each for a single network, else a column per network."""
    networks = list(dict.fromkeys(row.network for row in rows))
    return _long(rows, notes) if len(networks) == 1 else _wide(rows, networks, notes)


def _long(rows, notes):
    header = ["trained on", "images", "bytes", "network", "test accuracy", "95 % interval", "networks", ""]
    lines = [[row.name, f"{row.images:,}", f"{row.bytes:,}", row.network, figure(row), interval(row),
              str(row.summary.networks), row.verdict()] for row in rows]
    if not any(line[-1] for line in lines):
        header, lines = header[:-1], [line[:-1] for line in lines]
    return Table(header, lines, [*_about(rows), *notes])


def _wide(rows, networks, notes):
    """One line per set, a column per network: the cross-architecture table."""
    groups = {}
    for row in rows:
        groups.setdefault((row.name, f"{row.images:,}", f"{row.bytes:,}"), {})[row.network] = row
    lines = [[*group, *(f"{figure(group_rows[n])}{mark(group_rows[n])}" if n in group_rows else "–" for n in networks)]
             for group, group_rows in groups.items()]
    marks = {mark(row) for row in rows}
    explained = ["† does not beat random real images of the same bytes."] if "†" in marks else []
    explained += ["‡ not judged: fewer than 5 networks on a side."] if "‡" in marks else []
    return Table(["trained on", "images", "bytes", *networks], lines, [*_about(rows), *explained, *notes])


def _about(rows):
    counts = sorted({row.summary.networks for row in rows})
    over = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return [f"Test accuracy in percent, mean ± population standard deviation over {over} networks."]


def number_table(rows: Sequence[Row]) -> Table:
    """Return the `Table` for other programs (CSV): a row per set and network, fractions in full precision."""
    header = ["trained_on", "network", "images", "bytes", "mean", "std", "low", "high", "networks", "experiments",
              "kind", "verdict"]
    lines = [[row.name, row.network, row.images, row.bytes, row.summary.mean, row.summary.std,
              *(row.summary.interval or ("", "")), row.summary.networks, row.summary.experiments, row.kind,
              row.verdict()] for row in rows]
    return Table(header, lines)


def class_tables(rows: Sequence[Row]) -> list[Table]:
    """Return the `Table`s of test accuracies by class, one for the rows of each data set; notes name hard classes."""
    groups = {}
    for row in rows:
        if "per_class" in row.facts:
            groups.setdefault(tuple(row.facts["class_names"]), []).append(row)
    return [_class_table(group_rows, class_names) for class_names, group_rows in groups.items()]


def _class_table(rows, class_names):
    header = ["class", *(f"{row.name}, {row.network}" for row in rows)]
    lines = [[name, *(_percent(row.facts["per_class"][label]) for row in rows)]
             for label, name in enumerate(class_names)]
    return Table(header, lines, [_worst(row, class_names) for row in rows])


def _worst(row, class_names):
    found = [(value, label) for label, value in enumerate(row.facts["per_class"]) if value is not None]
    value, label = min(found)
    wrong = [(-count, guess) for guess, count in enumerate(row.facts["confusion"][label]) if guess != label and count]
    taken = f", most often taken for {class_names[min(wrong)[1]]}" if wrong else ""
    return f"{row.name}, {row.network}: hardest is {class_names[label]} ({_percent(value)} %){taken}."


def figure(row: Row) -> str:
    """Word the accuracies of a row: mean ± std in percent."""
    std = f" ± {100 * row.summary.std:.2f}" if row.summary.networks > 1 else ""
    return f"{100 * row.summary.mean:.2f}{std}"


def interval(row: Row) -> str:
    """Word the confidence interval of a row in percent."""
    return "–" if row.summary.interval is None else "{:.1f}–{:.1f}".format(*(100 * x for x in row.summary.interval))


def mark(row: Row) -> str:
    """Return the mark of a table's cell: † for a set that does not beat random images, ‡ for one not judged."""
    verdict = row.verdict()
    return "" if verdict in ("", "beats random") else "‡" if verdict.startswith("not judged") else "†"


def _percent(fraction):
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def show_rows(rows: Sequence[Row], format: str, by_class: bool = False) -> None:
    """Print the table of `rows` in a format of `tables.FORMATS`, with `by_class` those of class accuracies."""
    write = FORMATS[format]
    print(write(number_table(rows) if format == "csv" else score_table(rows, notes_of(rows))), end="")
    for table in class_tables(rows) if by_class else []:
        print()
        print(write(table), end="")


def notes_of(rows: Sequence[Row]) -> list[str]:
    """Return as sentences what the rows say apart from accuracies: caveats, and DD-Ranking's scores."""
    caveats = [f"{row.name}: {row.facts['caveat']}." for row in rows if "caveat" in row.facts]
    ranked = [(f"{row.name}, {row.network}", row.facts["ranking"]) for row in rows if "ranking" in row.facts]
    return [*dict.fromkeys(caveats),
            *(f"{name}: label-robust score {100 * scores['label_robust_score']:.1f}, augmentation-robust score "
              f"{100 * scores['augmentation_robust_score']:.1f} (DD-Ranking, of 100)." for name, scores in ranked)]
