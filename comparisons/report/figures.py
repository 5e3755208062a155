"""The pictures of a run as files (PNG and SVG) and as drawings for the page.

The same drawing serves both: the page has one SVG a panel, whose colours are the page's own so that they follow light
and dark. Equal results give equal bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.store import write_atomically
from comparisons.report import drawing
from comparisons.report import panels as select
from comparisons.report.drawing import ALERT, MUTED, Draw, Style
from comparisons.report.output import as_bytes, for_page, settings
from comparisons.report.panels import Panel, Row
from comparisons.report.verdict_table import draw_verdicts
from comparisons.results import RunResults

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_LABEL = 0.24  # inches above a row of panels, for the name of its recordings


@dataclass(frozen=True)
class Frame:
    """Size of a panel and the margins around its axes, in inches."""

    width: float
    height: float
    left: float
    right: float
    bottom: float = 0.52
    top: float = 0.38

    @property
    def labelled(self) -> bool:
        """Whether there is room to the right for the names of bands and lines."""
        return self.right > 0.5


WIDE = Frame(3.9, 2.9, 0.62, 0.95)
CELL = Frame(2.6, 2.3, 0.53, 0.12)
LABELLED_CELL = Frame(3.4, 2.3, 0.53, 0.95)


@dataclass(frozen=True)
class Plate:
    """One figure: its panels in rows, how each is drawn, and the range they share."""

    name: str
    draw: Draw
    rows: list[Row]
    drawn: list[Style]
    limits: tuple[float, float]

    @property
    def grid(self) -> bool:
        """Whether a row stands for recordings and a column for a region."""
        return len(self.rows) > 1

    @property
    def panels(self) -> list[Panel]:
        """All panels, row by row."""
        return [panel for row in self.rows for panel in row.panels]

    @property
    def references(self) -> list[str]:
        """Names of the reference representations that are drawn in any of the panels."""
        if self.draw is not drawing.draw_by_depth:
            return []
        drawn = [r.model for p in self.panels for r in select.references(p.results)[: drawing.FEW]]
        return list(dict.fromkeys(drawn))

    @property
    def frame(self) -> Frame:
        """The frame of every panel: in a grid, lines get names only where there is more than one to tell apart."""
        if not self.grid:
            return WIDE
        return LABELLED_CELL if len(self.references) > 1 else CELL

    def frame_of(self, title: str) -> Frame:
        """The frame of a panel; without a title it needs no room for one."""
        known = self.frame
        return known if title else replace(known, top=0.1, height=known.height - known.top + 0.1)


def plates(shown: Sequence[Panel], drawn: Sequence[Style]) -> list[Plate]:
    """The figures of one comparison and measure: similarity by depth, and the writes where writes were compared."""
    rows, styles = select.arrange(shown), drawing.shown_in(shown, drawn)
    found = [Plate("by_depth", drawing.draw_by_depth, rows, styles, drawing.depth_limits(shown))]
    if drawing.has_writes(shown, styles):
        wrote = [
            s for s in drawing.prominent(styles) if any(select.write_pairs(p.results, s.model, s.role) for p in shown)
        ]
        found.append(Plate("writes", drawing.draw_writes, rows, wrote, drawing.write_limits(shown, styles)))
    return found


# ------------------------------------------------------------------------------------------------ panels in frames


def _panel(
    figure: Figure, plate: Plate, panel: Panel, title: str, corner: tuple[float, float], *, first: bool, marked: bool
) -> None:
    """Draw one panel of the plate with its lower left corner at `corner` (inches).

    Only the `first` of a row of a grid names the axis that the row shares. `marked` adds a faint SIMULATED across the
    axes to the stamp beside the title, for files, which can be shown without the words around them.
    """
    frame = plate.frame_of(title)
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        (
            (corner[0] + frame.left) / width,
            (corner[1] + frame.bottom) / height,
            (frame.width - frame.left - frame.right) / width,
            (frame.height - frame.bottom - frame.top) / height,
        )
    )
    axes.set_facecolor("none")
    labels = plate.draw(axes, panel, plate.drawn, plate.limits)
    if frame.labelled:
        drawing.label_right(axes, labels)
    if plate.grid and not first:
        axes.set_ylabel("")
    if plate.grid:  # an axis label of more letters would run into the neighbour's
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_fontsize(8.5 * min(1.0, 36 / max(len(axis.label.get_text()), 1)))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Beside the title of a narrow panel may stand the stamp.
    title = drawing.short(title, 12 if frame is CELL and panel.simulated else 34)
    size = 10 if len(title) < (17 if frame is CELL else 22) else 8.5 if len(title) < 25 or frame is not CELL else 7
    axes.set_title(title, loc="left", fontsize=size, fontweight="bold", pad=8, parse_math=False)
    if panel.simulated:
        _stamp(axes, frame, marked)


def _stamp(axes: Axes, frame: Frame, marked: bool) -> None:
    """SIMULATED beside the title, in the right margin where there is one; across the axes too if `marked`."""
    place, align = ((1.035, 1.0), "left") if frame.labelled else ((1.0, 1.0), "right")
    axes.annotate(
        "SIMULATED", place, xycoords="axes fraction", xytext=(2.5 if frame.labelled else 0, 8),
        textcoords="offset points", ha=align, va="baseline", fontsize=6.5, fontweight="bold", color=ALERT,
        annotation_clip=False,
    )  # fmt: skip
    if marked:
        axes.text(
            0.5, 0.5, "SIMULATED", transform=axes.transAxes, rotation=24, ha="center", va="center",
            fontsize=22 if frame is WIDE else 17, fontweight="bold", color=ALERT, alpha=0.08, zorder=0.6,
        )  # fmt: skip


# --------------------------------------------------------------------------------------------------- for the page


def panel_svg(plate: Plate, panel: Panel, title: str, prefix: str, *, first: bool = True) -> str:
    """One panel as an `<svg>` element for the page: transparent, in the page's colours, its ids after `prefix`.

    Text in it is escaped by matplotlib's SVG writer. `first`: whether it opens its row.
    """
    from matplotlib.figure import Figure

    with settings():
        frame = plate.frame_of(title)
        figure = Figure(figsize=(frame.width, frame.height), facecolor="none")
        _panel(figure, plate, panel, title, (0.0, 0.0), first=first, marked=False)
        svg = as_bytes(figure, "svg", whole=True).decode()
    return for_page(svg, prefix)


def swatch_svg(style: Style, prefix: str) -> str:
    """The legend's sample of a model's line and marker, as an `<svg>` element for the page."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with settings():
        figure = Figure(figsize=(0.5, 0.17), facecolor="none")
        figure.add_artist(
            Line2D([0.04, 0.5, 0.96], [0.5] * 3, color=style.colour, marker=style.marker, markevery=[1], markersize=5,
                   linewidth=1.6, dashes=style.dash or (None, None), markeredgewidth=0)
        )  # fmt: skip
        svg = as_bytes(figure, "svg").decode()
    return for_page(svg, prefix)


# --------------------------------------------------------------------------------------------------------- files


def save_figures(results: RunResults, folder: Path) -> list[Path]:
    """Write every figure of a run as PNG and SVG into `folder`; the paths written, in order.

    For each comparison and measure: `rsa_spearman_by_depth`, and `rsa_spearman_writes` where writes were compared; and
    `verdicts`, where there are any.
    Raises StorageError when the folder cannot be written.
    """
    drawn = drawing.styles(results.results)
    written: list[Path] = []
    for (comparison, measure), shown in select.panels(results.results).items():
        for plate in plates(shown, drawn):
            stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{comparison}_{measure}_{plate.name}").lstrip("-.")
            for form, data in _file_bytes(plate).items():
                path = folder / f"{stem}.{form}"
                write_atomically(path, data)
                written.append(path)
    return [*written, *_save_verdicts(results, folder)]


def _save_verdicts(results: RunResults, folder: Path) -> list[Path]:
    """The table of verdicts, which the page has as text."""
    with settings():
        drawn = draw_verdicts(results)
        if drawn is None:
            return []
        paths = [folder / f"verdicts.{form}" for form in ("png", "svg")]
        for path in paths:
            write_atomically(path, as_bytes(drawn, path.suffix[1:]))
    return paths


def _file_rows(plate: Plate) -> list[Row]:
    """The rows of a file: those of the grid, or all panels broken into rows of two or three."""
    if plate.grid:
        return plate.rows
    cells = plate.rows[0].cells
    columns = len(cells) if len(cells) <= 3 else 2 if len(cells) == 4 else 3
    return [Row("", cells[start : start + columns]) for start in range(0, len(cells), columns)]


def _file_bytes(plate: Plate) -> dict[str, bytes]:
    """A figure with all panels and a legend, as the bytes of its files by form."""
    from matplotlib.figure import Figure

    rows, frame = _file_rows(plate), plate.frame
    width = len(rows[0].cells) * frame.width
    step = frame.height + (ROW_LABEL if plate.grid else 0.0)
    with settings():
        entries = _key(plate)
        # Room for one entry, in inches: its sample and its longest label (about 0.062 a letter of 8 points).
        longest = max((len(label) for label, _ in entries), default=0)
        per_row = min(max(1, int((width - 0.4) / (0.75 + 0.062 * longest))), max(len(entries), 1))
        head = 0.2 + 0.18 * math.ceil(len(entries) / per_row)
        height = len(rows) * step + head
        figure = Figure(figsize=(width, height), facecolor="#ffffff")
        for index, row in enumerate(rows):
            bottom = (len(rows) - 1 - index) * step
            if row.label:
                figure.text(
                    0.1 / width, (bottom + frame.height + 0.04) / height, row.label, fontsize=10.5, fontweight="bold",
                    parse_math=False,
                )  # fmt: skip
            for column, cell in enumerate(row.cells):
                if cell:
                    first = not any(row.cells[:column])
                    _panel(figure, plate, *cell, (column * frame.width, bottom), first=first, marked=True)
        # A legend leaves out labels that begin with an underscore; a zero-width space keeps such a model in.
        legend = figure.legend(
            [artist for _, artist in entries],
            [f"\u200b{label}" if label.startswith("_") else label for label, _ in entries],
            loc="upper left", ncols=per_row, frameon=False, bbox_to_anchor=((0.1 if plate.grid else 0.4) / width, 1.0),
            handlelength=3.2, fontsize=8,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
        return {form: as_bytes(figure, form) for form in ("png", "svg")}


def _key(plate: Plate) -> list[tuple[str, Artist]]:
    """(label, sample) of a file's legend: the networks, and what has no name beside its panel."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines: list[tuple[str, dict[str, Any]]] = [
        (f"{s.model} ({s.role})", {"color": s.colour, "marker": s.marker, "markersize": 4.5, "linewidth": 1.5,
                                   "dashes": s.dash or (None, None)})
        for s in plate.drawn
    ]  # fmt: skip
    by_depth = plate.draw is drawing.draw_by_depth
    if by_depth and drawing.has_writes(plate.panels, plate.drawn):
        lines.append(
            ("open: what a block wrote",
             {"color": MUTED, "marker": "o", "markersize": 4, "linestyle": "none", "markerfacecolor": "none"})
        )  # fmt: skip
    unnamed = [] if plate.frame.labelled else plate.references if by_depth else ["equal"]
    lines += [(name, {"color": MUTED, "linewidth": 0.9, "dashes": (2, 2)}) for name in unnamed]
    entries: list[tuple[str, Artist]] = [(label, Line2D([], [], **how)) for label, how in lines]
    if by_depth and not plate.frame.labelled and any(panel.ceiling for panel in plate.panels):
        entries.append(("noise ceiling", Patch(color=MUTED, alpha=0.18, linewidth=0)))
    return entries
