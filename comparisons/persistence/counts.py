"""Spike counts as P1's statistics read them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def are_counts(trials: np.ndarray) -> bool:
    """Whether responses are spike counts: whole numbers, none of them negative; NaN stands for what was not shown."""
    known = trials[np.isfinite(trials)]
    return known.size > 0 and known.min() >= 0 and bool((known == np.round(known)).all())


def log_counts(trials: np.ndarray) -> NDArray[np.float64]:
    """log(count + 1/2) of spike counts, trial by trial; other responses (rates, normalised ones) as they are.

    Rates are products: a drive that is exponentiated, times a gain (Goris et al. 2014). In logarithms they are sums,
    which linear maps can take apart; maps of raw counts spend their variance on the few largest. In development, square
    roots left products of complex features in phi (a hierarchy's phi .03 where its truth is 0), raw counts halved D.
    Simulated neuroids have exponential rates by construction, which flatters logarithms.
    """
    values = np.asarray(trials, np.float64)
    return np.log(values + 0.5) if are_counts(values) else values
