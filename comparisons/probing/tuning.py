"""Tuning of a site's features to gratings, and what a patch grid does to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons import characterise
from comparisons.characterise import Codes
from comparisons.probing.chosen import Chosen
from comparisons.probing.found import GRATINGS, Found

if TYPE_CHECKING:
    import pandas as pd


def tune(
    found: Found,
    one: Chosen,
    table: pd.DataFrame,
    activations: NDArray,
    codes: Codes,
    reconstruct: Callable[[NDArray], NDArray] | None,
    permutations: int,
    seed: int,
) -> None:
    """Every feature's tuning, from activations [n, 1, d] to the stimuli of `tuning_battery`; shares and medians."""
    tuned = characterise.tune(table, activations, codes, reconstruct, permutations=permutations, seed=seed)
    rows = dict(tuned.pre.rows())
    if tuned.post is not tuned.pre:
        rows |= {f"post_{name}": values for name, values in tuned.post.rows().items()}
    series = tuned.series
    rows |= {
        "contrast_c50": series.contrast.c50,
        "contrast_exponent": series.contrast.exponent,
        "suppression": series.size.suppression,
        "summation_diameter": series.size.summation,
        "surround_diameter": series.size.surround,
        "colour_index": series.colour,
    }
    found.keep(one, rows)
    n, count = int((table["family"] == "gratings").sum()), len(tuned.pre.label)
    oriented = np.isin(tuned.pre.label, ("simple", "complex"))
    states = {str(k): int(v) for k, v in zip(*np.unique(tuned.pre.state, return_counts=True), strict=True)}
    said = f"{count} features: " + ", ".join(f"{v} {k}" for k, v in states.items())
    found.say(one, "share tuned to orientation", oriented.mean(), n, GRATINGS, said,
              "label permutation, false discovery rate .05 over a site's features")  # fmt: skip
    simple = (tuned.pre.label == "simple")[oriented]
    found.say(one, "F1 above F0, share of tuned", simple.mean() if len(simple) else math.nan, n, GRATINGS, said)
    variance = tuned.pre.circular_variance_above[oriented]
    middle = float(np.median(variance)) if len(variance) else math.nan
    found.say(one, "circular variance of tuned, median", middle, n, GRATINGS, said)
    if tuned.unexplained is not None:
        found.say(one, "FVU on gratings", tuned.unexplained, n, GRATINGS, "gratings are unlike what it learnt on")


def phase_locking(
    found: Found, chosen: Sequence[Chosen], table: pd.DataFrame, values: Mapping[str, NDArray], jitter: int
) -> None:
    """How much is left, at every site of a network that cuts images into patches, of what the grid does to gratings."""
    n = int((table["family"] == "gratings").sum())
    for one in (one for one in chosen if one.stage is None):
        locked, chance = characterise.phase_locking(table, values[one.site.name][:, 0])
        found.say(
            one, "locked to the phase of gratings", locked, n, GRATINGS,
            f"patterns displaced by up to {jitter} pixels, each condition its own way",
            "share of the variance of the middle token's distance from its mean that stimulus phase explains over all "
            f"orientations and frequencies: what the patch grid does to all alike; by chance {chance:.3f}",
        )  # fmt: skip
