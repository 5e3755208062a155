"""Survival and skip ablation in a run: what is kept of them, and which results they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bridge.errors import InputError
from comparisons.persistence.matched_latents import Matched
from comparisons.persistence.survival import GROUPS, cox, kaplan_meier, lives, members, stratum


def summarised(matched: Matched) -> dict[str, Any]:
    """Survival curves by stratum of simplicity, Cox regression and matches, as JSON values."""
    features = lives(matched.features, matched.partners)
    labels = stratum(features.simplicity)
    curves = {}
    for name in GROUPS:
        own = features.of(members(labels, name))
        curve = kaplan_meier(own, matched.ceilings[name]).as_json()
        curves[name] = {
            **curve,
            "features": len(own.birth),
            "mean_last_match": float(own.last_match.mean()) if len(own.birth) else None,
        }
    hazard: dict[str, Any] = {"why": ""}
    try:
        hazard |= vars(cox(features))
    except InputError as error:
        hazard["why"] = str(error)
    rates = {
        name: [[value if math.isfinite(value) else None for value in row] for row in ceiling.rate]
        for name, ceiling in matched.ceilings.items()
    }
    pairs = [
        {**one, "threshold": one["threshold"] if math.isfinite(one["threshold"]) else None} for one in matched.pairs
    ]
    return {"curves": curves, "hazard": hazard, "ceilings": rates, "pairs": pairs}


def expected_deaths(curve: Mapping[str, Any]) -> float:
    """Deaths that would be counted if no feature ever died, and dictionaries only disagreed as two seeds of one site
    do: sum over ages of the number at risk times one less the seed ceiling; NaN where the ceiling is not known."""
    rates = [math.nan if rate is None else rate for rate in curve["ceiling"]]
    return sum(count * (1 - rate) for count, rate in zip(curve["at_risk"], rates, strict=True))


def in_words(found: Mapping[str, Any]) -> str:
    """What one dictionary's survival says, and how much it can say; empty where nothing is born before the last site.

    Where seeds share few features, most deaths are those of dictionaries, and neither the order of the curves nor a
    hazard ratio near 1 says that features live alike.
    """
    curves, hazard = found["curves"], found["hazard"]
    every = curves["all"]
    if not every["ages"]:
        return ""
    deaths = sum(every["deaths"])
    said = [f"survival of {found['dictionary']}'s features: {deaths} of {every['at_risk'][0]} are not found again"]
    expected = expected_deaths(every)
    if math.isfinite(expected):
        said.append(f"{expected:.0f} would not be if seeds alone disagreed")
    for group, which in (("simple", "the simple ones"), ("not simple", "all others")):
        values = curves[group]["corrected"]
        if values and values[0] is not None:
            low, high = curves[group]["corrected_interval"][0]
            within = "" if low is None else f" [{low:.2f}, {high:.2f}]"
            said.append(f"one site on, {values[0]:.2f}{within} of {which} are left over the seed ceiling")
    if hazard["why"]:
        said.append(f"no hazard ratio ({hazard['why'].rstrip('.')})")
    else:
        low, high = hazard["interval"]
        cannot = ", which cannot tell whether simple ones last longer" if low < 1 < high else ""
        said.append(f"hazard ratio of simplicity {hazard['ratio']:.2f} [{low:.2f}, {high:.2f}]{cannot}")
    return "; ".join(said)


def survival_results(found: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Results of one dictionary's survival, and what has no number and why."""
    name = found["dictionary"]
    model = about["model"]
    shared = {
        **about,
        "comparison": "persistence",
        "dictionary": name,
        "site": None,
        "recordings": "features",
        "region": "network",
        "n_subjects": 1,
    }
    results, dropped = [], []
    sites = len(found["sites"])
    measures = " and ".join(sorted({one["by"] for one in found["pairs"]}))
    for stratum_name, curve in found["curves"].items():
        which = "features" if stratum_name == "all" else f"{stratum_name} features"
        if not curve["ages"]:
            dropped.append(f"{model} {name}: no survival of {which}: none is born before the last site")
            continue
        said = [
            f"{curve['features']} {which} of {sites} sites, {found['seeds']} seeds; matched by mutual nearest "
            f"neighbours above the 99th percentile of the null ({measures}: that on which seeds agree more); a life "
            "ends at the first site without a match"
        ]
        for key, measure, note in (
            ("survival", f"survival of {which} to age {curve['ages'][-1]}", "Kaplan-Meier, no ceiling"),
            (
                "corrected",
                f"survival of {which} to age {curve['ages'][-1]}, over the seed ceiling",
                "each step divided by the match rate between seeds of the site reached, within the stratum",
            ),
        ):
            estimate = curve[key][-1]
            if estimate is None:
                dropped.append(f"{model} {name}: no {measure}: the ceiling is 0 or undefined at some site")
                continue
            limits = curve["interval" if key == "survival" else "corrected_interval"][-1]
            results.append(
                {
                    **shared,
                    "measure": measure,
                    "estimate": estimate,
                    "interval": limits if None not in limits else None,
                    "n_stimuli": curve["features"],
                    "notes": [*said, note],
                }
            )
        half = curve["corrected_half_life"]
        if half is not None:
            results.append(
                {
                    **shared,
                    "measure": f"half-life of {which} (sites)",
                    "estimate": half,
                    "n_stimuli": curve["features"],
                    "notes": [*said, "over the seed ceiling"],
                }
            )
    hazard = found["hazard"]
    if hazard["why"]:
        dropped.append(f"{model} {name}: no hazard ratio: {hazard['why']}")
    else:
        results.append(
            {
                **shared,
                "measure": "hazard ratio of simplicity",
                "estimate": hazard["ratio"],
                "interval": hazard["interval"],
                "p": hazard["p"],
                "n_stimuli": hazard["n"],
                "notes": [
                    f"Cox regression, {hazard['deaths']} deaths of {hazard['n']} features, stratified by birth site, "
                    "with log firing density and seed stability; below 1, simple features last longer"
                ],
            }
        )
    return results, dropped


def ablation_results(
    found: Mapping[str, Any], about: Mapping[str, Any], draws: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Results of skip ablation, a block each, and what has no number and why."""
    results, dropped = [], []
    if found["missing"]:
        return [], [f"skip ablation: {found['missing']}"]
    names = {"simple": "orientation", "complex": "category", "difference": "orientation minus category"}
    for row in found["rows"]:
        agreement = row["conditions"]["skip off"]["agreement"]
        for key, words in names.items():
            share = row["shares"]["skip off"][key]
            if share is None:
                dropped.append(
                    f"{about['model']} block {row['block']}: no skip-carried share of {words}: the whole network "
                    "does not hold it above 0"
                )
                continue
            cost = f"; the output's first choice stays for {agreement:.0%} of objects" if agreement is not None else ""
            results.append(
                {
                    **about,
                    "comparison": "persistence",
                    "measure": f"skip-carried share of {words}",
                    "site": row["site"],
                    "depth": row["depth"],
                    "recordings": "gratings and scenes",
                    "region": "network",
                    "estimate": share[0],
                    "interval": share[1],
                    "n_stimuli": 240,
                    "n_subjects": 1,
                    "n_draws": draws,
                    "notes": [
                        f"(D_full - D_skip-off) / D_full at the end of the stream, BatchNorm measured anew{cost}",
                    ],
                }
            )
    return results, dropped
