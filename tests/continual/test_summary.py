"""What a comparison comes to: figures over runs, the table, the picture and the time still to go."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from condense.comparison.tables import FORMATS
from condense.continual.order import class_order
from condense.continual.pace import ComparisonPace
from condense.continual.plot import COLOURS, MARKERS, draw, save_figure
from condense.continual.scoring import ScoreBook
from condense.continual.summary import figures, notes_of, save_summary, table_of
from condense.core.randomness import Streams
from condense.evaluation import Score
from condense.operators import Compute
from condense.training import Protocol


def scores_of(order, rights, tests=20):
    """Return the scores of one order's steps: `rights` has of each step each network's right guesses per class."""
    listed = []
    for step, of_networks in enumerate(rights):
        counts = [np.zeros((4, 4), int) for _ in of_networks]
        for matrix, right in zip(counts, of_networks):
            for label in order.seen(step):
                matrix[label, label], matrix[label, (label + 1) % 4] = right, tests - right
        listed.append([Score(right / tests, 1, 0, confusion=tuple(map(tuple, counted.tolist())))
                       for counted, right in zip(counts, of_networks)])
    return listed


@pytest.fixture
def summary():
    orders = [class_order(4, 2, seed) for seed in range(2)]
    scores = [scores_of(orders[0], [(20, 18), (10, 12)]), scores_of(orders[1], [(16, 14), (8, 6)])]
    found = figures(orders, scores)
    return {"dataset": "toy", "model": "MLP", "ipc": 3, "orders": {str(o.seed): o.steps for o in orders},
            "methods": {name: {"images_per_class": 3, "bytes_per_class": 1200, **found}
                        for name in ("random", "DM+low_rank")}}


def test_figures_are_means_over_all_networks_of_all_orders(summary):
    found = summary["methods"]["random"]
    assert found["runs"] == [{"seed": s, "network": i} for s in range(2) for i in range(2)]
    assert found["accuracies"] == [[1.0, 0.5], [0.9, 0.6], [0.8, 0.4], [0.7, 0.3]]
    assert found["mean"] == pytest.approx([0.85, 0.45])
    assert found["std"] == pytest.approx([np.sqrt(0.0125), np.sqrt(0.0125)])
    assert found["std_of_orders"] == pytest.approx([0.1, 0.1])         # of 0.95 and 0.75, of 0.55 and 0.35
    assert found["average_accuracy"]["std_of_orders"] == pytest.approx(0.1)      # of 0.75 and 0.55
    assert found["forgetting"]["std_of_orders"] == pytest.approx(0)    # of 0.4 and 0.4
    assert found["average_accuracy"]["of_runs"] == pytest.approx([0.75, 0.75, 0.6, 0.5])
    assert found["average_accuracy"]["mean"] == pytest.approx(0.65)
    assert found["forgetting"]["of_runs"] == pytest.approx([0.5, 0.3, 0.4, 0.4])
    assert found["class_accuracies"][1] == pytest.approx([0.45] * 4)
    assert np.array(found["final_confusion"]).sum() == 4 * 4 * 20
    assert found["task_accuracies"][0][1] is None and found["task_accuracies"][1] == pytest.approx([0.45, 0.45])
    json.dumps(summary, allow_nan=False)


def test_classes_not_seen_under_some_orders_are_averaged_over_the_others(summary):
    orders = [class_order(4, 2, seed) for seed in range(2)]
    first = summary["methods"]["random"]["class_accuracies"][0]
    for label in range(4):
        seen = [mean for order, mean in zip(orders, (0.95, 0.75)) if label in order.steps[0]]
        assert first[label] == (pytest.approx(np.mean(seen)) if seen else None)


def test_the_table_has_a_row_for_each_memory_in_percent_with_one_decimal(summary):
    table = table_of(summary)
    assert table.header == ["memory", "images", "bytes", "2 classes", "4 classes", "average", "forgetting"]
    assert table.rows[0] == ["random", "3", "1,200", "85.0 ± 11.2", "45.0 ± 11.2", "65.0 ± 10.6", "40.0 ± 7.1"]
    assert [row[0] for row in table.rows] == ["random", "DM+low_rank"]
    assert "over 4 networks (2 class orders x 2)" in table.notes[0]
    for form in FORMATS.values():
        assert "45.0" in form(table)


def test_notes_say_what_the_spread_holds_in_the_table_and_in_the_file(summary, tmp_path):
    assert not any("condensed with" in note for note in notes_of(summary))     # random images are not
    summary["methods"]["DM+low_rank"]["seed"] = 7
    assert notes_of(summary)[-1] == ("All steps of all class orders were condensed with --seed 7: the spread is that "
                                     "of orders and networks, and holds no luck of condensation.")
    save_summary(tmp_path / "a.json", summary)
    assert json.loads((tmp_path / "a.json").read_text())["notes"] == table_of(summary).notes == notes_of(summary)


def test_the_picture_has_bands_of_one_deviation_and_says_of_what(summary):
    summary["methods"]["DM+low_rank"] = {**summary["methods"]["random"], "images_per_class": 6, "mean": [0.9, 0.8],
                                         "std": [0.02, 0.01]}
    figure = draw(summary)
    (axes,), (legend,) = figure.axes, figure.legends
    expected = [[(85, 11.18), (45, 11.18)], [(90, 2), (80, 1)]]
    for band, line, values in zip(axes.collections, axes.lines, expected, strict=True):
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(2).tolist()}
        assert corners == {(seen, round(mean + sign * std, 2)) for seen, (mean, std) in zip((2, 4), values)
                           for sign in (-1, 1)}
        assert line.get_ydata().tolist() == pytest.approx([mean for mean, _ in values])
    assert "bands: ± 1 standard deviation over 4 networks (2 class orders x 2)" in axes.get_title()
    assert [text.get_text() for text in legend.get_texts()] == [
        "random: 3 images, 1,200 bytes, 65.0 %", "DM+low_rank: 6 images, 1,200 bytes, 65.0 %"]


def test_eleven_memories_are_told_apart_by_colour_and_by_marker(summary):
    summary["methods"] = {f"memory {i}": summary["methods"]["random"] for i in range(13)}
    lines = draw(summary).axes[0].lines
    for looks in ([line.get_color() for line in lines], [line.get_marker() for line in lines]):
        assert len(set(looks[:11])) == 11
    assert len(COLOURS) == len(MARKERS) and len({(line.get_color(), line.get_linestyle()) for line in lines}) == 13


def test_the_picture_is_a_png_with_a_line_for_every_memory(summary, tmp_path):
    assert save_figure(tmp_path / "a.png", summary) == tmp_path / "a.png"
    pixels = np.array(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (pixels == colour).all(1).sum() > 20        # markers and the key, where lines coincide
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_there_is_no_picture_but_a_word_about_it(summary, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert save_figure(tmp_path / "a.png", summary) is None
    assert "pip install matplotlib" in caplog.text and not list(tmp_path.iterdir())


def test_the_rest_is_told_once_from_one_step_of_every_memory():
    sources = [SimpleNamespace(name="random"), SimpleNamespace(name="DM")]
    pace = ComparisonPace(sources, orders=2, steps=3)
    pace.note(sources[0], 0, None, 2.0)
    assert pace.remaining() is None
    pace.note(sources[1], 0, 10.0, 4.0)
    # scores grow with the memory: 2 orders x (1 + 2 + 3) units of 2 and of 4 s, less one each; 5 more sets of 10 s
    assert pace.remaining() == pytest.approx(11 * 2 + 11 * 4 + 5 * 10)
    assert pace.remaining() is None


def test_what_was_there_already_costs_nothing():
    source = SimpleNamespace(name="DM")
    pace = ComparisonPace([source], orders=1, steps=3)
    pace.note(source, 0, None, None)
    pace.note(source, 1, None, None)
    assert pace.remaining() is None
    pace.note(source, 2, 7.0, 9.0)
    assert pace.remaining() == 0


def parts_like(*digests):
    """Return what the key of a score takes of the parts of a memory."""
    return [SimpleNamespace(sha256=digest) for digest in digests]


def test_a_score_is_computed_once_and_read_back_only_where_everything_agrees(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ScoreBook, "_compute", lambda self, order, step, parts: calls.append(step) or [
        Score(0.5, 1.0, 0.0, confusion=((1, 1), (0, 2)))])

    def book(seed=0, epochs=3, data="f", precision="fp32", device="cpu"):
        real, compute = SimpleNamespace(fingerprint=data, device="cpu"), Compute(torch.device(device), precision)
        return ScoreBook(tmp_path, real, "MLP", Protocol(epochs=epochs), 1, Streams(seed), compute)

    order, parts = class_order(4, 2, 0), parts_like("a", "b")
    first = book().score("DM", order, 1, parts)
    (path,) = tmp_path.iterdir()
    again = book()
    assert again.score("DM", order, 1, parts) == first and not again.made and calls == [1]
    assert again.score("DM", order, 1, parts)[0].confusion == ((1, 1), (0, 2))
    for other in (lambda: book().score("DM", order, 1, parts_like("a", "c")),
                  lambda: book(seed=1).score("DM", order, 1, parts),
                  lambda: book(epochs=4).score("DM", order, 1, parts),
                  lambda: book(data="g").score("DM", order, 1, parts),
                  lambda: book(precision="bf16").score("DM", order, 1, parts),
                  lambda: book(device="cuda").score("DM", order, 1, parts),
                  lambda: book().score("DM", class_order(4, 2, 1), 1, parts)):
        before = len(calls)
        other()
        assert len(calls) == before + 1
    path.write_text(path.read_text()[:-5])                 # cut off: computed again
    before = len(calls)
    assert book().score("DM", order, 1, parts) == first and len(calls) == before + 1
