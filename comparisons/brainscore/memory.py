"""How much memory a score will take, known before it is computed, and what becomes of features that would take more.

What is predicted is the peak above what the process holds already. Brain-Score's factors are those of its own
`benchmark_helpers.memory` (measured there on its benchmarks), on top of the features that it is handed; ours are
counted from the arrays that `encoding` and `rdms` hold at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bridge.errors import InputError

GIB = 2**30
FACTORS = {"pls": 7, "reverse pls": 7, "ridge": 6, "ridgecv": 6, "rdm": 3}
"""Brain-Score's peak as a multiple of the features in float32; 6 for all that is not listed."""
SQUARES = {"rdm": 6}
"""How many float64 matrices [n, n] ours holds at once; 5 for all that is not listed."""
Over = Literal["stop", "mean", "max", "select"]


@dataclass(frozen=True)
class Demand:
    """Bytes that scores of n stimuli need: `fixed` + `each` times the number of features."""

    fixed: float
    each: float

    def bytes(self, features: int) -> float:
        """Bytes for so many features."""
        return self.fixed + self.each * features

    def most(self, limit: float) -> int:
        """The greatest number of features that stays under a limit in bytes; 0 for none."""
        return max(0, math.floor((limit - self.fixed) / self.each))


def demand(n: int, methods: Sequence[str], theirs: bool, bins: int = 1) -> Demand:
    """What one site of n stimuli needs, scored by all `methods` one after the other, by Brain-Score's classes as well
    where `theirs`, which repeats features for each of `bins` time bins.

    Ours holds the features once in float32 (twice for maps with fewer features than stimuli, once more in float64) and
    some matrices [n, n]. Brain-Score is handed them once more, and takes its factor of that.
    """
    squares = max(SQUARES.get(method, 5) for method in methods)
    ours = 4 * n + (8 * n if "neuron-to-neuron" in methods or "reverse pls" in methods else 0)
    more = max(FACTORS.get(method, 6) for method in methods) if theirs else 0
    return Demand(8 * n * n * squares + 2**27, ours + (4 * n * (1 + more) * bins if theirs else 0))


@dataclass(frozen=True)
class Fitted:
    """What becomes of a model's features so that they stay under the limit: the same for all its sites."""

    pool: str
    keep: int | None
    """Features to keep of each site that has more, chosen on other images; None for all."""
    bytes: float
    """Predicted peak at the largest site."""
    told: str
    """What was done, in words; empty for nothing."""


def fitted(sizes: Mapping[str, tuple[int, int]], n: int, need: Demand, limit: float, pool: str, over: Over) -> Fitted:
    """How sites of (tokens, d) features are brought under `limit` bytes, n stimuli each.

    All sites are treated alike, so that they can be compared. Raises InputError where `over` says to stop, or where
    what it says is not enough.
    """

    def largest(kind: str) -> tuple[str, int]:
        counts = {site: d if kind in ("mean", "max") else tokens * d for site, (tokens, d) in sizes.items()}
        site = max(counts, key=lambda name: counts[name])
        return site, counts[site]

    site, count = largest(pool)
    whole = need.bytes(count)
    if whole <= limit:
        return Fitted(pool, None, whole, "")
    said = (
        f"{n} stimuli x {count} features of {site} would take {whole / GIB:.1f} GiB, more than the limit of "
        f"{limit / GIB:.1f} GiB (`memory`)"
    )
    if over == "select" and (keep := need.most(limit)):
        told = f"the {keep} features with the greatest variance over other images were kept of sites with more ({said})"
        return Fitted(pool, keep, need.bytes(keep), told)
    if over in ("mean", "max") and pool == "none" and (pooled := need.bytes(largest(over)[1])) <= limit:
        return Fitted(over, None, pooled, f"tokens were pooled by their {over} ({said})")
    raise InputError(
        f"{said}; give more memory, fewer tokens (`capture: {{tokens: 16}}`), pool: mean, or over: select with "
        "`selection` images."
    )
