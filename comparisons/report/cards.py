"""Feature cards: one picture, and one page that opens offline, of what a single feature encodes.

Top stimuli with heat maps of the feature over positions, tuning curves with their fits, the fitted receptive field,
and the feature's history over depth: how well its best match at every site agrees with it.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.store import write_atomically
from comparisons.report import values
from comparisons.report.drawing import COLOURS, FAINT, INK, MUTED, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from comparisons.lineage import History

Array = NDArray[np.float64]
TOP = 6


@dataclass(frozen=True)
class Card:
    """Everything on a card; what is not known is None.

    `stimuli` are uint8 [k, height, width, 3], none where the feature is never active, with `heat` [k, rows, columns] of
    the feature over the grid (None without one) and `values`, its largest responses. Curves are (levels, responses,
    fitted levels, fitted responses). `field` and `fitted` are maps [s, s]; `history` says at which sites of the stream
    the feature has a match.
    """

    title: str
    subtitle: str
    stimuli: NDArray[np.uint8]
    heat: Array | None
    values: Array
    orientation: tuple[Array, Array, Array, Array] | None
    frequency: tuple[Array, Array, Array, Array] | None
    phase: tuple[Array, Array] | None
    contrast: tuple[Array, Array, Array, Array] | None
    field: Array | None
    fitted: Array | None
    history: History | None
    facts: Sequence[tuple[str, str]]


def draw_card(card: Card, folder: Path, stem: str) -> list[Path]:
    """Write a card as STEM.png and STEM.html into `folder`; the paths. Raises StorageError where it cannot."""
    png = card_pictures(card)["png"]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")
    paths = [folder / f"{name}.png", folder / f"{name}.html"]
    write_atomically(paths[0], png)
    write_atomically(paths[1], _page(card, png))
    return paths


# --------------------------------------------------------------------------------------------------- the picture

WIDTH, HEIGHT = 6.4, 7.1
"""Inches. Two cards stand side by side on a wide page with letters that can be read."""
MARGIN, DPI = 0.12, 150


def card_pictures(card: Card) -> dict[str, bytes]:
    """The picture as `png` and `svg`; equal cards give equal bytes."""
    from matplotlib.figure import Figure

    from comparisons.report.output import as_bytes, settings

    with settings():
        figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="#ffffff")
        _write(figure, MARGIN, 0.12, short(card.title, 74), fontsize=10.5, fontweight="bold", va="top")
        _write(figure, MARGIN, 0.34, card.subtitle, fontsize=8.5, color=MUTED, va="top")
        _draw_stimuli(figure, card)
        _draw_curves(figure, card)
        _draw_field(figure, card)
        _draw_history(figure, card)
        _draw_facts(figure, card)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return {"png": buffer.getvalue(), "svg": as_bytes(figure, "svg")}


def _write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Text at a place in inches from the upper left corner."""
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, **{"color": INK, "parse_math": False, **look})


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes whose upper left corner is at a place in inches from that of the figure."""
    axes = figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.set_facecolor("none")
    return axes


def _heading(figure: Figure, x: float, y: float, text: str) -> None:
    _write(figure, x, y, text, fontsize=8.5, fontweight="bold", va="top")


def _draw_stimuli(figure: Figure, card: Card) -> None:
    """Row of the strongest stimuli; below each, the same under the feature's heat map."""
    _heading(figure, MARGIN, 0.64, "Strongest stimuli, and where in them the feature responds")
    gap = 0.07
    side = (WIDTH - 2 * MARGIN - gap * (TOP - 1)) / TOP
    images = card.stimuli[:TOP]
    if not len(images):
        _write(figure, MARGIN, 1.0, "It is active at none of the drawn images.", fontsize=8.5, color=MUTED, va="top")
        return
    # One pair of axes for all: axes are most of what a card costs.
    for row, y in enumerate((0.98, 0.98 + side + gap) if card.heat is not None else (0.98,)):
        axes = _axes(figure, MARGIN, y, WIDTH - 2 * MARGIN, side)
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH - 2 * MARGIN)
        axes.set_ylim(side, 0)
        for number, image in enumerate(images):
            left = number * (side + gap)
            extent = (left, left + side, side, 0)
            look: dict[str, Any] = {"extent": extent, "interpolation": "nearest", "aspect": "auto"}
            said = f"{ordinal(number + 1)}: response {card.values[number]:.2f}"
            if row == 0:
                axes.imshow(image, **look)
                axes.annotate(
                    f"{card.values[number]:.2f}", (left + side / 2, 0), xytext=(0, 2), textcoords="offset points",
                    ha="center", fontsize=7.5, color=MUTED, annotation_clip=False,
                )  # fmt: skip
            elif card.heat is not None:
                axes.imshow(image.mean(axis=2) / 255, cmap="gray", vmin=0, vmax=1, alpha=0.55, **look)
                low, high = min(float(card.heat.min()), 0.0), float(card.heat.max())
                top = high if high > low else low + 1
                axes.imshow(card.heat[number], cmap="magma", vmin=low, vmax=top, alpha=0.65, **look)
                at = np.unravel_index(int(np.argmax(card.heat[number])), card.heat[number].shape)
                said += f", most at row {at[0] + 1}, column {at[1] + 1} of the grid"
            values.box(axes, (left, left + side), (0, side), said)
        axes.set_xlim(0, WIDTH - 2 * MARGIN)
        axes.set_ylim(side, 0)


def ordinal(number: int) -> str:
    """The rank of a stimulus in words."""
    return {1: "strongest", 2: "second", 3: "third"}.get(number, f"{number}th")


def _draw_curves(figure: Figure, card: Card) -> None:
    panels: list[tuple[str, Any, bool]] = [
        ("Orientation (deg)", card.orientation, False),
        ("Cycles an image", card.frequency, True),
        ("Phase (deg)", None if card.phase is None else (*card.phase, None, None), False),
        ("Contrast", card.contrast, True),
    ]
    _heading(figure, MARGIN, 3.27, "Tuning to gratings (response above a blank; line: fit)")
    for number, (label, curve, logarithmic) in enumerate(panels):
        axes = _axes(figure, 0.42 + 1.535 * number, 3.53, 1.2, 0.85)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_xlabel(label, fontsize=7.5, labelpad=2)
        axes.tick_params(labelsize=7)
        axes.axhline(0, color=FAINT, linewidth=0.7, zorder=0)
        if curve is None:
            axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=MUTED, transform=axes.transAxes)
            axes.set_yticks([])
            continue
        levels, responses, fine, fitted = curve
        if fine is not None:
            axes.plot(fine, fitted, color=COLOURS[0], linewidth=1.4, zorder=1)
        axes.plot(levels, responses, "o", color=INK, markersize=3, zorder=2)
        if logarithmic:
            axes.set_xscale("log")
            shown = levels if len(levels) <= 4 else levels[::-1][::2][::-1]
            axes.set_xticks(shown, [f"{level:.2g}" for level in shown])
            axes.minorticks_off()
        elif label.startswith("Orient"):
            axes.set_xticks([0, 90, 180])
        else:
            axes.set_xticks([0, 180, 360])
        axes.locator_params(axis="y", nbins=4)
        for level, response in zip(levels, responses, strict=True):
            values.point(axes, float(level), float(response), f"{label.lower()} {level:.3g}: {response:.3g}")


def _draw_field(figure: Figure, card: Card) -> None:
    _heading(figure, MARGIN, 4.88, "Receptive field")
    for number, (name, image) in enumerate((("from noise", card.field), ("Gabor fit", card.fitted))):
        axes = _axes(figure, MARGIN + 1.1 * number, 5.24, 1.0, 1.0)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_edgecolor(FAINT)
        if image is None or not np.isfinite(image).all():
            axes.text(0.5, 0.5, "none", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        else:
            size = float(np.abs(image).max()) or 1.0
            axes.imshow(image, cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
        axes.set_title(name, fontsize=7.5, color=MUTED, pad=2)


def _draw_history(figure: Figure, card: Card) -> None:
    _heading(figure, 2.75, 4.88, "History over depth: r of its best match")
    axes = _axes(figure, 3.05, 5.14, 2.8, 0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_ylim(0, 1.1)
    axes.set_xlim(-0.03, 1.03)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("Depth (share of blocks); filled: each other's match", fontsize=7.5, labelpad=2)
    if card.history is None:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        return
    past = card.history
    axes.axhspan(0, past.chance, color=MUTED, alpha=0.15, linewidth=0)
    if past.chance > 0.05:
        axes.text(1.035, past.chance / 2, "chance", fontsize=6.5, color=MUTED, ha="left", va="center")
    axes.axvline(past.depth[past.own], color=COLOURS[1], linewidth=1, zorder=1)
    axes.plot(past.depth, past.r, color=COLOURS[0], linewidth=1.2, zorder=2)
    for shown, face in ((past.matched, COLOURS[0]), (~past.matched, "#ffffff")):
        axes.plot(
            past.depth[shown], past.r[shown], "o", color=COLOURS[0], markersize=4.5, markerfacecolor=face, zorder=3
        )
    for place, (depth, r) in enumerate(zip(past.depth, past.r, strict=True)):
        word = "its own site" if place == past.own else "a match" if past.matched[place] else "no match"
        values.point(axes, float(depth), float(r), f"depth {depth:.2f}: r {r:.2f}, {word}")


def _draw_facts(figure: Figure, card: Card) -> None:
    """Names and values in two columns."""
    for number, (name, value) in enumerate(card.facts[:10]):
        column, row = divmod(number, 5)
        left, y = MARGIN + 3.15 * column, 6.45 + 0.135 * row
        _write(figure, left, y, name, fontsize=7.2, color=MUTED, va="center")
        _write(figure, left + 2.95, y, value, fontsize=7.2, va="center", ha="right")


# ------------------------------------------------------------------------------------------------------ the page


def _page(card: Card, png: bytes) -> str:
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in card.facts)
    title = html.escape(card.title)
    described = html.escape(f"{card.title}. {card.subtitle}. " + "; ".join(f"{n}: {v}" for n, v in card.facts))
    picture = base64.b64encode(png).decode()
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: {INK}; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem }}
img {{ width: 100%; height: auto }}
table {{ border-collapse: collapse }}
th {{ text-align: left; font-weight: normal; color: {MUTED}; padding: .15rem 1.5rem .15rem 0 }}
td {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{html.escape(card.subtitle)}</p>
<img alt="{described}" src="data:image/png;base64,{picture}">
<table>{rows}</table>
</body>
</html>
"""
