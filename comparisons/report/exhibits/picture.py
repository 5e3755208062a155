"""What an exhibit is, and how all of them look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comparisons.report import values as reading
from comparisons.report.drawing import ALERT, COLOURS, FAINT, INK, MUTED, short
from comparisons.report.output import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLE_COLOURS = {"trained": COLOURS[0], "control": COLOURS[1], "untrained": COLOURS[2]}
ROLE_MARKERS = {"trained": "o", "control": "s", "untrained": "^"}
ACROSS = 4
"""Panels that stand in one row at most."""


@dataclass(frozen=True)
class Picture:
    """A figure with its words."""

    name: str
    """Its files' name, without suffix."""
    group: str
    """The heading under which it stands."""
    caption: str
    words: str
    """What is to be seen, for those who do not see it."""
    figure: Figure
    simulated: bool = False
    part: str = ""


def grid(rows: int, columns: int, *, width: float = 2.9, height: float = 2.4) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `rows` x `columns` panels (inches each), and the panels row by row."""
    figure = canvas(width * columns, height * rows)
    figure.set_layout_engine("constrained")
    found = figure.subplots(rows, columns, squeeze=False)
    for axes in found.flat:
        axes.set_facecolor("none")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, found.tolist()


def panels(count: int, *, width: float = 2.9, height: float = 2.4, rows: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `count` columns of `rows` panels each, broken where a line is full, and the panels of each column."""
    across, lines = min(count, ACROSS), math.ceil(count / ACROSS)
    figure, found = grid(lines * rows, across, width=width, height=height)
    columns = [
        [found[line * rows + row][column] for row in range(rows)] for line in range(lines) for column in range(across)
    ]
    for axes in (axes for own in columns[count:] for axes in own):
        axes.set_visible(False)
    return figure, columns[:count]


def title(axes: Axes, text: str, below: str = "", *, simulated: bool = False) -> None:
    """The name of what a panel is of, a line `below` it, and SIMULATED beside it where it is."""
    size = 9.5 if len(text) < 22 else 8
    axes.set_title(
        short(text, 22 if simulated else 34),
        loc="left",
        fontsize=size,
        fontweight="bold",
        pad=14 if below else 7,
        parse_math=False,
    )
    if below:
        axes.annotate(
            below, (0, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points", fontsize=6.8,
            color=MUTED, va="bottom", parse_math=False,
        )  # fmt: skip
    if simulated:
        axes.annotate(
            "SIMULATED", (1, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points", ha="right",
            va="bottom", fontsize=6, fontweight="bold", color=ALERT, annotation_clip=False,
        )  # fmt: skip


def named(model: Mapping[str, Any]) -> str:
    """A model's name with its role, unless the name says it."""
    name, role = str(model["name"]), str(model["role"])
    return name if role in name or role == "control" else f"{name} ({role})"


def zero(axes: Axes) -> None:
    """The line of no effect."""
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)


def bound(axes: Axes, value: float) -> None:
    """A bound of the rule that gives the verdict."""
    axes.axhline(value, color=ALERT, linewidth=0.9, dashes=(4, 3), zorder=1.2)


def expected(axes: Axes, value: float, text: str) -> None:
    """Where one side of the prediction lies, named to the right of the axes."""
    axes.axhline(value, color=MUTED, linewidth=0.9, dashes=(1, 2), zorder=1.1)
    axes.annotate(
        text, (1, value), xycoords=("axes fraction", "data"), xytext=(2, 0), textcoords="offset points", ha="left",
        va="center", fontsize=6.5, color=MUTED, annotation_clip=False, linespacing=0.95,
    )  # fmt: skip


def instead(axes: Axes, text: str) -> None:
    """Says in a panel why nothing is drawn in it."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7.5, color=MUTED, wrap=True,
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def bars(
    axes: Axes, at: Sequence[float], values: Sequence[Sequence[float | None] | None], said: Sequence[str], **look: Any
) -> None:
    """Estimates [value, lower, upper] with their intervals; what is None has no mark, a missing limit no bar. `said` is
    what each tells where it is pointed at; the axes' limits must be set before."""
    for x, value, text in zip(at, values, said, strict=True):
        if value is not None and value[0] is not None:
            reading.point(axes, x, float(value[0]), text)
    shown = [(x, v) for x, v in zip(at, values, strict=True) if v is not None and v[0] is not None]
    if not shown:
        return
    middle = [float(v[0] or 0.0) for _, v in shown]
    ends = [[_end(v, 1), _end(v, 2)] for _, v in shown]
    lengths = [[abs(m - e[side]) for m, e in zip(middle, ends, strict=True)] for side in (0, 1)]
    axes.errorbar(
        [x for x, _ in shown], middle, lengths,
        **{"fmt": "o", "color": COLOURS[0], "ms": 4, "lw": 1.3, "capsize": 2.5, "zorder": 3, **look},
    )  # fmt: skip


def _end(value: Sequence[float | None], place: int) -> float:
    end = value[place] if len(value) > place else None
    return math.nan if end is None else end


def legend(figure: Figure, samples: Sequence[tuple[str, Any]]) -> None:
    """A legend over the whole figure, in one line where it fits."""
    if not samples:
        return
    width = figure.get_size_inches()[0]
    longest = max(len(label) for label, _ in samples)
    across = max(1, min(len(samples), int(width / (0.6 + 0.058 * longest))))
    drawn = figure.legend(
        [artist for _, artist in samples], [f"\u200b{label}" for label, _ in samples], loc="outside upper left",
        ncols=across, frameon=False, fontsize=7.5, handlelength=2.6, labelcolor=INK,
    )  # fmt: skip
    for text in drawn.get_texts():
        text.set_parse_math(False)


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
