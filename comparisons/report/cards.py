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
from comparisons.report.drawing import COLOURS, FAINT, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from comparisons.lineage import History

Array = NDArray[np.float64]
TOP = 6


@dataclass(frozen=True)
class Card:
    """Everything on a card; what is not known is None.

    `stimuli` are uint8 [k, height, width, 3] with `heat` [k, rows, columns] of the feature over the grid (None without
    one) and `values`, its largest responses. Curves are (levels, responses, fitted levels, fitted responses).
    `field` and `fitted` are maps [s, s]; `history` says at which sites of the stream the feature has a match.
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
    png = card_png(card)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")
    paths = [folder / f"{name}.png", folder / f"{name}.html"]
    write_atomically(paths[0], png)
    write_atomically(paths[1], _page(card, png))
    return paths


# --------------------------------------------------------------------------------------------------- the picture


def card_png(card: Card, dpi: int = 150) -> bytes:
    """The picture; equal cards give equal bytes."""
    from matplotlib.figure import Figure

    from comparisons.report.output import settings

    with settings():
        figure = Figure(figsize=(9.6, 6.9), facecolor="#ffffff")
        figure.text(0.03, 0.965, card.title, fontsize=13, fontweight="bold", va="top", parse_math=False)
        figure.text(0.03, 0.925, card.subtitle, fontsize=9, color=MUTED, va="top", parse_math=False)
        _draw_stimuli(figure, card)
        _draw_curves(figure, card)
        _draw_field(figure, card)
        _draw_history(figure, card)
        _draw_facts(figure, card)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return buffer.getvalue()


def _heading(figure: Figure, x: float, y: float, text: str) -> None:
    figure.text(x, y, text, fontsize=9, fontweight="bold", color=INK, va="bottom")


def _draw_stimuli(figure: Figure, card: Card) -> None:
    """Row of the strongest stimuli; below each, the same under the feature's heat map."""
    _heading(figure, 0.03, 0.878, "Strongest stimuli, and where in them the feature responds")
    width, gap = 0.145, 0.0145
    for number, image in enumerate(card.stimuli[:TOP]):
        left = 0.03 + number * (width + gap)
        top = figure.add_axes((left, 0.655, width, width * 9.6 / 6.9))
        top.imshow(image, interpolation="nearest")
        top.set_title(f"{card.values[number]:.2f}", fontsize=8, color=MUTED, pad=2)
        _bare(top)
        if card.heat is None:
            continue
        below = figure.add_axes((left, 0.435, width, width * 9.6 / 6.9))
        grey = image.mean(axis=2) / 255
        below.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest", alpha=0.55)
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        low, high = min(float(card.heat.min()), 0.0), float(card.heat.max())
        below.imshow(
            card.heat[number], cmap="magma", vmin=low, vmax=high if high > low else low + 1, extent=extent,
            alpha=0.65, interpolation="nearest",
        )  # fmt: skip
        _bare(below)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(FAINT)


def _draw_curves(figure: Figure, card: Card) -> None:
    panels: list[tuple[str, Any, bool]] = [
        ("Orientation (deg)", card.orientation, False),
        ("Cycles an image", card.frequency, True),
        ("Phase (deg)", None if card.phase is None else (*card.phase, None, None), False),
        ("Contrast", card.contrast, True),
    ]
    for number, (label, curve, logarithmic) in enumerate(panels):
        axes = figure.add_axes((0.055 + 0.243 * number, 0.292, 0.185, 0.108))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_xlabel(label, fontsize=8, labelpad=2)
        axes.tick_params(labelsize=7)
        axes.axhline(0, color=FAINT, linewidth=0.7, zorder=0)
        if curve is None:
            axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=MUTED, transform=axes.transAxes)
            axes.set_yticks([])
            continue
        levels, responses, fine, fitted = curve
        if fine is not None:
            axes.plot(fine, fitted, color=COLOURS[0], linewidth=1.4, zorder=1)
        axes.plot(levels, responses, "o", color=INK, markersize=3.2, zorder=2)
        if logarithmic:
            axes.set_xscale("log")
            shown = levels if len(levels) <= 5 else levels[::-1][::2][::-1]
            axes.set_xticks(shown, [f"{level:.2g}" for level in shown])
            axes.minorticks_off()
        elif label.startswith("Orient"):
            axes.set_xticks([0, 45, 90, 135, 180])
        else:
            axes.set_xticks([0, 90, 180, 270, 360])
        axes.locator_params(axis="y", nbins=4)
    _heading(figure, 0.03, 0.408, "Tuning to gratings (response above a blank; line: fit)")


def _draw_field(figure: Figure, card: Card) -> None:
    _heading(figure, 0.03, 0.203, "Receptive field")
    for number, (name, image) in enumerate((("from noise", card.field), ("Gabor fit", card.fitted))):
        axes = figure.add_axes((0.03 + 0.125 * number, 0.03, 0.11, 0.11 * 9.6 / 6.9))
        _bare(axes)
        if image is None or not np.isfinite(image).all():
            axes.text(0.5, 0.5, "none", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        else:
            size = float(np.abs(image).max()) or 1.0
            axes.imshow(image, cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
        axes.set_title(name, fontsize=7.5, color=MUTED, pad=2)


def _draw_history(figure: Figure, card: Card) -> None:
    axes = figure.add_axes((0.345, 0.075, 0.27, 0.115))
    _heading(figure, 0.345, 0.203, "History over depth: r of its best match")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_ylim(0, 1.1)
    axes.set_xlim(-0.03, 1.03)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("Depth (share of blocks); filled: each other's match", fontsize=8, labelpad=2)
    if card.history is None:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        return
    past = card.history
    axes.axhspan(0, past.chance, color=MUTED, alpha=0.15, linewidth=0)
    if past.chance > 0.05:
        axes.text(1.035, past.chance / 2, "chance", fontsize=6.5, color=MUTED, ha="left", va="center")
    axes.axvline(past.depth[past.own], color=COLOURS[1], linewidth=1, zorder=1)
    axes.plot(past.depth, past.r, color=COLOURS[0], linewidth=1.2, zorder=2)
    for shown, face in ((past.matched, COLOURS[0]), (~past.matched, "white")):
        axes.plot(
            past.depth[shown], past.r[shown], "o", color=COLOURS[0], markersize=4.5, markerfacecolor=face, zorder=3
        )


def _draw_facts(figure: Figure, card: Card) -> None:
    for number, (name, value) in enumerate(card.facts[:9]):
        y = 0.205 - 0.0208 * number
        figure.text(0.675, y, name, fontsize=8, color=MUTED, va="center", parse_math=False)
        figure.text(0.985, y, value, fontsize=8, color=INK, va="center", ha="right", parse_math=False)


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
