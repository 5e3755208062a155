"""Corrections of p-values for many tests: the false discovery rate and the familywise error.

NaN stands for a test that could not be made: it stays NaN and does not count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


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
