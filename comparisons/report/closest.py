"""The region that each site of a network stands closest to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from comparisons.report import panels as select
from comparisons.report.summary import compared
from comparisons.results import Result


@dataclass(frozen=True)
class Closest:
    """By (network, site): the region that the site is closest to. Sites of a dictionary's codes are SITE/NAME."""

    measure: str = ""
    regions: dict[tuple[str, str], str] = field(default_factory=dict)
    simulated: bool = False

    def of(self, model: str, site: str) -> str:
        """The region; of a dictionary's codes that were not compared, that of the site it reads; empty where neither
        was."""
        return self.regions.get((model, site)) or self.regions.get((model, site.partition("/")[0]), "")


def closest_regions(results: Sequence[Result]) -> Closest:
    """The region for which a site reaches the largest share of the best that any site of its network reaches there.

    Similarities to two regions are not to be set beside each other (noise ceilings differ), shares of the best are.
    A region that the network is not surely like (at its best site the interval reaches 0) is none to be closest to.
    By the first comparison and measure that holds several sites and regions; nothing where none does.
    """
    of_sites = [r for r in compared(results) if r.site and select.has_estimate(r)]
    for (_, measure), shown in select.panels(of_sites).items():
        titles = dict(zip((id(panel) for panel in shown), select.panel_titles(shown), strict=True))
        shares: dict[tuple[str, str], dict[str, float]] = {}
        for panel in shown:
            best: dict[str, Result] = {}
            for r in panel.results:
                if r.model not in best or r.estimate > best[r.model].estimate:
                    best[r.model] = r
            for r in panel.results:
                if _surely_alike(best[r.model]):
                    shares.setdefault(_named(r), {})[titles[id(panel)]] = r.estimate / best[r.model].estimate
        if len(shown) > 1 and len(shares) > 1:
            regions = {place: max(own, key=lambda region: own[region]) for place, own in shares.items()}
            return Closest(measure, regions, any(panel.simulated for panel in shown))
    return Closest()


def _surely_alike(result: Result) -> bool:
    """Whether a similarity is above 0, with its interval where there is one."""
    return result.estimate > 0 and (result.interval is None or result.interval[0] > 0)


def _named(result: Result) -> tuple[str, str]:
    if result.dictionary is None:
        return result.model, str(result.site)
    return result.model.removesuffix(f" · {result.dictionary}"), f"{result.site}/{result.dictionary}"
