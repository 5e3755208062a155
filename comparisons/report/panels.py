"""What goes into one panel of a figure: the results of one region by one measure, ordered along the stream.

Pure selection and ordering; drawing stands in `drawing`, sentences in `summary`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from bridge.errors import ConfigError
from bridge.recordings.order import region_rank
from bridge.streams import split_name
from comparisons.results import Result

ROLES = ("trained", "untrained", "control", "reference")

MEASURES = {
    "spearman": "Spearman ρ",
    "corr": "Pearson r",
    "cosine": "cosine similarity",
    "kendall": "Kendall τ",
    "tau-a": "Kendall τ-a",
    "rho-a": "Spearman ρ-a",
    "corr_cov": "whitened Pearson r",
    "cosine_cov": "whitened cosine similarity",
}
"""Measures whose name has a better written form."""


BY_THEMSELVES = ("probe", "persistence", "variability", "editing", "postdictions")
"""Comparisons that describe networks by themselves: their numbers are no similarity to recordings."""


def measure_label(measure: str) -> str:
    """The written form of a measure, or its own name."""
    return MEASURES.get(measure, measure)


def falls_without_bound(measure: str) -> bool:
    """Whether a measure is an R2, or a ratio of two: at most 1, and as low as a reader fails elsewhere."""
    return measure.endswith("(R2)") or measure.startswith("D of ")


@dataclass(frozen=True)
class Panel:
    """All results of one comparison, measure, recordings and region."""

    comparison: str
    measure: str
    recordings: str
    region: str
    results: tuple[Result, ...]

    @property
    def simulated(self) -> bool:
        """Whether any of its recordings are simulated."""
        return any(result.simulated for result in self.results)

    @property
    def ceiling(self) -> tuple[float, float] | None:
        """The noise ceiling; where the results disagree, the widest; None where none could be computed."""
        known = [r.ceiling for r in self.results if r.ceiling is not None and all(map(math.isfinite, r.ceiling))]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def panels(results: Iterable[Result]) -> dict[tuple[str, str], list[Panel]]:
    """Results grouped for figures: (comparison, measure) -> one panel a region and recordings, in ventral order.

    Regions without a single result along a stream have no panel over depth, and measures without such a region no
    figure.
    """
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.comparison, result.measure, result.recordings, result.region), []).append(result)
    figures: dict[tuple[str, str], list[Panel]] = {}
    for (comparison, measure, recordings, region), mine in groups.items():
        figures.setdefault((comparison, measure), []).append(
            Panel(comparison, measure, recordings, region, tuple(mine))
        )
    along = {
        key: [panel for panel in found if any(result.depth is not None for result in panel.results)]
        for key, found in figures.items()
    }
    return {key: sorted(found, key=lambda panel: region_rank(panel.region)) for key, found in along.items() if found}


def panel_titles(shown: Sequence[Panel]) -> list[str]:
    """One title a panel: its region, and its recordings wherever two panels share the region."""
    regions = [panel.region for panel in shown]
    return [
        panel.region if regions.count(panel.region) == 1 else f"{panel.region} · {panel.recordings}" for panel in shown
    ]


@dataclass(frozen=True)
class Row:
    """Panels that stand side by side, with their titles; `label` is empty where the titles say it all."""

    label: str
    cells: tuple[tuple[Panel, str] | None, ...]
    """None where these recordings lack the region of the column."""

    @property
    def panels(self) -> list[Panel]:
        """The panels of the row."""
        return [cell[0] for cell in self.cells if cell]


def arrange(shown: Sequence[Panel]) -> list[Row]:
    """How the panels of one figure are laid out.

    Where two recordings share two or more regions: a row a recordings and a column a region, in ventral order, so that
    recordings are compared down a column. Otherwise one row of all panels, to be broken wherever it suits.
    """
    regions = {name: {p.region for p in shown if p.recordings == name} for name in _recordings(shown)}
    if not any(len(a & b) > 1 for a, b in combinations(regions.values(), 2)):
        return [Row("", tuple(zip(shown, panel_titles(shown), strict=True)))]
    columns = sorted(dict.fromkeys(panel.region for panel in shown), key=region_rank)
    at = {(panel.recordings, panel.region): panel for panel in shown}
    return [
        Row(name, tuple((at[name, region], region) if region in regions[name] else None for region in columns))
        for name in regions
    ]


def _recordings(shown: Sequence[Panel]) -> list[str]:
    """The recordings in the order of the results."""
    return list(dict.fromkeys(panel.recordings for panel in shown))


def models(results: Iterable[Result]) -> list[tuple[str, str]]:
    """(model, role) of every network, trained first, references left out; otherwise in order of appearance."""
    seen = dict.fromkeys((r.model, r.role) for r in results if r.role != "reference")
    return sorted(seen, key=lambda entry: ROLES.index(entry[1]))


def kind(result: Result) -> str | None:
    """Kind of the result's site (`resid_post`, `write`, ...); `stem` for the first stream; None for other names."""
    if result.site is None:
        return None
    try:
        block, found = split_name(result.site)
    except ConfigError:
        return None
    return "stem" if (block, found) == (0, "resid_pre") else found


def has_estimate(result: Result) -> bool:
    """Whether the estimate is a number that can be shown and ordered."""
    return math.isfinite(result.estimate)


def references(results: Iterable[Result]) -> list[Result]:
    """The reference representations, the most similar first."""
    found = [r for r in results if r.role == "reference" and has_estimate(r)]
    return sorted(found, key=lambda r: -r.estimate)


def along_stream(results: Iterable[Result], model: str, role: str) -> list[Result]:
    """A model's stream from the stem through every resid_post, by depth."""
    return _placed(results, model, role, {"stem", "resid_post"})


def writes(results: Iterable[Result], model: str, role: str) -> list[Result]:
    """A model's writes, by depth."""
    return _placed(results, model, role, {"write"})


def _placed(results: Iterable[Result], model: str, role: str, kinds: set[str]) -> list[Result]:
    mine = [
        r
        for r in results
        if (r.model, r.role) == (model, role) and r.depth is not None and has_estimate(r) and kind(r) in kinds
    ]
    return sorted(mine, key=lambda r: r.depth or 0.0)


def write_pairs(results: Iterable[Result], model: str, role: str) -> list[tuple[Result, Result]]:
    """(resid_post, write) of every block where both were compared, by depth."""
    results = list(results)
    added = {split_name(str(r.site))[0]: r for r in writes(results, model, role)}
    stream = [r for r in along_stream(results, model, role) if kind(r) == "resid_post"]
    return [(r, added[block]) for r in stream if (block := split_name(str(r.site))[0]) in added]


def best(results: Iterable[Result]) -> Result | None:
    """The result with the highest estimate; None where there is no number at all."""
    return max(filter(has_estimate, results), key=lambda r: r.estimate, default=None)
