"""What a comparison comes to: figures over runs, the table, the picture and the time still to go."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from condense.continual.figure import save_figure
from condense.continual.order import class_order
from condense.continual.pace import Pace
from condense.continual.scoring import ScoreBook
from condense.continual.summary import figures, refuse_other_summary, table_of
from condense.evaluation import Protocol, Score
from condense.options import OptionError
from condense.randomness import Streams
from condense.tables import FORMATS


def scores_of(order, rights, tests=20):
    """Return the scores of one order's steps: `rights` has of each step each network's right guesses per class."""
    listed = []
    for step, of_networks in enumerate(rights):
        counts = [np.zeros((4, 4), int) for _ in of_networks]
        for matrix, right in zip(counts, of_networks):
            for label in order.seen(step):
                matrix[label, label], matrix[label, (label + 1) % 4] = right, tests - right
        listed.append([Score(right / tests, 1, 0, confusion=tuple(map(tuple, of.tolist())))
                       for of, right in zip(counts, of_networks)])
    return listed


@pytest.fixture
def summary():
    orders = [class_order(4, 2, seed) for seed in range(2)]
    scores = [scores_of(orders[0], [(20, 18), (10, 12)]), scores_of(orders[1], [(16, 14), (8, 6)])]
    of = figures(orders, scores)
    return {"dataset": "toy", "model": "MLP", "ipc": 3, "orders": {str(o.seed): o.steps for o in orders},
            "methods": {name: {"images_per_class": 3, "bytes_per_class": 1200, **of}
                        for name in ("random", "DM+low_rank")}}


def test_figures_are_means_over_all_networks_of_all_orders(summary):
    of = summary["methods"]["random"]
    assert of["runs"] == [{"seed": s, "network": i} for s in range(2) for i in range(2)]
    assert of["accuracies"] == [[1.0, 0.5], [0.9, 0.6], [0.8, 0.4], [0.7, 0.3]]
    assert of["mean"] == pytest.approx([0.85, 0.45])
    assert of["std"] == pytest.approx([np.sqrt(0.0125), np.sqrt(0.0125)])
    assert of["average_accuracy"]["of_runs"] == pytest.approx([0.75, 0.75, 0.6, 0.5])
    assert of["average_accuracy"]["mean"] == pytest.approx(0.65)
    assert of["forgetting"]["of_runs"] == pytest.approx([0.5, 0.3, 0.4, 0.4])
    assert of["class_accuracies"][1] == pytest.approx([0.45] * 4)
    assert np.array(of["final_confusion"]).sum() == 4 * 4 * 20
    assert of["task_accuracies"][0][1] is None and of["task_accuracies"][1] == pytest.approx([0.45, 0.45])
    json.dumps(summary, allow_nan=False)


def test_classes_not_seen_under_some_orders_are_averaged_over_the_others(summary):
    orders = [class_order(4, 2, seed) for seed in range(2)]
    first = summary["methods"]["random"]["class_accuracies"][0]
    for label in range(4):
        of = [mean for order, mean in zip(orders, (0.95, 0.75)) if label in order.steps[0]]
        assert first[label] == (pytest.approx(np.mean(of)) if of else None)


def test_the_table_has_a_row_for_each_memory_in_percent_with_one_decimal(summary):
    table = table_of(summary)
    assert table.header == ["memory", "images", "bytes", "2 classes", "4 classes", "average", "forgetting"]
    assert table.rows[0] == ["random", "3", "1,200", "85.0 ± 11.2", "45.0 ± 11.2", "65.0 ± 10.6", "40.0 ± 7.1"]
    assert [row[0] for row in table.rows] == ["random", "DM+low_rank"]
    assert "over 4 networks (2 class orders x 2)" in table.notes[0]
    for form in FORMATS.values():
        assert "45.0" in form(table)


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


def test_a_comparison_may_grow_by_methods_and_orders_but_not_change_its_options(tmp_path):
    path = tmp_path / "scores.json"
    refuse_other_summary(path, {"ipc": 2}, "f", False)
    path.write_text(json.dumps({"options": {"ipc": 2, "methods": ["DM"], "seeds": 5}, "fingerprint": "f"}))
    refuse_other_summary(path, {"ipc": 2, "methods": ("DM", "random"), "seeds": 2}, "f", False)
    with pytest.raises(OptionError, match="--ipc was 2, is 3.*another --save_path, or --overwrite"):
        refuse_other_summary(path, {"ipc": 3, "methods": ("DM",), "seeds": 5}, "f", False)
    with pytest.raises(OptionError, match="the images are others"):
        refuse_other_summary(path, {"ipc": 2, "methods": ("DM",), "seeds": 5}, "g", False)
    refuse_other_summary(path, {"ipc": 3}, "g", True)
    path.write_text("{")
    with pytest.raises(OptionError, match="cannot be read"):
        refuse_other_summary(path, {"ipc": 3}, "f", False)


def test_the_rest_is_told_once_from_one_step_of_every_memory():
    sources = [SimpleNamespace(name="random"), SimpleNamespace(name="DM")]
    pace = Pace(sources, orders=2, steps=3)
    pace.note(sources[0], 0, None, 2.0)
    assert pace.remaining() is None
    pace.note(sources[1], 0, 10.0, 4.0)
    # scores grow with the memory: 2 orders x (1 + 2 + 3) units of 2 and of 4 s, less one each; 5 more sets of 10 s
    assert pace.remaining() == pytest.approx(11 * 2 + 11 * 4 + 5 * 10)
    assert pace.remaining() is None


def test_what_was_there_already_costs_nothing():
    source = SimpleNamespace(name="DM")
    pace = Pace([source], orders=1, steps=3)
    pace.note(source, 0, None, None)
    pace.note(source, 1, None, None)
    assert pace.remaining() is None
    pace.note(source, 2, 7.0, 9.0)
    assert pace.remaining() == 0


def parts_like(*digests):
    """Return what the key of a score takes of the parts of a memory."""
    return [SimpleNamespace(sha256=digest) for digest in digests]


def test_a_score_is_computed_once_and_read_back_only_where_everything_agrees(tmp_path, monkeypatch):
    calls, real = [], SimpleNamespace(fingerprint="f", device="cpu")
    monkeypatch.setattr(ScoreBook, "_compute", lambda self, order, step, parts: calls.append(step) or [
        Score(0.5, 1.0, 0.0, confusion=((1, 1), (0, 2)))])

    def book(seed=0, epochs=3):
        compute = SimpleNamespace(precision="fp32")
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
                  lambda: book().score("DM", class_order(4, 2, 1), 1, parts)):
        before = len(calls)
        other()
        assert len(calls) == before + 1
    path.write_text(path.read_text()[:-5])                 # cut off: computed again
    before = len(calls)
    assert book().score("DM", order, 1, parts) == first and len(calls) == before + 1
