"""phi and D by region: what the verdict on recordings stands on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from comparisons.report.drawing import ALERT, COLOURS
from comparisons.report.exhibits.picture import Picture, bars, bound, panels, slug, title, zero
from comparisons.report.values import told
from comparisons.report.wording import number
from comparisons.verdicts.persistence import LEAST_D, LEAST_PHI

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"D": ("D of orientation", LEAST_D), "phi": ("phi, unique simple share", LEAST_PHI)}
"""Label, and the bound of the rule."""


def by_region(found: Mapping[str, Mapping[str, Any]], answers: Mapping[str, str]) -> Iterator[Picture]:
    """A picture a recordings that has phi or D of any region.

    `found[name]` is what `comparisons.persistence.recorded_stages.as_curves` gives, `answers[name]` the verdict.
    """
    limits = {key: _limits(found.values(), key) for key in PANELS}
    for name, curves in found.items():
        shown = [key for key in PANELS if curves[key]]
        if not shown:
            continue
        figure, columns = panels(len(shown), width=3.1, height=2.5)
        for key, (axes,) in zip(shown, columns, strict=True):
            _draw(axes, curves, key, limits[key])
        for place, (axes,) in enumerate(columns):
            title(axes, "" if place else name, simulated=curves["simulated"])
        key = shown[0]
        ends = [
            f"{region} {number(curves[key][region][0], 2)}" for region in curves["regions"] if region in curves[key]
        ]
        yield Picture(
            name=f"persistence-{slug(name)}",
            group="P1 in recordings: what is simple, by region",
            caption=_caption(name, curves, shown, answers.get(name, "")),
            words=f"{key} by region: {', '.join(ends)}",
            figure=figure,
            simulated=curves["simulated"],
        )


def _limits(found: Iterable[Mapping[str, Any]], key: str) -> tuple[float, float]:
    """One range for all recordings of a run, with 0 and the bound in it."""
    values = [end for curves in found for value in curves[key].values() for end in value[:3] if math.isfinite(end)]
    low, high = min([0.0, *values]), max([PANELS[key][1], *values])
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _draw(axes: Axes, curves: Mapping[str, Any], key: str, limits: tuple[float, float]) -> None:
    label, least = PANELS[key]
    regions, values = list(curves["regions"]), curves[key]
    axes.set_xlim(-0.4, len(regions) - 0.6)
    axes.set_ylim(*limits)
    zero(axes)
    bound(axes, least)
    at = [place for place, region in enumerate(regions) if region in values]
    own = [values[regions[place]] for place in at]
    said = [told(f"{label}, {regions[place]}", value) for place, value in zip(at, own, strict=True)]
    bars(axes, at, [value[:3] for value in own], said, fmt="o-", color=COLOURS[0])
    if key == "phi" and any(value[3] > 0 for value in own):
        axes.plot(at, [value[3] for value in own], "_", color=ALERT, ms=12, mew=1.6)
    axes.set_xticks(range(len(regions)), regions)
    axes.set_ylabel(label)


def _caption(name: str, curves: Mapping[str, Any], shown: list[str], answer: str) -> str:
    parts = [f"{name}: {answer}." if answer else f"{name}."]
    if "D" in shown:
        parts.append(
            "D: R2 of orientation, decoded across spatial frequencies and phases that were left out, over what "
            "neuroids that carry simple features alone would reach."
        )
    if "phi" in shown:
        parts.append("phi: share of the signal variance that simple features explain and complex ones do not.")
        if any(value[3] > 0 for value in curves["phi"].values()):
            parts.append("Strokes: what of phi could be a leak of what the complex features lack.")
    parts.append(
        "Bars: 95% intervals; dashed: the bound of the rule. If simple features persist, the curve stays above it to "
        "the last region; if each stage replaces its input, it starts above and ends below."
    )
    return " ".join(parts)
