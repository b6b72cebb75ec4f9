"""The picture of a comparison: accuracy over the classes seen so far, a line and a band for each memory."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from condense.continual.summary import counted, memory_in_words, runs_in_words
from condense.core.files import atomic_path

log = logging.getLogger("condense")

# Okabe & Ito's colours, which most colour-blind readers tell apart, four darker or duller ones for large comparisons,
# and a marker each for print in grey. Lines beyond these are dashed, then dotted.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933", "#7F7F7F",
           "#332288")
MARKERS = "osD^vPX<>p*"
DASHES = ("-", "--", ":")


def save_figure(path: Path, summary: dict[str, Any]) -> Path | None:
    """Draw `summary` as a PNG at `path` (`draw`).

    Returns `path`, or None, after a warning, where matplotlib is missing: figures are worth more than their picture.
    """
    try:
        figure = draw(summary)
    except ImportError:
        log.warning("no picture without matplotlib: pip install matplotlib, and give the same command again")
        return None
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


def draw(summary: dict[str, Any]) -> Any:
    """Return the Figure of `summary`: mean accuracy in % by the number of classes seen, with bands of ± 1 deviation.

    Raises ImportError where matplotlib is missing.
    """
    from matplotlib.figure import Figure  # here: importing it takes as long as importing torch

    steps = next(iter(summary["orders"].values()))
    seen = np.cumsum([len(classes) for classes in steps])
    rows = len(summary["methods"]) // 2
    figure = Figure(figsize=(7, 4.6 + 0.15 * max(0, rows - 2)), layout="constrained")
    axes = figure.subplots()
    for number, (name, row) in enumerate(summary["methods"].items()):
        _draw_line(axes, seen, 100 * np.array(row["mean"]), 100 * np.array(row["std"]), number, legend_of(name, row))
    axes.set(xlabel="classes seen", ylabel="test accuracy on classes seen (%)", xticks=seen)
    axes.set_title(f"{summary['dataset']}, {summary['model']}, {memory_in_words(summary)}\n"
                   f"bands: ± 1 standard deviation over {runs_in_words(summary)}", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9,   # no curve is under it
                           title="memory: images and bytes of a class, average accuracy over the steps")
    legend.get_title().set_fontsize(9)
    return figure


def legend_of(name: str, row: dict[str, Any]) -> str:
    """Return what the key says of the memory `name`."""
    memory = f"{counted(row['images_per_class'], 'image')}, {row['bytes_per_class']:,} bytes"
    return f"{name.split(',')[0]}: {memory}, {100 * row['average_accuracy']['mean']:.1f} %"


def _draw_line(axes, seen, mean, std, number, label):
    turn, place = divmod(number, len(COLOURS))
    axes.fill_between(seen, mean - std, mean + std, color=COLOURS[place], alpha=0.15, linewidth=0)
    axes.plot(seen, mean, DASHES[turn % len(DASHES)], color=COLOURS[place], marker=MARKERS[place], markersize=5,
              linewidth=1.6, label=label)
