"""Tables of texts, and the four ways they are written: for a terminal, Markdown, LaTeX and CSV."""

import csv
import io
from dataclasses import dataclass, field

LATEX = str.maketrans({"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
                       "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
                       "±": r"$\pm$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "–": "--", "<": "$<$", ">": "$>$"})
FIGURE = set("0123456789.,±%[]()–-+ †‡")                   # a column of nothing else is aligned to the right


@dataclass
class Table:
    """Texts in their places: the header, the rows, and the notes below."""

    header: list
    rows: list
    notes: list = field(default_factory=list)


def text(table: Table) -> str:
    """Columns for a terminal: words to the left, figures to the right."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    right = [all(set(row[i]) <= FIGURE for row in table.rows) for i in range(len(table.header))]
    rows = ["  ".join(cell.rjust(width) if figures else cell.ljust(width)
                      for cell, width, figures in zip(line, widths, right)).rstrip() for line in lines]
    return "\n".join([*rows, *[""] * bool(table.notes), *table.notes]) + "\n"


def markdown(table: Table) -> str:
    """A table with a header; each note a line of its own below."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    grid = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    return "\n".join([*grid, "", *(f"{note}  " for note in table.notes)]) + "\n"


def latex(table: Table) -> str:
    """A float with a plain tabular (no package needed); the notes are its caption."""
    grid = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in [table.header, *table.rows]]
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{'l' * len(table.header)}}}", r"\hline", grid[0],
             r"\hline", *grid[1:], r"\hline", r"\end{tabular}",
             rf"\caption{{{' '.join(table.notes).translate(LATEX)}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """Header and rows as CSV with \\n line ends; the notes are left out, as readers of CSV know no comments."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.header, *table.rows])
    return file.getvalue()


FORMATS = {"text": text, "markdown": markdown, "latex": latex, "csv": comma_separated}
