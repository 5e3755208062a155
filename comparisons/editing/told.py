"""What a run says of P3: results of each dictionary and block, and the slopes beside a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from comparisons.networks import Network
    from comparisons.results import Verdict

IMAGES = "drawn scenes"


def with_slopes(verdict: Verdict, blocks: Mapping[str, list[dict[str, Any]]], network: Network) -> Verdict:
    """The verdict with the median edit slope of the networks' blocks: near 0 in streams, near -1 where nothing is
    skipped."""
    numbers, said = dict(verdict.numbers), []
    for role, names in (("trained", network.trained), ("plain", network.plain), ("untrained", network.untrained)):
        slopes = [one["slope"] for name in names for one in blocks[name] if one["slope"] is not None]
        if slopes:
            numbers[f"median edit slope, {role}"] = float(np.median(slopes))
            said.append(f"{numbers[f'median edit slope, {role}']:.2f} {role}")
    reasons = verdict.reasons + ((f"median edit slope of the blocks: {', '.join(said)}",) if said else ())
    if any(one["clipped"] for found in blocks.values() for one in found):
        reasons += (
            "a ReLU follows the sum of some blocks and clips what they write: pre-activation networks say more",
        )
    return verdict.model_copy(update={"numbers": numbers, "reasons": reasons})


def block_results(
    told: Mapping[str, Any], table: Any, about: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The results of one dictionary and block, and what has no number and why."""
    from comparisons.verdicts.evidence import wilson

    common = {
        "comparison": "editing",
        "recordings": IMAGES,
        "region": "latents",
        "n_subjects": 1,
        "site": told["name"],
        **about,
    }
    results: list[dict[str, Any]] = []
    dropped: list[str] = []
    where = f"block {told['block']} reads it"
    where += ", and a ReLU after its sum clips what it writes" if told["clipped"] else ""

    def say(measure: str, value: float | None, *notes: str, interval: tuple[float, float] | None = None) -> None:
        if value is None or not math.isfinite(value):
            dropped.append(f"{about['model']} {told['name']}: no number for {measure}")
            return
        results.append(
            {**common, "measure": measure, "estimate": value, "interval": interval, "notes": [where, *notes]}
        )

    counts, live = told["counts"], table[table["live"]]
    if not told["trusted"]:
        dropped.append(
            f"{about['model']} {told['name']}: explains {told['explained']:.0%} of the stream here, less than the "
            f"{told['least_explained']:.0%} of least_explained; its latents do not count for the verdict"
        )
    if counts["live"]:
        for what in ("edited", "kept"):
            share = counts[what] / counts["live"]
            note = f"{counts[what]} of {counts['live']} live latents ({len(table)} in all)"
            say(f"{what} latents, share", share, note, interval=wilson(counts[what], counts["live"]))
        say("edit slope, median", float(live["slope"].median()), "partial, over live latents")
        say("causal edit slope, median", float(live["causal_slope"].median()), "t_f - 1, by intervention")
        say(
            "edit slope against causal slope (r)",
            float(live["slope"].corr(live["causal_slope"])) if len(live) > 2 else None,
            "Pearson over live latents",
        )
    else:
        dropped.append(f"{about['model']} {told['name']}: no live latent of {len(table)}")
    say("variance explained by the dictionary", told["explained"], "on scenes that it was not trained on")
    say(
        "pooled slope predicted by context (r)", told["gate predicts"], "on stimuli on which the gate was not estimated"
    )
    say("cosine of write and stream", told["cosine of write and stream"], "both without their means")
    say("share of writes against the stream", told["share of writes below -.3"], "cosine below -.3")
    if (overlap := told["overlap"]) is not None:
        rotated = f"{overlap['mean rotated']:.3f} under random rotations, p {overlap['p']:.3g}"
        say("overlap of writing and reading weights", overlap["mean"], rotated)
    if repairs := [one["repair"] for one in told["repairs"]]:
        note = f"mean over {len(repairs)} pairs of an edited latent and an earlier block"
        say("self-repair", sum(repairs) / len(repairs), note)
    return results, dropped
