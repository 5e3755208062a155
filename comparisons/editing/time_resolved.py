"""P3 in recordings with time bins: is what is simple there early, and gone late?

    contrast = (phi_S,late - phi_S,early) / (phi_S,late + phi_S,early) - the same of C

with phi the unique shares of simple and of complex features (comparisons.encoding.unique_variance). No logarithms: phi
can be 0 or less. Spikes do not tell whether an input was cancelled by inhibition or never came, so the answer is at
most "consistent", never SUPPORTED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]
EARLY, LATE = (70.0, 100.0), (150.0, 200.0)
"""Milliseconds after stimulus onset. Fixed before any recording was opened."""
MARGIN = 0.1
"""A contrast within +-.1 (two one-sided tests) counts as none."""


@dataclass(frozen=True)
class TimeContrast:
    """The contrast, its bootstrap draws without those that are undefined, and their share among all draws."""

    estimate: float
    draws: Array
    undefined: float

    @property
    def answer(self) -> Literal["consistent", "not consistent", "undecided"]:
        """`consistent` with editing: the 95% interval lies below 0. `not consistent`: it lies above 0, or the 90%
        interval within +-.1. A contrast that a twentieth of the draws leaves undefined is `undecided`."""
        if len(self.draws) < 100 or self.undefined > 0.05 or not np.isfinite(self.estimate):
            return "undecided"
        low, low_one, high_one, high = np.quantile(self.draws, [0.025, 0.05, 0.95, 0.975])
        if high < 0:
            return "consistent"
        return "not consistent" if low > 0 or max(-low_one, high_one) < MARGIN else "undecided"


def time_contrast(
    simple: tuple[float, float], complex_: tuple[float, float], draws: tuple[Array, Array, Array, Array]
) -> TimeContrast:
    """The contrast of (early, late) phi of simple and of complex features.

    `draws` are bootstrap draws of the four (simple early, simple late, complex early, complex late), [draw] each, of
    the same stimuli and neuroids in every draw. Raises InputError for draws of different number.
    """
    if len({len(one) for one in draws}) > 1:
        raise InputError("The four bootstraps differ in their number of draws; make them with one seed and number.")
    found = _difference(draws[0], draws[1]) - _difference(draws[2], draws[3])
    known = found[np.isfinite(found)]
    estimate = _difference(*map(np.asarray, simple)) - _difference(*map(np.asarray, complex_))
    undefined = 1 - len(known) / len(found) if len(found) else 1.0
    return TimeContrast(float(estimate), known, undefined)


def _difference(early: Array, late: Array) -> Array:
    total = np.asarray(early + late, np.float64)
    return np.divide(late - early, total, out=np.full(total.shape, np.nan), where=total > 0)


def suppression_slopes(early: NDArray, late: NDArray, seed: int = 0) -> Array:
    """Slope of late - early on early responses of each neuroid over stimuli, from trials [rep, n, neuroid]: [neuroid].

    Cross-fitted: early responses of one half of the repetitions, differences of the other, both ways, so that noise
    which the two share does not make a slope: Cov(early_1, late_2 - early_2) / Cov(early_1, early_2). -1: what was
    there early is gone, 0: it stays. NaN where early responses do not repeat. Raises InputError for one repetition.
    """
    early, late = np.asarray(early, np.float64), np.asarray(late, np.float64)
    if early.shape != late.shape or early.ndim != 3 or len(early) < 2:
        raise InputError(
            f"Early trials {list(early.shape)}, late ones {list(late.shape)}: give two arrays [rep, n, neuroid] of one "
            "shape with at least two repetitions."
        )
    order = np.random.default_rng(seed).permutation(len(early))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    means = [(early[half].mean(axis=0), late[half].mean(axis=0)) for half in halves]
    top = bottom = np.zeros(early.shape[2])
    for (one, _), (other, other_late) in (means, means[::-1]):
        centred = one - one.mean(axis=0)
        top = top + (centred * (other_late - other)).sum(axis=0)
        bottom = bottom + (centred * other).sum(axis=0)
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
