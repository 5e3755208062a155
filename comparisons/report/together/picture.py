"""Models by data sets as a picture: a panel a region, a line a network, its best site with interval and ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comparisons.report import panels as select
from comparisons.report import values
from comparisons.report.drawing import ALERT, COLOURS, FAINT, INK, MARKERS, MUTED, short
from comparisons.report.output import canvas
from comparisons.report.together.matrix import Matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL, LINE, NAMES = 2.1, 0.24, 2.7
"""Inches of a panel's width, of a network's line, and of the names."""
ABREAST = 4
"""Panels in a row."""


def draw(matrix: Matrix) -> Figure:
    """The picture of one matrix. Equal matrices give equal pictures."""
    across = min(ABREAST, len(matrix.columns))
    down = -(-len(matrix.columns) // across)
    height = LINE * len(matrix.rows) + 0.75
    figure = canvas(NAMES + PANEL * across, height * down + 0.3)
    several = len({row.run for row in matrix.rows}) > 1
    names = [f"{row.model}, {row.run}" if several else row.model for row in matrix.rows]
    width, total = NAMES + PANEL * across, height * down + 0.3
    for number, column in enumerate(matrix.columns):
        line, place = divmod(number, across)
        axes = figure.add_axes(
            (
                (NAMES + PANEL * place + 0.05) / width,
                1 - (height * (line + 1) - 0.4) / total,
                (PANEL - 0.2) / width,
                (height - 0.75) / total,
            )
        )
        if column.ceiling is not None:
            axes.axvspan(*column.ceiling, color=FAINT, linewidth=0, zorder=0)
        axes.axvline(0, color=MUTED, linewidth=0.6, zorder=1)
        for at, row in enumerate(matrix.rows):
            cell = row.cells[number]
            if cell is None:
                axes.text(0, at, "not compared", fontsize=6.5, color=MUTED, va="center")
                continue
            kind = select.ROLES.index(row.role)
            colour = COLOURS[kind]
            if cell.interval is not None:
                axes.plot(cell.interval, (at, at), color=colour, linewidth=1.2, zorder=2)
            axes.plot(
                [cell.estimate], [at], marker=MARKERS[kind], color=colour, markersize=5, linestyle="none",
                markerfacecolor=colour if row.role == "trained" else "#ffffff", zorder=3,
            )  # fmt: skip
        axes.set_ylim(len(matrix.rows) - 0.5, -0.5)
        for at, (row, name) in enumerate(zip(matrix.rows, names, strict=True)):
            if (cell := row.cells[number]) is not None:
                said = values.told(f"{name} ({row.role}), {cell.site}", [cell.estimate, *(cell.interval or ())])
                values.point(axes, cell.estimate, at, said)
        axes.set_yticks(range(len(matrix.rows)), [short(name, 40) for name in names] if not place else [])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.set_title(
            f"{column.region}\n{short(column.recordings, 26)}", fontsize=8, color=INK, loc="left", parse_math=False
        )
        if column.simulated:
            axes.text(
                1, 1.02, "SIMULATED", transform=axes.transAxes, fontsize=6, color=ALERT, ha="right", weight="bold"
            )
    figure.text(
        NAMES / width, 0.05 / total, fontsize=7.5, color=MUTED,
        s=f"{select.measure_label(matrix.measure)}: best site of each network, 95% interval; grey: noise ceiling",
    )  # fmt: skip
    return figure
