"""Poisson counts as quantiles: a count depends on its own rate and its own uniform number, and on nothing else.

`numpy.random.Generator.poisson` rejects and draws again, so that a rate that differs in its last digit can shift all
counts after it: two numbers of threads would then see other trials. Here it changes its own count, by one, and seldom.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GRID = 64
"""Steps in the square root of a rate. Rounding adds 1 / (3 GRID^2) of Poisson's variance, .008%, at every rate."""
TABLED = 4096.0
"""Rates above this take Cornish and Fisher's expansion: a table of all their counts would be large."""
LAST = round(GRID * TABLED**0.5)
"""Step of the largest rate in the table."""
GUIDES = 64
"""Where to begin in the table: so many places for every rate."""


def poisson_quantiles(rate: NDArray[np.float32], uniform: NDArray[np.float64]) -> NDArray[np.float32]:
    """The least count whose Poisson distribution function reaches `uniform` in [0, 1), for rates of the same shape,
    rounded to `GRID` below `TABLED`. float32; equal to `scipy.stats.poisson.ppf(uniform, rounded rate)`, at 1% of its
    time; above, a count of a thousand is off by one."""
    high = rate >= TABLED
    steps = np.rint(GRID * np.sqrt(np.where(high, 0, rate))).astype(np.int32)
    cumulated, count, guide = _table(min(1 << int(steps.max(initial=0)).bit_length(), LAST + 1))
    target = (steps + np.minimum(uniform, 1 - 2.0**-40)).ravel()  # nearer to 1 it would round to the next step
    at = guide[(target * GUIDES).astype(np.int32)]
    later = np.flatnonzero(cumulated[at] < target)
    while later.size:
        at[later] += 1
        later = later[cumulated[at[later]] < target[later]]
    found = count[at].reshape(rate.shape)
    if high.any():
        found[high] = _expanded(rate[high].astype(np.float64), uniform[high])
    return found


def _expanded(rate: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of Poisson counts to the third order of Cornish and Fisher (1938), for large rates [n]."""
    from scipy.special import ndtri

    z, spread = ndtri(np.maximum(uniform, 2.0**-54)), np.sqrt(rate)
    return np.maximum(np.ceil(rate + spread * z + (z**2 - 1) / 6 + (z - z**3) / (72 * spread) - 0.5), 0)


@lru_cache(maxsize=8)
def _table(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int32]]:
    """(step + distribution function, count) of the first `rows` steps, one after the other, and where each share
    1 / GUIDES of a step begins. Counts further than nine standard deviations away are left out."""
    from scipy.special import pdtr

    rate = (np.arange(rows) / GRID) ** 2
    low = np.maximum(np.floor(rate - 9 * np.sqrt(rate) - 9), 0)
    length = (np.ceil(rate + 9 * np.sqrt(rate) + 12) - low).astype(np.int64)
    step = np.repeat(np.arange(rows), length)
    count = np.arange(len(step)) - np.repeat(np.cumsum(length) - length, length) + low[step]
    share = pdtr(count, rate[step])
    share[np.cumsum(length) - 1] = 1  # no uniform number is beyond the last count of its step
    cumulated = step + share
    guide = np.searchsorted(cumulated, np.arange(rows * GUIDES) / GUIDES).reshape(rows, GUIDES)
    guide = np.maximum(guide, (np.cumsum(length) - length)[:, None])  # 0 is not the last count of the step before
    return cumulated, count.astype(np.float32), guide.ravel().astype(np.int32)
