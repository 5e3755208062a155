"""Probe-transfer matrices: a reader of orientation fitted at one site and used, as it is, at another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from comparisons.report import values as reading
from comparisons.report.drawing import FAINT
from comparisons.report.exhibits.picture import Picture, grid, title
from comparisons.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

WRITTEN = 8
"""Sites up to which every cell has its number."""
LIGHT, DARK = "#fefefe", "#010101"
"""Text on cells, whose colours do not follow the page's."""


def transfer(models: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    """One picture of all networks that have two sites or more in one basis; `models` are those of a persistence stage's
    curves."""
    known = [model for model in models if model["transfer"]]
    if not known:
        return
    figure, rows = grid(len(known), max(len(model["transfer"]) for model in known), width=2.2, height=2.1)
    for model, row in zip(known, rows, strict=True):
        title(row[0], model["name"])
        for axes in row[len(model["transfer"]) :]:
            axes.set_visible(False)
        for one, axes in zip(model["transfer"], row, strict=False):
            image = draw_matrix(axes, one["matrix"], one["sites"])
        row[0].set_ylabel("fitted at block", fontsize=8)
    for axes in rows[-1]:
        axes.set_xlabel("used at block", fontsize=8)
    every = [axes for row in rows for axes in row]
    bar = figure.colorbar(image, ax=every, shrink=0.7, aspect=30, pad=0.02, label="R2 (below 0 as 0)")
    bar.ax.tick_params(labelsize=7)
    without = [model["name"] for model in models if not model["transfer"] and not model["missing"]]
    yield Picture(
        name="transfer",
        group="P1 in networks: one reader for all stages",
        caption="Probe transfer: R2 of a linear reader of orientation, fitted at one site (rows) and used without a "
        "new fit at another (columns), on spatial frequencies left out; a square holds the sites of one basis. In a "
        "residual stream the columns to the right of the diagonal stay bright: what was written early is read later "
        "in the same code. Where each stage recodes its input, only the diagonal is."
        + (f" No two sites of {', '.join(without)} share a basis." if without else ""),
        words="; ".join(_in_words(model, one) for model in known for one in model["transfer"]),
        figure=figure,
    )


def draw_matrix(axes: Axes, matrix: Sequence[Sequence[float | None]], sites: Sequence[str]) -> AxesImage:
    """A heat map of R2 between 0 and 1, with its numbers where sites are few; what is undefined stays empty."""
    values = np.array(matrix, dtype=object).astype(float)
    image = axes.imshow(np.clip(values, 0, 1), vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    names = [short_site(name) for name in sites]
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    for (j, k), value in np.ndenumerate(values):
        said = f"fitted at {sites[j]}, used at {sites[k]}: R2 {number(value, 3)}"
        reading.box(axes, (k - 0.5, k + 0.5), (j - 0.5, j + 0.5), said)
    if len(names) <= WRITTEN:
        for (j, k), value in np.ndenumerate(values):
            if np.isfinite(value):
                said = number(value, 2) if value > -9.5 else "< \N{MINUS SIGN}9"
                axes.text(k, j, said, ha="center", va="center", fontsize=6.5, color=LIGHT if value < 0.6 else DARK)
    return image


def short_site(name: str) -> str:
    """A site's name for a narrow axis: its block."""
    return name.replace("blocks.", "").replace(".hook_resid_post", "").replace("0.hook_resid_pre", "stem")


def _in_words(model: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    first, last = short_site(one["sites"][0]), short_site(one["sites"][-1])
    return f"{model['name']}, a reader of block {first}: R2 {number(one['matrix'][0][0], 2)} there, " + (
        f"{number(one['matrix'][0][-1], 2)} at block {last}"
    )
