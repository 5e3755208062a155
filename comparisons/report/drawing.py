"""One panel of a picture: similarity by depth, or each block's write against the stream it leaves behind.

Drawn with matplotlib's object interface and no state of pyplot; where panels stand and what becomes of them is for
`figures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comparisons.report import panels as select
from comparisons.report import values
from comparisons.report.panels import Panel
from comparisons.report.wording import number, span
from comparisons.results import Result

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Near Okabe & Ito's palette, moved so that each has a contrast of 3:1 to the paper (WCAG 1.4.11) and any two stay apart
# for colour-blind eyes; vermilion is kept for SIMULATED. The page has another six for dark paper.
COLOURS = ("#274bd8", "#b66e04", "#0d7944", "#9a5599", "#3597f1", "#55293f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: dict[str, tuple[float, ...]] = {"trained": (), "untrained": (4.5, 1.8), "control": (5.0, 1.4, 1.0, 1.4)}
INK, MUTED, FAINT, ALERT = "#1f2328", "#5b6168", "#d0d3d7", "#d55e00"

PAGE_COLOURS = {
    **{colour: f"var(--series-{index})" for index, colour in enumerate(COLOURS)},
    INK: "var(--ink)", MUTED: "var(--muted)", FAINT: "var(--rule)", ALERT: "var(--alert)", "#ffffff": "var(--paper)",
}  # fmt: skip
"""Colours of the drawing and the page's variables that take their place in it."""

LOWEST_R2 = -1.0
"""R2 below it is drawn outside the frame."""
FEW = 4  # networks, or reference lines, up to which a panel shows all that is known of each


@dataclass(frozen=True)
class Style:
    """How one model is drawn: told apart by colour, marker and dash, each sufficient alone for a few models."""

    model: str
    role: str
    colour: str
    marker: str
    dash: tuple[float, ...]

    @property
    def name(self) -> str:
        """The network with its role: the name of its series."""
        return f"{self.model} ({self.role})"


def styles(results: Sequence[Result]) -> list[Style]:
    """One style a network, in the order of the legend, the same in every panel of a run.

    Colours go first to the networks that are compared with recordings: those of the other panels are seldom together.
    """
    everyone = select.models(results)
    beside = set(select.models(r for r in results if r.comparison not in select.BY_THEMSELVES))
    place = {one: i for i, one in enumerate(sorted(everyone, key=lambda one: one not in beside))}
    return [
        Style(*one, COLOURS[place[one] % len(COLOURS)], MARKERS[place[one] % len(MARKERS)], DASHES[one[1]])
        for one in everyone
    ]


def shown_in(panels: Sequence[Panel], drawn: Sequence[Style]) -> list[Style]:
    """The styles of the networks that any of the panels has results of: a legend names no others."""
    present = set(select.models(result for panel in panels for result in panel.results))
    return [style for style in drawn if (style.model, style.role) in present]


def prominent(drawn: Sequence[Style]) -> list[Style]:
    """The networks whose intervals and writes are drawn: all if they are few, else the trained ones.

    Five untrained seeds with their bands would hide what they are there to be compared with.
    """
    return [style for style in drawn if len(drawn) <= FEW or style.role == "trained"]


# ------------------------------------------------------------------------------------------------ drawing a panel

Label = tuple[float, str, str]
"""What names a line or a band to the right of the axes: its height, the text and its colour."""

Draw = Callable[["Axes", Panel, Sequence[Style], tuple[float, float]], list[Label]]


def draw_by_depth(axes: Axes, panel: Panel, shown: Sequence[Style], limits: tuple[float, float]) -> list[Label]:
    """Similarity along the stream: lines at the stem and each resid_post, open markers at the writes."""
    labels: list[Label] = []
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(*limits)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
    if panel.ceiling is not None:
        low, high = panel.ceiling
        axes.axhspan(low, high, color=MUTED, alpha=0.18, linewidth=0, zorder=0.5)
        if high - low < 0.01 * (limits[1] - limits[0]):  # a ceiling that is one number
            axes.axhline((low + high) / 2, color=MUTED, alpha=0.6, linewidth=1.2, zorder=0.5)
        labels.append(((low + high) / 2, "noise ceiling", MUTED))
        values.box(axes, (0, 1), panel.ceiling, f"noise ceiling {span(panel.ceiling)}")
    room = 0.012 * (limits[1] - limits[0])
    for reference in select.references(panel.results)[:FEW]:
        at = (reference.estimate - room, reference.estimate + room)
        values.box(axes, (0, 1), at, _told("reference", reference))
        axes.axhline(reference.estimate, color=MUTED, linewidth=0.9, dashes=(2, 2), zorder=1.5)
        below = reference.estimate < limits[0]
        labels.append((max(reference.estimate, limits[0]), f"{'↓ ' * below}{short(reference.model)}", INK))
    foremost = prominent(shown)
    for style in shown:
        line = select.along_stream(panel.results, style.model, style.role)
        depths = [float(r.depth or 0.0) for r in line]
        bounds = [_interval(r) for r in line]
        drawn: list[Artist] = []
        if style in foremost:
            drawn.append(axes.fill_between(
                depths, [b[0] for b in bounds], [b[1] for b in bounds],
                color=style.colour, alpha=0.15, linewidth=0, zorder=2,
            ))  # fmt: skip
            if len(line) == 1 and math.isfinite(bounds[0][0]):  # a band over one depth has no area
                drawn.append(axes.vlines(depths, *bounds[0], color=style.colour, linewidth=1.0, zorder=2))
        drawn += axes.plot(
            depths, [r.estimate for r in line], color=style.colour, marker=style.marker, markersize=4.2,
            linewidth=1.5, dashes=style.dash or (None, None), markeredgewidth=0, zorder=3,
        )  # fmt: skip
        added = select.writes(panel.results, style.model, style.role) if style in foremost else []
        drawn += axes.plot(
            [float(r.depth or 0.0) for r in added], [r.estimate for r in added], linestyle="none", color=style.colour,
            marker=style.marker, markersize=3.6, markerfacecolor="none", markeredgewidth=0.8, zorder=3.5,
        )  # fmt: skip
        values.series(style.name, *drawn)
        for result in (*line, *added):
            values.point(axes, float(result.depth or 0.0), result.estimate, _told(style.name, result), style.name)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["stem", "0.25", "0.5", "0.75", "end"])
    axes.set_xlabel("Depth (share of blocks)")
    axes.set_ylabel(select.measure_label(panel.measure), parse_math=False)
    return labels


def draw_writes(axes: Axes, panel: Panel, shown: Sequence[Style], limits: tuple[float, float]) -> list[Label]:
    """Each block's write (vertical) against the stream it leaves behind (horizontal); larger markers lie deeper."""
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.plot(limits, limits, color=MUTED, linewidth=0.9, dashes=(2, 2), zorder=1)
    for style in prominent(shown):
        pairs = select.write_pairs(panel.results, style.model, style.role)
        x, y = [stream.estimate for stream, _ in pairs], [write.estimate for _, write in pairs]
        drawn: list[Artist] = [
            *axes.plot(x, y, color=style.colour, linewidth=0.8, alpha=0.6, dashes=style.dash or (None, None), zorder=2)
        ]
        sizes = [12 + 34 * float(stream.depth or 0.0) for stream, _ in pairs]
        # Untrained networks and controls stay open, so that the two are told apart without colour too.
        face = style.colour if style.role == "trained" else "none"
        drawn.append(axes.scatter(
            x, y, s=sizes, marker=style.marker, facecolors=face, edgecolors=style.colour, linewidths=0.9, zorder=3
        ))  # fmt: skip
        values.series(style.name, *drawn)
        for stream, write in pairs:
            beside = f"{_told(style.name, write)}; the stream after it {number(stream.estimate)}"
            values.point(axes, stream.estimate, write.estimate, beside, style.name)
    label = select.measure_label(panel.measure)
    axes.set_xlabel(f"Stream after the block ({label})", parse_math=False)
    axes.set_ylabel(f"What it wrote ({label})", parse_math=False)
    axes.locator_params(nbins=5)
    return [(limits[1], "equal", MUTED)]


def _told(name: str, result: Result) -> str:
    """A result in words, where it is pointed at."""
    site = f", {result.site}" if result.site else f" {result.model}"
    depth = "" if result.depth is None else f", depth {number(result.depth, 2)}"
    return values.told(f"{name}{site}{depth}", [result.estimate, *(result.interval or ())])


def _interval(result: Result) -> tuple[float, float]:
    """The interval, or two NaN, which leave a gap in the band."""
    return result.interval or (math.nan, math.nan)


def short(label: str, length: int = 13) -> str:
    """The label, cut to `length` letters."""
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


def label_right(axes: Axes, labels: Sequence[Label]) -> None:
    """Names to the right of the axes at their heights, moved apart where they would touch, each with a lead to it."""
    bottom, top = axes.get_ylim()
    inches = axes.bbox.height / axes.figure.dpi
    gap = 0.124 / inches * (top - bottom)  # a line of 7.5 points, in inches
    heights = spread([height for height, _, _ in labels], gap, bottom, top)
    for at, (value, text, colour) in zip(heights, labels, strict=True):
        if abs(at - value) > 0.2 * gap:
            axes.plot(
                [1.005, 1.035], [value, at], color=colour, linewidth=0.5, clip_on=False,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        axes.annotate(
            text, (1.035, at), xycoords=("axes fraction", "data"), xytext=(2.5, 0), textcoords="offset points",
            va="center", ha="left", fontsize=7.5, color=colour, annotation_clip=False, parse_math=False,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------- limits


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
    # An R2 can fall without bound where a reader fails elsewhere; how far says nothing, and would flatten all else.
    if shown and select.falls_without_bound(shown[0].measure):
        heights = [max(height, LOWEST_R2) for height in heights]
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
