"""The four forms of a table hold the same cells, and escape what their readers would stumble over."""

import csv
import io

import pytest

from condense.comparison.tables import FORMATS, Table

TABLE = Table(["trained on", "a_b", "accuracy"], [["DM | 1 & 50 %", "x{y}", "88.1 ± 0.5"], ["random", "–", "9.0"]],
              ["Percent, ± std."])


def test_text_lines_up_words_on_the_left_and_figures_on_the_right():
    lines = FORMATS["text"](TABLE).splitlines()
    assert lines[0].index("a_b") == lines[1].index("x{y}") and lines[1].endswith("88.1 ± 0.5")
    assert len(lines[1]) == len(lines[2]) and lines[2].endswith("9.0") and lines[-1] == "Percent, ± std."


def test_markdown_keeps_bars_inside_cells():
    lines = FORMATS["markdown"](TABLE).splitlines()
    assert lines[1] == "| --- | --- | --- |" and lines[2] == r"| DM \| 1 & 50 % | x{y} | 88.1 ± 0.5 |"
    assert lines[-1] == "Percent, ± std.  "


def test_latex_escapes_what_it_takes_for_commands():
    text = FORMATS["latex"](TABLE)
    assert r"DM | 1 \& 50 \% & x\{y\} & 88.1 $\pm$ 0.5 \\" in text and r"a\_b" in text
    assert r"\begin{tabular}{lll}" in text
    assert r"\caption{Percent, $\pm$ std.}" in text


def test_csv_reads_back_to_the_same_cells():
    assert list(csv.reader(io.StringIO(FORMATS["csv"](TABLE)))) == [TABLE.header, *TABLE.rows]


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_without_rows_is_its_header(name):
    assert "accuracy" in FORMATS[name](Table(["accuracy"], []))
