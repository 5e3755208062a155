"""Where each network comes closest to each region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comparisons.report import panels as select
from comparisons.report.panels import Panel
from comparisons.results import Result


@dataclass(frozen=True)
class Best:
    """Where one network's stream comes closest to one region, and what that was picked from."""

    title: str
    measure: str
    result: Result
    sites: int
    ceiling: tuple[float, float] | None
    simulated: bool
    write: Result | None
    """The best of its writes; None if none was compared, or if the network has no stream site to set beside it."""

    @property
    def place(self) -> str:
        """The region in a sentence, with its recordings where the region alone would be ambiguous."""
        region = self.result.region
        return region if self.title == region else f"{region} of {self.result.recordings}"


def best_sites(shown: Sequence[Panel]) -> list[Best]:
    """The best site for each region and network, regions in ventral order, trained networks first.

    Picked from the stream (stem and resid_post); from all sites of a network that has none of these.
    """
    found = []
    for panel, title in zip(shown, select.panel_titles(shown), strict=True):
        for model, role in select.models(panel.results):
            mine = [r for r in panel.results if (r.model, r.role) == (model, role) and select.has_estimate(r)]
            stream = [r for r in mine if select.kind(r) in ("stem", "resid_post")]
            write = select.best(r for r in mine if select.kind(r) == "write") if stream else None
            top = select.best(stream or mine)
            if top is not None:
                count = len(stream or mine)
                found.append(Best(title, panel.measure, top, count, panel.ceiling, top.simulated, write))
    return found


def trained(tops: Iterable[Best]) -> list[str]:
    """The trained networks, in order."""
    return list(dict.fromkeys(b.result.model for b in tops if b.result.role == "trained"))


def of_model(model: str, tops: Iterable[Best]) -> list[Best]:
    """The best sites of one trained network."""
    return [b for b in tops if (b.result.model, b.result.role) == (model, "trained")]


def overlap(one: Best, other: Best) -> bool | None:
    """Whether two intervals overlap; None where one is missing."""
    if one.result.interval is None or other.result.interval is None:
        return None
    (low, high), (other_low, other_high) = one.result.interval, other.result.interval
    return low <= other_high and other_low <= high
