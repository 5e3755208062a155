"""Jacobian transport t against distance: what of a change at one stage arrives, as it was, so many blocks later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comparisons.report import values
from comparisons.report.drawing import DASHES, MUTED
from comparisons.report.exhibits.picture import (
    ROLE_COLOURS,
    ROLE_MARKERS,
    Picture,
    bound,
    expected,
    instead,
    legend,
    panels,
    title,
)
from comparisons.report.wording import number
from comparisons.verdicts.variability import LOST, PASSED_ON

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

ROLES = {"trained": "trained", "plain": "control", "untrained": "untrained"}
"""Roles in a network's curves, and the role as which each is drawn."""
NAMES = {"trained": "trained", "plain": "plain twin, without skips", "untrained": "untrained"}

Pairs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Level:
    """t by distance [a] in blocks: the mean over networks, its 95% interval [a, 2], and each network's own [s, a]."""

    distance: NDArray[np.intp]
    mean: NDArray[np.float64]
    interval: NDArray[np.float64]
    each: NDArray[np.float64]


def by_distance(networks: Sequence[Pairs]) -> Level | None:
    """t of every network by distance, the mean over the sources that have it; None where nothing can be carried.

    Intervals are Student's over networks; those of a single one are NaN.
    """
    from scipy.stats import t as student

    known = [[(pair["distance"], pair["t"]) for pair in pairs if pair["t"] is not None] for pairs in networks]
    distances = sorted({distance for own in known for distance, _ in own})
    if not distances:
        return None
    each = np.full((len(known), len(distances)), np.nan)
    for row, own in enumerate(known):
        for column, distance in enumerate(distances):
            if found := [t for at, t in own if at == distance]:
                each[row, column] = np.mean(found)
    count = np.isfinite(each).sum(axis=0)
    mean = np.nansum(each, axis=0) / count
    spread = np.sqrt(np.nansum((each - mean) ** 2, axis=0) / np.maximum(count - 1, 1))
    half = np.where(count > 1, student.ppf(0.5 + 0.95 / 2, np.maximum(count - 1, 1)) * spread / np.sqrt(count), np.nan)
    return Level(np.array(distances), mean, np.stack([mean - half, mean + half], axis=1), each)


def transport(networks: Mapping[str, Mapping[str, Mapping[str, Pairs]]]) -> Iterator[Picture]:
    """One picture of all networks that were judged: `networks[name][role][model]` are the pairs of stages of a model,
    as a verdict's curves have them. None where there is no network."""
    from matplotlib.lines import Line2D

    if not networks:
        return
    levels = {
        name: {role: level for role in ROLES if (level := by_distance(list(of.get(role, {}).values()))) is not None}
        for name, of in networks.items()
    }
    figure, columns = panels(len(networks), width=3.2, height=2.7)
    longest = max((int(level.distance[-1]) for own in levels.values() for level in own.values()), default=1)
    low, high = _limits([level for own in levels.values() for level in own.values()])
    for place, ((name, own), (axes,)) in enumerate(zip(levels.items(), columns, strict=True)):
        title(axes, name)
        if not own:
            instead(axes, "no direction of one stage\ncan be carried to another")
            continue
        axes.set_ylim(low, high)
        axes.set_xlim(0.5, longest + 0.5)
        axes.axhspan(-LOST, LOST, color=MUTED, alpha=0.1, lw=0, zorder=0.5)
        expected(axes, 1.0, "stream:\nkept")
        expected(axes, 0.0, "hierarchy:\nreplaced")
        bound(axes, PASSED_ON)
        for role, level in own.items():
            _draw(axes, level, role)
        axes.set_xlabel("Distance, blocks")
        axes.locator_params(axis="x", integer=True, nbins=8)
        if not place:
            axes.set_ylabel("Transport t")
    shown = [role for role in ROLES if any(role in own for own in levels.values())]
    legend(figure, [
        (NAMES[role], Line2D([], [], color=ROLE_COLOURS[ROLES[role]], marker=ROLE_MARKERS[ROLES[role]], ms=4, lw=1.5,
                             dashes=DASHES[ROLES[role]] or (None, None)))
        for role in shown
    ])  # fmt: skip
    yield Picture(
        name="transport",
        group="P2 in networks: what varies, and how far it is passed on",
        caption="Transport t: of a small random change to the stream after one block, the share that stands unchanged "
        "(same direction, same size) in the stream so many blocks later; Jacobians at drawn scenes, the mean over "
        "stages at that distance. Thin lines: single networks; bands: Student's 95% interval over them. In a residual "
        "stream t stays near 1 however far (dotted line at 1); where each stage replaces its input it is 0 after one "
        f"block. Dashed: the bound of the rule, {PASSED_ON:g}; grey: within {LOST:g} of 0, where the plain twin must "
        "lie. t near 1 is what the architecture gives"
        + (": an untrained copy is shown beside and never subtracted." if "untrained" in shown else "."),
        words="; ".join(_in_words(name, own) for name, own in levels.items()),
        figure=figure,
    )


def _draw(axes: Axes, level: Level, of: str) -> None:
    name, role = NAMES[of], ROLES[of]
    colour, dash = ROLE_COLOURS[role], DASHES[role] or (None, None)
    drawn: list[Artist] = []
    if len(level.each) > 1:
        for own in level.each:
            drawn += axes.plot(level.distance, own, color=colour, lw=0.5, alpha=0.45, zorder=2)
        band = axes.fill_between(level.distance, *level.interval.T, color=colour, alpha=0.16, lw=0, zorder=1.8)
        drawn.append(band)
    drawn += axes.plot(
        level.distance, level.mean, color=colour, marker=ROLE_MARKERS[role], ms=3.8, mew=0, lw=1.6, dashes=dash,
        zorder=3,
    )  # fmt: skip
    values.series(name, *drawn)
    for distance, mean, interval in zip(level.distance, level.mean, level.interval, strict=True):
        said = values.told(f"{name}, over {distance} block{'s' * (distance > 1)}", [mean, *interval])
        values.point(axes, distance, mean, said, name)


def _limits(levels: Sequence[Level]) -> tuple[float, float]:
    """One range for all panels, with 0 and 1 in it; a t far outside is cut."""
    found = [value for level in levels for value in level.each[np.isfinite(level.each)]]
    return max(-1.0, min(-0.15, *found, -0.15) - 0.05), min(2.0, max(1.15, *found, 1.15) + 0.05)


def _in_words(name: str, own: Mapping[str, Level]) -> str:
    told = []
    for role, level in own.items():
        first, last = (f"{number(level.mean[end], 2)} over {level.distance[end]} block(s)" for end in (0, -1))
        told.append(f"{NAMES[role]} t is {first}" + (f" and {last}" if len(level.distance) > 1 else ""))
    return f"{name}: {'; '.join(told) or 'nothing can be carried'}"
