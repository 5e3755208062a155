"""Data sets that are RDMs only, in a run: partial RSA of simple features, region by region, and its weak verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError
from bridge.recordings.order import region_rank
from comparisons.persistence.partial_rsa import PartialRSA, partial_rsa
from comparisons.rdms import correlation_rdm
from comparisons.references import pixel_rdm
from comparisons.verdicts.persistence import by_partial_rsa

if TYPE_CHECKING:
    from bridge.recordings.recordings import RegionRDMs
    from bridge.stimuli import StimulusSet
    from comparisons.persistence.recorded import Bands
    from comparisons.results import Verdict

MEASURE = "spearman"


def judged_rdms(
    regions: Sequence[RegionRDMs], bands: Sequence[Bands], stimuli: StimulusSet, *, draws: int, seed: int
) -> tuple[list[dict[str, Any]], Verdict, list[str]]:
    """Results, the verdict and what was left out for the regions of one data set, each with the analyst's bands of its
    own stimuli. Nuisances are the complex band, pixels, and category where the stimuli's table names one."""
    found: dict[str, PartialRSA] = {}
    results: list[dict[str, Any]] = []
    dropped: list[str] = []
    order = sorted(range(len(regions)), key=lambda number: region_rank(regions[number].region))
    name, missing = regions[0].name, ""
    for number in order:
        item, own = regions[number], bands[number]
        if own.complex is None:
            missing = own.missing
            continue
        shown = stimuli.select(stimuli.rows_of(item.stimulus_ids))
        try:
            nuisances = {"complex features": correlation_rdm(own.complex), "pixels": pixel_rdm(shown, 32)}
            if (category := _category_rdm(shown)) is not None:
                nuisances["category"] = category
            one = partial_rsa(
                correlation_rdm(own.simple), nuisances, item.rdms, measure=MEASURE, draws=draws, seed=seed
            )
        except InputError as error:
            dropped.append(f"partial RSA of {name} {item.region}: {error}")
            continue
        found[item.region] = one
        results += [_result(item, own, one, partial, draws, seed) for partial in (True, False)]
    names = [regions[number].region for number in order]
    verdict = by_partial_rsa(found, names, name, missing=missing, simulated=regions[0].simulated)
    return results, verdict, dropped


def _category_rdm(stimuli: StimulusSet) -> np.ndarray | None:
    """1 for pairs of different categories, [pair]; None where the table has no category of every stimulus."""
    if "category" not in stimuli.table or stimuli.table["category"].isna().any():
        return None
    category = stimuli.table["category"].to_numpy()
    first, second = np.triu_indices(len(category), 1)
    return (category[first] != category[second]).astype(np.float64)


def _result(item: RegionRDMs, bands: Bands, one: PartialRSA, partial: bool, draws: int, seed: int) -> dict[str, Any]:
    """The partial or the plain correlation of one region as a result."""
    rsa = one.rsa if partial else one.without
    low, high = (float(value) for value in rsa.interval()[0])
    given = f"given {', '.join(one.nuisances)}" if partial else "nothing taken out"
    return {
        "comparison": "persistence",
        "measure": "partial RSA of simple features" if partial else "RSA of simple features",
        "model": "simple features",
        "role": "reference",
        "site": None,
        "recordings": item.name,
        "region": item.region,
        "estimate": float(rsa.estimate[0]),
        "interval": (low, high) if np.isfinite([low, high]).all() else None,
        "ceiling": rsa.ceiling,
        "n_stimuli": len(item.stimulus_ids),
        "n_subjects": len(item.subjects),
        "n_draws": draws,
        "seed": seed,
        "simulated": item.simulated,
        "dropped": list(item.dropped),
        "notes": [
            f"{MEASURE}, {given}; {one.coupling:.0%} of the simple RDM's variance is also the nuisances'",
            "RDMs only: the evidence is weak and decides nothing",
            bands.told,
        ],
    }
