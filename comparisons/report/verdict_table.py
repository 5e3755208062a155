"""The verdicts of a run as a picture: a row a network or recordings, a column a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comparisons.report.drawing import ALERT, COLOURS, FAINT, INK, MUTED, short
from comparisons.report.output import canvas
from comparisons.report.summary import verdict_grid
from comparisons.results import RunResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = {
    "SUPPORTED": ("\N{BLACK CIRCLE}", COLOURS[0]),
    "REFUTED": ("\N{MULTIPLICATION X}", ALERT),
    "INCONCLUSIVE": ("\N{CIRCLE WITH LEFT HALF BLACK}", INK),
    "NOT TESTABLE": ("\N{WHITE CIRCLE}", MUTED),
}
"""Sign and colour of an answer: told apart without colour too, as on the page."""
NAME, CELL, LINE = 2.6, 1.55, 0.27
"""Inches of a name, of a cell, and of a line."""
UNASKED = "not asked"


def draw_verdicts(results: RunResults) -> Figure | None:
    """The table of a run's answers; None where it has none."""
    predictions, rows = verdict_grid(results)
    if not rows:
        return None
    width, height = NAME + CELL * len(predictions), LINE * (len(rows) + 1.3)
    figure = canvas(width, height)

    def write(text: str, x: float, line: float, colour: str = INK, size: float = 9.0, weight: str = "normal") -> None:
        figure.text(
            x / width, 1 - (line + 0.5) * LINE / height, text, fontsize=size, color=colour, fontweight=weight,
            va="center", parse_math=False,
        )  # fmt: skip

    def rule(line: float, colour: str) -> None:
        from matplotlib.lines import Line2D

        y = 1 - line * LINE / height
        figure.add_artist(Line2D([0, 1], [y, y], color=colour, linewidth=0.7))

    for column, prediction in enumerate(predictions):
        write(prediction, NAME + CELL * column, 0, MUTED, weight="bold")
    rule(1.1, MUTED)
    for line, (subject, simulated, answers) in enumerate(rows, start=1):
        write(short(subject, 22 if simulated else 34), 0.03, line + 0.15, weight="bold")
        if simulated:
            write("SIMULATED", NAME - 0.85, line + 0.15, ALERT, size=6.5, weight="bold")
        for column, answer in enumerate(answers):
            x = NAME + CELL * column
            if not answer:
                write(UNASKED, x + 0.2, line + 0.15, MUTED, size=8)
                continue
            sign, colour = MARKS[answer]
            write(sign, x, line + 0.15, colour)
            write(answer, x + 0.2, line + 0.15, colour, size=8, weight="bold")
        rule(line + 1.1, FAINT)
    return figure
