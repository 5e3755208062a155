"""Bootstrap counts, sign flips, and p-values corrected for many tests: false discovery rate, familywise error.

NaN stands for a test that could not be made: it stays NaN and does not count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def bootstrap_counts(rng: np.random.Generator, n: int, draws: int) -> np.ndarray:
    """How often each of n things stands in each draw of n with replacement, float64 [draws, n].

    Multinomial counts, by counting what was drawn: ten times as fast as numpy's multinomial.
    """
    drawn = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)


def sign_flips(differences: np.ndarray, *, draws: int = 10_000, seed: int = 0) -> np.ndarray:
    """Two-sided p that the mean over the last axis of `differences` [..., s] is zero, [...].

    Exact where differences are symmetric about zero under the null, as those of exchangeable conditions are: all 2^s
    signs up to 13, else `draws` of them with the given signs as one. With fewer than 6 it cannot fall below .05.
    """
    s = differences.shape[-1]
    if 2**s <= draws:
        signs = 1 - 2 * ((np.arange(2**s)[:, None] >> np.arange(s)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], (draws, s))
        signs[0] = 1
    means = np.abs(differences @ signs.T)
    # Flips that reproduce the mean differ from it by rounding only: they count as reaching it.
    least = np.abs(differences.sum(axis=-1)) - 1e-12 * np.abs(differences).sum(axis=-1)
    return np.where(np.isnan(differences).any(axis=-1), np.nan, (means >= least[..., None]).mean(axis=-1))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """p-values adjusted so that rejecting those below q keeps the false discovery rate below q, same shape.

    Benjamini & Hochberg 1995; equal to `scipy.stats.false_discovery_control`. Valid for independent and for positively
    dependent tests, as those of models on one data set are.
    """
    from scipy.stats import false_discovery_control

    return _of_known(p, lambda known: false_discovery_control(known, method="bh"))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted so that rejecting those below q keeps the chance of any false rejection below q, same shape.

    Holm 1979; valid under any dependence and never weaker than Bonferroni.
    """

    def adjusted(known: np.ndarray) -> np.ndarray:
        order = np.argsort(known)
        raised = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1))
        out = np.empty_like(known)
        out[order] = np.minimum(raised, 1)
        return out

    return _of_known(p, adjusted)


def _of_known(p: np.ndarray, adjust: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    p = np.asarray(p, dtype=np.float64)
    out = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        out[known] = adjust(p[known])
    return out
