"""Edit slopes: what the next block takes away of each latent of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons.report import values
from comparisons.report.drawing import ALERT, COLOURS, MUTED
from comparisons.report.exhibits.picture import Picture, instead, legend, named, panels, title
from comparisons.report.wording import number, percent
from comparisons.verdicts.editing import EDITED, KEPT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = np.linspace(-1.6, 0.8, 49)
KINDS = (
    ("edited, gated by context", ALERT, "////"),
    ("kept", COLOURS[0], ""),
    ("neither", "#9aa1a9", "...."),
)
"""What a latent is by the rule, with colour and hatch."""


@dataclass(frozen=True)
class Edited:
    """The live latents of a model's blocks together: slopes [m], and which are edited and kept, bool [m]."""

    model: str
    role: str
    slope: NDArray[np.float64]
    edited: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    @property
    def title(self) -> str:
        """Its name and role."""
        return named({"name": self.model, "role": self.role})


def slopes(models: Sequence[Edited]) -> Iterator[Picture]:
    """One picture of all networks: the distribution of edit slopes, by what the rule makes of a latent."""
    from matplotlib.patches import Patch

    if not models:
        return
    figure, columns = panels(len(models), width=2.9, height=2.5)
    for place, (one, (axes,)) in enumerate(zip(models, columns, strict=True)):
        title(axes, one.title, _shares(one))
        if not len(one.slope):
            instead(axes, "no live latent")
            continue
        _draw(axes, one)
        axes.set_xlabel("Edit slope")
        axes.sharey(columns[0][0])
        if not place:
            axes.set_ylabel("Share of live latents")
    legend(figure, [
        (name, Patch(facecolor=colour, hatch=hatch, edgecolor="#ffffff", lw=0)) for name, colour, hatch in KINDS
    ])  # fmt: skip
    yield Picture(
        name="edit-slopes",
        group="P3 in networks: what blocks take away",
        caption="Partial edit slope of every live latent: what the next block writes along its direction, for each "
        "unit that it is active, given all other latents. 0: kept; \N{MINUS SIGN}1: deleted, which a block without a "
        "skip does to everything. Outermost bars hold what lies beyond. If a stream is edited as P3 says, latents "
        f"whose slope depends on context make up {EDITED:.0%} or more, beside {KEPT:.0%} or more that are kept, and "
        "more than in untrained copies; if not, all are kept, or all replaced.",
        words="; ".join(_in_words(one) for one in models),
        figure=figure,
    )


def _draw(axes: Axes, one: Edited) -> None:
    cut = np.clip(one.slope, BINS[0], BINS[-1])
    masks = (one.edited, one.kept & ~one.edited, ~one.kept & ~one.edited)
    bottom = np.zeros(len(BINS) - 1)
    for mask, (name, colour, hatch) in zip(masks, KINDS, strict=True):
        counts = np.histogram(cut[mask], BINS)[0]
        heights, some = counts / len(cut), counts > 0
        axes.bar(  # a bar of no height is drawn all the same
            BINS[:-1][some], heights[some], np.diff(BINS)[some], bottom[some], align="edge", color=colour, hatch=hatch,
            edgecolor="#ffffff", linewidth=0.2,
        )  # fmt: skip
        for place in np.flatnonzero(some):
            low, high, foot = BINS[place], BINS[place + 1], bottom[place]
            said = f"{name}, slope {number(low, 2)} to {number(high, 2)}: {counts[place]} of {len(cut)} latents"
            values.box(axes, (low, high), (foot, foot + heights[place]), said)
        bottom += heights
    for value in (-1.0, 0.0):
        axes.axvline(value, color=MUTED, lw=0.9, dashes=(1, 2), zorder=0.5)
    axes.set_xlim(BINS[0], BINS[-1])


def _shares(one: Edited) -> str:
    if not len(one.slope):
        return ""
    return f"{percent(one.edited.mean())} edited, {percent(one.kept.mean())} kept of {len(one.slope)} latents"


def _in_words(one: Edited) -> str:
    if not len(one.slope):
        return f"{one.title}: no live latent"
    middle = number(float(np.median(one.slope)), 2)
    return (
        f"{one.title}: {percent(one.edited.mean())} of {len(one.slope)} latents edited, "
        f"{percent(one.kept.mean())} kept, median slope {middle}"
    )
