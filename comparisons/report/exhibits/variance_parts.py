"""What each band of features explains of a region alone, and what they share, as stacked bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bridge.recordings.order import region_rank
from comparisons.report import values
from comparisons.report.drawing import COLOURS, FAINT, INK
from comparisons.report.exhibits.picture import Picture, bars, legend, named, panels, slug, title, zero
from comparisons.report.wording import listed, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOTAL, SHARED, UNIQUE = "R2 of all bands", "shared R2", "unique R2 of "
WIDTH = 0.62
LOWEST = -0.5
"""R2 can fall without bound; what lies below it says nothing, and would flatten all else."""

Regions = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By region, by measure: a result."""


def variance_parts(results: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    """A picture a recordings, a panel a model, of the results of banded encoding (those of `kind: banded`)."""
    by_recordings: dict[str, dict[tuple[str, str], dict[str, dict[str, Mapping[str, Any]]]]] = {}
    for one in results:
        models = by_recordings.setdefault(one["recordings"], {})
        models.setdefault((one["model"], one["role"]), {}).setdefault(one["region"], {})[one["measure"]] = one
    for name, models in by_recordings.items():
        regions = sorted({region for found in models.values() for region in found}, key=region_rank)
        measures = dict.fromkeys(m for found in models.values() for region in found.values() for m in region)
        bands = [measure.removeprefix(UNIQUE) for measure in measures if measure.startswith(UNIQUE)]
        simulated = any(one["simulated"] for one in results if one["recordings"] == name)
        limits = _limits(models.values(), bands)
        figure, columns = panels(len(models), width=max(2.6, 0.9 + 0.5 * len(regions)), height=2.6)
        for (model, role), (axes,) in zip(models, columns, strict=True):
            axes.set_xlim(-0.6, len(regions) - 0.4)
            axes.set_ylim(*limits)
            zero(axes)
            _draw(axes, models[model, role], regions, bands)
            title(axes, named({"name": model, "role": role}), simulated=simulated)
        legend(figure, _samples(bands))
        yield Picture(
            name=f"banded-{slug(name)}",
            group="Variance that bands of features explain alone and together",
            caption=_caption(name, bands),
            words="; ".join(_said(model, found, regions, bands) for (model, _), found in models.items()),
            figure=figure,
            simulated=simulated,
        )


def parts(found: Mapping[str, Mapping[str, Any]], bands: Sequence[str]) -> list[tuple[str, float]]:
    """(name, R2) of each band's own part and, between the first and the others, of what they share; a part that is not
    known is left out."""
    named_parts = [(band, f"{UNIQUE}{band}") for band in bands]
    ordered = [*named_parts[:1], ("shared", SHARED), *named_parts[1:]]
    return [(name, float(found[measure]["estimate"])) for name, measure in ordered if measure in found]


def stacked(heights: Sequence[float]) -> list[tuple[float, float]]:
    """(bottom, top) of bars on each other: what is above zero upwards, what is below downwards."""
    up = down = 0.0
    out = []
    for height in heights:
        if height >= 0:
            out.append((up, up + height))
            up += height
        else:
            out.append((down + height, down))
            down += height
    return out


def _draw(axes: Axes, found: Regions, regions: Sequence[str], bands: Sequence[str]) -> None:
    looks = _looks(bands)
    total: list[list[float | None] | None] = []
    for place, region in enumerate(regions):
        known = parts(found.get(region, {}), bands)
        spans = stacked([height for _, height in known])
        for (name, height), (bottom, top) in zip(known, spans, strict=True):
            axes.bar(place, top - bottom, WIDTH, bottom, zorder=2, **looks[name])
            sides = (place - WIDTH / 2, place + WIDTH / 2)
            values.box(axes, sides, (bottom, top), f"{_part(name)} in {region}: R2 {number(height)}")
        whole = found.get(region, {}).get(TOTAL)
        total.append(None if whole is None else [whole["estimate"], *(whole["interval"] or ())])
    ends = [number(one[0] if one else None) for one in total]
    said = [f"all bands in {region}: R2 {end}" for region, end in zip(regions, ends, strict=True)]
    bars(axes, range(len(regions)), total, said, color=INK, ms=3.5)
    axes.set_xticks(range(len(regions)), regions)
    axes.set_ylabel("R2, held-out stimuli")


def _part(name: str) -> str:
    return "shared" if name == "shared" else f"only {name}"


def _looks(bands: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each part is filled; what is shared is hatched, so that it is told from the bands without colour, too."""
    own = {band: {"color": COLOURS[index], "linewidth": 0} for index, band in enumerate(bands)}
    return {**own, "shared": {"facecolor": FAINT, "hatch": "////", "edgecolor": "#ffffff", "linewidth": 0}}


def _samples(bands: Sequence[str]) -> list[tuple[str, Any]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    filled = [(_part(name), Patch(**look)) for name, look in _looks(bands).items()]
    return [*filled, ("all together", Line2D([], [], color=INK, marker="o", ms=3.5, linestyle="none"))]


def _limits(models: Iterable[Regions], bands: Sequence[str]) -> tuple[float, float]:
    """One range for all panels, with everything that is stacked and the totals' intervals in it."""
    ends = [0.0]
    for found in models:
        for region in found.values():
            ends += [end for span in stacked([height for _, height in parts(region, bands)]) for end in span]
            whole = region.get(TOTAL)
            ends += [] if whole is None else [whole["estimate"], *(whole["interval"] or ())]
    shown = [max(end, LOWEST) for end in ends if math.isfinite(end)]
    room = 0.06 * (max(shown) - min(shown)) or 0.05
    return min(shown) - (room if min(shown) < 0 else 0), max(shown) + room


def _caption(name: str, bands: Sequence[str]) -> str:
    return (
        f"{name}: R2 of held-out stimuli, mean over neuroids. Coloured: what {listed(bands)} explain that no other "
        "band does; hatched: what two or more can explain; dot: all together, with its 95% interval. Parts below zero "
        "(a band that makes predictions worse, or that helps only beside another) are stacked downwards. If simple "
        "features persist, the band that holds them keeps a part of its own to the last region."
    )


def _said(model: str, found: Regions, regions: Sequence[str], bands: Sequence[str]) -> str:
    told = []
    for region in regions:
        known = [f"{_part(name)} {number(height, 2)}" for name, height in parts(found.get(region, {}), bands)]
        told += [f"{region} {', '.join(known)}"] if known else []
    return f"{model}: {'; '.join(told)}"
