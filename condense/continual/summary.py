"""The summary of a comparison: one JSON file with everything, and one table."""

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from condense.comparison.tables import Table
from condense.continual.metrics import (
    average_accuracy,
    class_accuracies,
    forgetting,
    mean_and_std,
    step_accuracies,
    task_accuracies,
)
from condense.continual.order import ClassOrder
from condense.continual.previous import plain
from condense.continual.scoring import OWN_FILES
from condense.continual.sources import Source
from condense.core.files import atomic_path
from condense.data.real import RealData
from condense.evaluation import Score
from condense.evaluation.cache_key import code_of_scores
from condense.training.protocols import Protocol

FORMAT_VERSION = 2
CODE = code_of_scores(*OWN_FILES, "continual/metrics.py")


def summarise(real: RealData, cfg: Any, protocol: Protocol, orders: Sequence[ClassOrder], sources: Sequence[Source],
              parts: Mapping[tuple[str, int], list],
              scores: Mapping[tuple[str, int], list[list[Score]]]) -> dict[str, Any]:
    """Return everything that the comparison comes to, as plain values that repeat it.

    `parts` {(source name, seed): [facts of each step's part]} and `scores` {(source name, seed): [[Score] of each
    step]}. Accuracies are fractions; those of a run are one network's of each step, under one class order. "std" is
    that of all runs, as in the papers' programs, "std_of_orders" that of the class orders' means.
    """
    return {"format_version": FORMAT_VERSION, "dataset": real.name,
            "code": CODE, "fingerprint": real.fingerprint, "class_names": list(real.class_names), "model": cfg.model,
            "ipc": cfg.ipc,
            "options": plain(cfg.identity()), "protocol": dataclasses.asdict(protocol),
            "versions": {**{name: version(name) for name in ("torch", "numpy")}, "python": platform.python_version()},
            "orders": {str(order.seed): [list(classes) for classes in order.steps] for order in orders},
            "methods": {source.name: {"images_per_class": source.images_per_class,
                                      "bytes_per_class": parts[source.name, 0][0]["bytes"] // len(orders[0].steps[0]),
                                      **source.facts(),
                                      "memory": {str(o.seed): parts[source.name, o.seed] for o in orders},
                                      **figures(orders, [scores[source.name, order.seed] for order in orders])}
                        for source in sources}}


def figures(orders: Sequence[ClassOrder], scores: Sequence[list[list[Score]]]) -> dict[str, Any]:
    """Return the metrics of one method: `scores` is a list over `orders` of lists over steps of [Score]."""
    runs = [(order, number) for order in range(len(orders)) for number in range(len(scores[0][0]))]
    confusions = [np.array([step[number].confusion for step in scores[order]])             # (steps, K, K)
                  for order, number in runs]
    tasks = [orders[order].steps for order, _ in runs]
    accuracies = np.stack([step_accuracies(counts) for counts in confusions])                           # (runs, steps)
    averages = [average_accuracy(counts) for counts in confusions]
    lost = [forgetting(counts, steps) for counts, steps in zip(confusions, tasks)]
    by_task = np.stack([task_accuracies(counts, steps) for counts, steps in zip(confusions, tasks)])
    by_class = np.stack([[class_accuracies(counts) for counts in steps] for steps in confusions])   # (runs, steps, K)
    mean, std = zip(*map(mean_and_std, accuracies.T))
    of_orders = accuracies.reshape(len(orders), -1, accuracies.shape[1]).mean(1)              # (orders, steps)
    return {"runs": [{"seed": orders[order].seed, "network": number} for order, number in runs],
            "accuracies": accuracies.tolist(), "mean": list(mean), "std": list(std),
            "std_of_orders": of_orders.std(0).tolist(),
            "average_accuracy": _of_runs(averages, len(orders)), "forgetting": _of_runs(lost, len(orders)),
            "task_accuracies": _mean_where_known(by_task), "class_accuracies": _mean_where_known(by_class),
            "final_confusion": sum(by_step[-1] for by_step in confusions).tolist()}


def _of_runs(values, orders):
    """Return mean and deviations of one value for each run, as many of each of the `orders`."""
    mean, std = mean_and_std(values)
    of_orders = None if mean is None else float(np.reshape(values, (orders, -1)).mean(1).std())
    return {"mean": mean, "std": std, "std_of_orders": of_orders, "of_runs": values}


def _mean_where_known(values):
    """Return the mean over runs of (runs, steps, N) as nested lists, None where no run knows."""
    known = ~np.isnan(values)
    sums, number = np.where(known, values, 0).sum(0), known.sum(0)
    return [[float(s / n) if n else None for s, n in zip(*row)] for row in zip(sums, number)]


def save_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write `summary` with its notes as JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**summary, "notes": notes_of(summary)}, indent=1) + "\n")


def table_of(summary: dict[str, Any]) -> Table:
    """Return the `Table` of a summary: a row for each method, a column for each step, average and forgetting."""
    methods = summary["methods"]
    steps = next(iter(summary["orders"].values()))
    seen = np.cumsum([len(classes) for classes in steps])
    header = ["memory", "images", "bytes", *[f"{number} classes" for number in seen], "average", "forgetting"]
    rows = [[name, str(row["images_per_class"]), f"{row['bytes_per_class']:,}", *map(_percent, row["mean"], row["std"]),
             *(_percent(row[key]["mean"], row[key]["std"]) for key in ("average_accuracy", "forgetting"))]
            for name, row in methods.items()]
    return Table(header, rows, notes_of(summary))


def notes_of(summary: dict[str, Any]) -> list[str]:
    """Return the lines that a reader of the figures has to know."""
    notes = [f"{summary['dataset']}, {summary['model']}, {memory_in_words(summary)}. Test accuracy in % on the classes "
             "seen so far, with an output for every class, mean ± population standard deviation over "
             f"{runs_in_words(summary)}.",
             "average: mean over the steps. forgetting: earlier steps' classes, best accuracy before the last step "
             "less that after it, in percentage points. images and bytes: per class, decoded and stored."]
    seeds = sorted({row["seed"] for row in summary["methods"].values() if "seed" in row})
    if seeds:
        notes.append(f"All steps of all class orders were condensed with --seed {' or '.join(map(str, seeds))}: the "
                     "spread is that of orders and networks, and holds no luck of condensation.")
    return notes


def memory_in_words(summary: dict[str, Any]) -> str:
    """Word what the memory may store."""
    return f"memory of {counted(summary['ipc'], 'stored image')} per class"


def runs_in_words(summary: dict[str, Any]) -> str:
    """Word how many runs there are."""
    runs, orders = len(next(iter(summary["methods"].values()))["runs"]), len(summary["orders"])
    return f"{counted(runs, 'network')} ({counted(orders, 'class order')} x {runs // orders})"


def counted(number: int, noun: str) -> str:
    """Word a number of things."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _percent(mean, std):
    return "–" if mean is None else f"{100 * mean:.1f} ± {100 * std:.1f}"
