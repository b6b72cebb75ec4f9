"""The picture of a comparison: accuracy over the classes seen so far, a line and a band for each memory."""

import logging

import numpy as np

from condense.continual.summary import counted
from condense.files import atomic_path

log = logging.getLogger("condense")

# Okabe & Ito's colours, which most colour-blind readers tell apart, and a marker each for print in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def save_figure(path, summary):
    """Draw `summary` as a PNG: mean accuracy in % by the number of classes seen, bands of one standard deviation.

    Returns `path`, or None, after a warning, where matplotlib is missing: figures are worth more than their picture.
    """
    try:
        from matplotlib.figure import Figure  # here: importing it takes as long as importing torch
    except ImportError:
        log.warning("no picture without matplotlib: pip install matplotlib, and give the same command again")
        return None
    steps = next(iter(summary["orders"].values()))
    seen = np.cumsum([len(classes) for classes in steps])
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, of) in enumerate(summary["methods"].items()):
        _draw_line(axes, seen, 100 * np.array(of["mean"]), 100 * np.array(of["std"]), number,
                   f"{name} (average {100 * of['average_accuracy']['mean']:.1f} %)")
    axes.set(xlabel="classes seen", ylabel="test accuracy on classes seen (%)", xticks=seen)
    memory = f"memory of {counted(summary['ipc'], 'stored image')} per class"
    axes.set_title(f"{summary['dataset']}, {summary['model']}, {memory}", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)        # no curve is under it
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


def _draw_line(axes, seen, mean, std, number, label):
    colour = COLOURS[number % len(COLOURS)]
    style = ("-", "--", ":")[number // len(COLOURS) % 3]
    axes.fill_between(seen, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    axes.plot(seen, mean, style, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=5, linewidth=1.6,
              label=label)
