"""What a comparison comes to: one JSON file with everything, and one table."""

import dataclasses
import json
import platform
from importlib.metadata import version

import numpy as np

from condense.checkpoints import differing
from condense.continual.metrics import (
    average_accuracy,
    class_accuracies,
    forgetting,
    mean_and_std,
    step_accuracies,
    task_accuracies,
)
from condense.files import atomic_path
from condense.options import OptionError
from condense.tables import Table

FORMAT_VERSION = 1
MAY_DIFFER = ("methods", "seeds", "compare")              # what a folder's comparison may grow by


def refuse_other_summary(path, options, fingerprint, overwrite):
    """Raise OptionError where `path` holds a comparison by other `options`, or of other images, to be replaced."""
    if overwrite or not path.exists():
        return
    try:
        content = json.loads(path.read_text())
        before, images = content["options"], content["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise OptionError(f"{path} cannot be read; move it away, or give --overwrite") from None
    lines = differing(*({name: value for name, value in of.items() if name not in MAY_DIFFER}
                        for of in (before, plain(options))))
    if not lines and images != fingerprint:
        lines = ["the images are others"]
    if lines:
        raise OptionError(f"{path} is another comparison ({'; '.join(lines)}); use another --save_path, or "
                          "--overwrite")


def plain(values):
    """Return `values` as JSON gives them back."""
    return json.loads(json.dumps(values))


def summarise(real, cfg, protocol, orders, sources, parts, scores):
    """Return everything that the comparison comes to, as plain values that repeat it.

    `parts` {(source name, seed): [facts of each step's part]} and `scores` {(source name, seed): [[Score] of each
    step]}. Accuracies are fractions; those of a run are one network's of each step, under one class order.
    """
    return {"format_version": FORMAT_VERSION, "dataset": real.name, "fingerprint": real.fingerprint,
            "class_names": list(real.class_names), "model": cfg.model, "ipc": cfg.ipc,
            "options": plain(cfg.identity()), "protocol": dataclasses.asdict(protocol),
            "versions": {**{name: version(name) for name in ("torch", "numpy")}, "python": platform.python_version()},
            "orders": {str(order.seed): [list(classes) for classes in order.steps] for order in orders},
            "methods": {source.name: {"images_per_class": source.images_per_class,
                                      "bytes_per_class": parts[source.name, 0][0]["bytes"] // len(orders[0].steps[0]),
                                      "memory": {str(o.seed): parts[source.name, o.seed] for o in orders},
                                      **figures(orders, [scores[source.name, order.seed] for order in orders])}
                        for source in sources}}


def figures(orders, scores):
    """Return the metrics of one method: `scores` is a list over `orders` of lists over steps of [Score]."""
    runs = [(order, number) for order in range(len(orders)) for number in range(len(scores[0][0]))]
    confusions = [np.array([of[number].confusion for of in scores[order]]) for order, number in runs]   # (steps, K, K)
    tasks = [orders[order].steps for order, _ in runs]
    accuracies = np.stack([step_accuracies(counts) for counts in confusions])                           # (runs, steps)
    averages = [average_accuracy(counts) for counts in confusions]
    lost = [forgetting(counts, steps) for counts, steps in zip(confusions, tasks)]
    by_task = np.stack([task_accuracies(counts, steps) for counts, steps in zip(confusions, tasks)])
    by_class = np.stack([[class_accuracies(counts) for counts in of] for of in confusions])   # (runs, steps, K)
    mean, std = zip(*map(mean_and_std, accuracies.T))
    return {"runs": [{"seed": orders[order].seed, "network": number} for order, number in runs],
            "accuracies": accuracies.tolist(), "mean": list(mean), "std": list(std),
            "average_accuracy": _of_runs(averages), "forgetting": _of_runs(lost),
            "task_accuracies": _mean_where_known(by_task), "class_accuracies": _mean_where_known(by_class),
            "final_confusion": sum(of[-1] for of in confusions).tolist()}


def _of_runs(values):
    mean, std = mean_and_std(values)
    return {"mean": mean, "std": std, "of_runs": values}


def _mean_where_known(values):
    """Return the mean over runs of (runs, steps, N) as nested lists, None where no run knows."""
    known = ~np.isnan(values)
    sums, number = np.where(known, values, 0).sum(0), known.sum(0)
    return [[float(s / n) if n else None for s, n in zip(*row)] for row in zip(sums, number)]


def save_summary(path, summary):
    """Write `summary` as JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")


def table_of(summary):
    """Return the `Table` of a summary: a row for each method, a column for each step, average and forgetting."""
    methods = summary["methods"]
    first = next(iter(methods.values()))
    steps = next(iter(summary["orders"].values()))
    seen = np.cumsum([len(classes) for classes in steps])
    header = ["memory", "images", "bytes", *[f"{number} classes" for number in seen], "average", "forgetting"]
    rows = [[name, str(of["images_per_class"]), f"{of['bytes_per_class']:,}", *map(_percent, of["mean"], of["std"]),
             *(_percent(of[key]["mean"], of[key]["std"]) for key in ("average_accuracy", "forgetting"))]
            for name, of in methods.items()]
    orders, networks = len(summary["orders"]), len(first["runs"]) // len(summary["orders"])
    memory = f"memory of {counted(summary['ipc'], 'stored image')} per class"
    notes = [f"{summary['dataset']}, {summary['model']}, {memory}. "
             "Test accuracy in % on the classes seen so far, with an output for every class, mean ± population "
             f"standard deviation over {counted(len(first['runs']), 'network')} ({counted(orders, 'class order')} x "
             f"{networks}).",
             "average: mean over the steps. forgetting: earlier steps' classes, best accuracy before the last step "
             "less that after it, in percentage points. images and bytes: per class, decoded and stored."]
    return Table(header, rows, notes)


def counted(number, noun):
    """Word a number of things."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _percent(mean, std):
    return "–" if mean is None else f"{100 * mean:.1f} ± {100 * std:.1f}"
