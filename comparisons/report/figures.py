"""The pictures of a run: similarity by depth, and each block's write against the stream it leaves behind.

Drawn with matplotlib's object interface and no state of pyplot. The same drawing serves the files (PNG and SVG) and the
page (one SVG a panel, whose colours are the page's own so that they follow light and dark). Equal results give equal
bytes: ids are salted, and neither dates nor versions are written.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.store import write_atomically
from comparisons.report import panels as select
from comparisons.report.panels import Panel
from comparisons.results import Result, RunResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colour-blind safe palette without its yellow, too faint on white; vermilion is kept for SIMULATED.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: dict[str, tuple[float, ...]] = {"trained": (), "untrained": (4.5, 1.8), "control": (5.0, 1.4, 1.0, 1.4)}
INK, MUTED, FAINT, ALERT = "#1f2328", "#5b6168", "#d0d3d7", "#d55e00"

PAGE_COLOURS = {
    **{colour: f"var(--series-{index})" for index, colour in enumerate(COLOURS)},
    INK: "var(--ink)", MUTED: "var(--muted)", FAINT: "var(--rule)", ALERT: "var(--alert)", "#ffffff": "var(--paper)",
}  # fmt: skip
"""Colours of the drawing and the page's variables that take their place in it."""

FEW = 4  # networks, or reference lines, up to which a panel shows all that is known of each
WIDTH, HEIGHT = 3.9, 2.9  # inches of one panel
MARGIN = 0.95  # inches right of the axes, for labels that name bands and reference lines


@dataclass(frozen=True)
class Style:
    """How one model is drawn: told apart by colour, marker and dash, each sufficient alone for a few models."""

    model: str
    role: str
    colour: str
    marker: str
    dash: tuple[float, ...]


def styles(results: Sequence[Result]) -> list[Style]:
    """One style a network, in the order of the legend, the same in every panel of a run."""
    return [
        Style(model, role, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[role])
        for i, (model, role) in enumerate(select.models(results))
    ]


def prominent(drawn: Sequence[Style]) -> list[Style]:
    """The networks whose intervals and writes are drawn: all if they are few, else the trained ones.

    Five untrained seeds with their bands would hide what they are there to be compared with.
    """
    return [style for style in drawn if len(drawn) <= FEW or style.role == "trained"]


# ------------------------------------------------------------------------------------------------ drawing a panel

Draw = Callable[["Axes", Panel, Sequence[Style], tuple[float, float]], None]


def draw_by_depth(axes: Axes, panel: Panel, shown: Sequence[Style], limits: tuple[float, float]) -> None:
    """Similarity along the stream: lines at the stem and each resid_post, open markers at the writes."""
    labels: list[tuple[float, str, str]] = []
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(*limits)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
    if panel.ceiling is not None:
        low, high = panel.ceiling
        axes.axhspan(low, high, color=MUTED, alpha=0.18, linewidth=0, zorder=0.5)
        labels.append(((low + high) / 2, "noise ceiling", MUTED))
    for reference in select.references(panel.results)[:FEW]:
        axes.axhline(reference.estimate, color=MUTED, linewidth=0.9, dashes=(2, 2), zorder=1.5)
        labels.append((reference.estimate, _short(reference.model), INK))
    foremost = prominent(shown)
    for style in shown:
        line = select.along_stream(panel.results, style.model, style.role)
        depths = [float(r.depth or 0.0) for r in line]
        bounds = [_interval(r) for r in line]
        if style in foremost:
            axes.fill_between(
                depths, [b[0] for b in bounds], [b[1] for b in bounds],
                color=style.colour, alpha=0.15, linewidth=0, zorder=2,
            )  # fmt: skip
            if len(line) == 1 and math.isfinite(bounds[0][0]):  # a band over one depth has no area
                axes.vlines(depths, *bounds[0], color=style.colour, linewidth=1.0, zorder=2)
        axes.plot(
            depths, [r.estimate for r in line], color=style.colour, marker=style.marker, markersize=4.2,
            linewidth=1.5, dashes=style.dash or (None, None), markeredgewidth=0, zorder=3,
        )  # fmt: skip
        added = select.writes(panel.results, style.model, style.role) if style in foremost else []
        axes.plot(
            [float(r.depth or 0.0) for r in added], [r.estimate for r in added], linestyle="none", color=style.colour,
            marker=style.marker, markersize=3.6, markerfacecolor="none", markeredgewidth=0.8, zorder=3.5,
        )  # fmt: skip
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["stem", "0.25", "0.5", "0.75", "end"])
    axes.set_xlabel("Depth (share of blocks)")
    axes.set_ylabel(select.measure_label(panel.measure), parse_math=False)
    _label_right(axes, labels)


def draw_writes(axes: Axes, panel: Panel, shown: Sequence[Style], limits: tuple[float, float]) -> None:
    """Each block's write (vertical) against the stream it leaves behind (horizontal); larger markers lie deeper."""
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.plot(limits, limits, color=MUTED, linewidth=0.9, dashes=(2, 2), zorder=1)
    for style in prominent(shown):
        pairs = select.write_pairs(panel.results, style.model, style.role)
        x, y = [stream.estimate for stream, _ in pairs], [write.estimate for _, write in pairs]
        axes.plot(x, y, color=style.colour, linewidth=0.8, alpha=0.6, dashes=style.dash or (None, None), zorder=2)
        sizes = [12 + 34 * float(stream.depth or 0.0) for stream, _ in pairs]
        # Untrained networks and controls stay open, so that the two are told apart without colour too.
        face = style.colour if style.role == "trained" else "none"
        axes.scatter(
            x, y, s=sizes, marker=style.marker, facecolors=face, edgecolors=style.colour, linewidths=0.9, zorder=3
        )
    label = select.measure_label(panel.measure)
    axes.set_xlabel(f"Stream after the block ({label})", parse_math=False)
    axes.set_ylabel(f"What it wrote ({label})", parse_math=False)
    axes.locator_params(nbins=5)
    _label_right(axes, [(limits[1], "equal", MUTED)])


def _interval(result: Result) -> tuple[float, float]:
    """The interval, or two NaN, which leave a gap in the band."""
    return result.interval or (math.nan, math.nan)


def _short(label: str, length: int = 15) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"


def spread(heights: Sequence[float], gap: float, bottom: float, top: float) -> list[float]:
    """The heights moved apart to at least `gap`, in the same order and within the bounds, as little as possible.

    Least squares: what is left of the i-th height after taking i gaps away must not fall, an isotonic regression.
    Where the bounds have no room for all, the gap shrinks.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    if not heights:
        return []
    given = np.asarray(heights, dtype=float)
    order = np.argsort(given, kind="stable")
    steps = min(gap, (top - bottom) / max(len(given) - 1, 1)) * np.arange(len(given))
    placed = np.empty_like(given)
    placed[order] = np.clip(isotonic_regression(given[order] - steps).x, bottom, top - steps[-1]) + steps
    return [float(height) for height in placed]


def _label_right(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names to the right of the axes at their heights, moved apart where they would touch, each with a lead to it."""
    bottom, top = axes.get_ylim()
    gap = 0.062 * (top - bottom)
    heights = spread([height for height, _, _ in labels], gap, bottom, top)
    for height, (value, text, colour) in zip(heights, labels, strict=True):
        if abs(height - value) > 0.2 * gap:
            axes.plot(
                [1.005, 1.035], [value, height], color=colour, linewidth=0.5, clip_on=False,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        axes.annotate(
            text, (1.035, height), xycoords=("axes fraction", "data"), xytext=(2.5, 0), textcoords="offset points",
            va="center", ha="left", fontsize=7.5, color=colour, annotation_clip=False, parse_math=False,
        )  # fmt: skip


def _finish(axes: Axes, title: str, simulated: bool) -> None:
    """Title, frame and, where it belongs, the stamp."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=8, parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if simulated:
        axes.set_title("SIMULATED", loc="right", fontsize=8, fontweight="bold", color=ALERT, pad=8)
        axes.text(
            0.5, 0.5, "SIMULATED", transform=axes.transAxes, rotation=24, ha="center", va="center", fontsize=22,
            fontweight="bold", color=ALERT, alpha=0.13, zorder=0.6,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------- limits and frames


def depth_limits(shown: Sequence[Panel]) -> tuple[float, float]:
    """One vertical range for all panels of a figure, with zero, everything drawn and a little room."""
    heights = [0.0]
    for panel in shown:
        heights += panel.ceiling or ()
        heights += [reference.estimate for reference in select.references(panel.results)[:FEW]]
        for model, role in select.models(panel.results):
            heights += [r.estimate for r in select.writes(panel.results, model, role)]
            for r in select.along_stream(panel.results, model, role):
                heights += [r.estimate, *(r.interval or ())]
    return _padded(heights)


def write_limits(shown: Sequence[Panel], drawn: Sequence[Style]) -> tuple[float, float]:
    """One range for both axes of every panel of a write figure."""
    return _padded(
        [
            value.estimate
            for panel in shown
            for style in prominent(drawn)
            for pair in select.write_pairs(panel.results, style.model, style.role)
            for value in pair
        ]
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = 0.06 * (high - low) or 0.05
    return low - room, high + room


def has_writes(shown: Sequence[Panel], drawn: Sequence[Style]) -> bool:
    """Whether any block's write was compared together with its resid_post."""
    return any(
        select.write_pairs(panel.results, style.model, style.role) for panel in shown for style in prominent(drawn)
    )


@contextmanager
def _settings() -> Iterator[None]:
    """matplotlib's own defaults whatever the user's matplotlibrc says, so that equal results give equal bytes."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "ventral-bridge", "svg.fonttype": "none", "path.simplify": False, "font.size": 8.5,
                "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK, "axes.linewidth": 0.7,
                "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
                "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.major.size": 3, "ytick.major.size": 3,
            }
        )  # fmt: skip
        yield


def _bytes(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    none = {"Software": None} if form == "png" else {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format=form, dpi=200, metadata=none)
    return buffer.getvalue()


def _place(figure: Figure, column: int, rows_below: int) -> Axes:
    """Axes of one panel in a grid of panels of fixed size that stands at the figure's lower left."""
    width, height = figure.get_size_inches()
    left, bottom = 0.62 + column * WIDTH, 0.52 + rows_below * HEIGHT
    return figure.add_axes(
        (left / width, bottom / height, (WIDTH - 0.62 - MARGIN) / width, (HEIGHT - 0.52 - 0.38) / height)
    )


# --------------------------------------------------------------------------------------------------- for the page


def panel_svg(
    draw: Draw, panel: Panel, title: str, shown: Sequence[Style], limits: tuple[float, float], prefix: str
) -> str:
    """One panel as an `<svg>` element for the page: transparent, in the page's colours, its ids after `prefix`.

    Text in it is escaped by matplotlib's SVG writer. `draw` is `draw_by_depth` or `draw_writes`.
    """
    from matplotlib.figure import Figure

    with _settings():
        figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="none")
        axes = _place(figure, 0, 0)
        axes.set_facecolor("none")
        draw(axes, panel, shown, limits)
        _finish(axes, title, panel.simulated)
        svg = _bytes(figure, "svg").decode()
    return _for_page(svg, prefix)


def _for_page(svg: str, prefix: str) -> str:
    """An SVG file's element for use inside a page (the texts in it are left as they are)."""
    svg = svg[svg.index("<svg") :].strip()
    # Defined once in the page's style sheet; ids of groups have no use there and would clash between panels.
    svg = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"[^\"]*\"", "<g", svg)
    svg = re.sub(r"(<[^<>]*\bid=\")|(url\(#)|(href=\"#)", rf"\g<0>{prefix}-", svg)
    svg = re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1
    )
    for colour, variable in PAGE_COLOURS.items():
        svg = re.sub(rf"((?:fill|stroke): ){colour}\b", rf"\g<1>{variable}", svg)
    return re.sub(r"\n\s*", "\n", svg)


def swatch_svg(style: Style, prefix: str) -> str:
    """The legend's sample of a model's line and marker, as an `<svg>` element for the page."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with _settings():
        figure = Figure(figsize=(0.5, 0.17), facecolor="none")
        figure.add_artist(
            Line2D([0.04, 0.5, 0.96], [0.5] * 3, color=style.colour, marker=style.marker, markevery=[1], markersize=5,
                   linewidth=1.6, dashes=style.dash or (None, None), markeredgewidth=0)
        )  # fmt: skip
        svg = _bytes(figure, "svg").decode()
    return _for_page(svg, prefix)


# --------------------------------------------------------------------------------------------------------- files


def save_figures(results: RunResults, folder: Path) -> list[Path]:
    """Write every figure of a run as PNG and SVG into `folder`; the paths written, in order.

    For each comparison and measure: `rsa_spearman_by_depth`, and `rsa_spearman_writes` where writes were compared.
    Raises StorageError when the folder cannot be written.
    """
    drawn = styles(results.results)
    written: list[Path] = []
    for (comparison, measure), shown in select.panels(results.results).items():
        figures: list[tuple[str, Draw, tuple[float, float]]] = [("by_depth", draw_by_depth, depth_limits(shown))]
        if has_writes(shown, drawn):
            figures.append(("writes", draw_writes, write_limits(shown, drawn)))
        for name, draw, limits in figures:
            stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{comparison}_{measure}_{name}").lstrip("-.")
            for form, data in _file_bytes(draw, shown, drawn, limits).items():
                path = folder / f"{stem}.{form}"
                write_atomically(path, data)
                written.append(path)
    return written


def _file_bytes(draw: Draw, shown: Sequence[Panel], drawn: Sequence[Style], limits: Any) -> dict[str, bytes]:
    """A figure with all panels and a legend, as the bytes of its files by form."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = len(shown) if len(shown) <= 3 else 2 if len(shown) == 4 else 3
    rows = math.ceil(len(shown) / columns)
    labels = [f"{style.model} ({style.role})" for style in drawn]
    marked = draw is draw_by_depth and has_writes(shown, drawn)
    if marked:
        labels.append("open: what a block wrote")
    # Room for one entry, in inches: its sample and its longest label (about 0.062 a letter of 8 points).
    per_row = max(1, int((columns * WIDTH - 0.4) / (0.75 + 0.062 * max(map(len, labels), default=0))))
    head = 0.2 + 0.18 * math.ceil(len(labels) / per_row)
    with _settings():
        figure = Figure(figsize=(columns * WIDTH, rows * HEIGHT + head), facecolor="#ffffff")
        for index, (panel, title) in enumerate(zip(shown, select.panel_titles(shown), strict=True)):
            axes = _place(figure, index % columns, rows - 1 - index // columns)
            draw(axes, panel, drawn, limits)
            _finish(axes, title, panel.simulated)
        handles = [
            Line2D(
                [], [], color=s.colour, marker=s.marker, markersize=4.5, dashes=s.dash or (None, None), linewidth=1.5
            )
            for s in drawn
        ]
        if marked:
            handles.append(
                Line2D([], [], color=MUTED, marker="o", markersize=4, linestyle="none", markerfacecolor="none")
            )
        # A legend leaves out labels that begin with an underscore; a zero-width space keeps such a model in.
        labels = [f"\u200b{label}" if label.startswith("_") else label for label in labels]
        legend = figure.legend(
            handles, labels, loc="upper left", ncols=min(per_row, max(len(labels), 1)), frameon=False,
            bbox_to_anchor=(0.4 / (columns * WIDTH), 1.0), handlelength=3.2, fontsize=8,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
        return {form: _bytes(figure, form) for form in ("png", "svg")}
