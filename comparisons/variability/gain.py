"""How variable neuroids are from trial to trial: Fano factors, and the variance of their gain (Goris et al. 2014).

A modulated Poisson process, whose rate is multiplied by a gain of mean 1 and variance sG^2, has

    Var = mu + sG^2 mu^2        (Goris, Movshon & Simoncelli 2014, Nat. Neurosci. 17, eq. 3)

so that a Poisson process (sG^2 = 0, Fano factor 1) is its lower end. With a gamma gain the counts are negative
binomial, and sG^2 has a likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]
SEARCHED = np.concatenate([[0.0], np.logspace(-3, 1, 81)])
"""Values of sG^2 among which the likelihood is searched before it is interpolated."""


@dataclass(frozen=True)
class Variability:
    """`fano` and `gain_variance` [neuroid], NaN for neuroids that cannot be judged (silent, or never shown twice)."""

    fano: Array
    gain_variance: Array


def mean_and_variance(trials: np.ndarray) -> tuple[Array, Array]:
    """Mean and unbiased variance over repetitions of trials [rep, n, neuroid], [n, neuroid] each; the variance is NaN
    where a stimulus was shown once. Raises InputError for one repetition, or responses that are no counts or rates."""
    y = np.asarray(trials, np.float64)
    if y.ndim != 3 or len(y) < 2:
        raise InputError(f"Variability is what differs between repetitions; trials of shape {list(y.shape)} have none.")
    if np.nanmin(y) < 0:
        raise InputError("Fano factors are of counts, and these responses are negative somewhere (normalised ones).")
    shown = np.isfinite(y)
    reps = shown.sum(axis=0)
    mean = np.divide(np.where(shown, y, 0).sum(axis=0), reps, out=np.full(reps.shape, np.nan), where=reps > 0)
    squares = np.where(shown, (y - mean) ** 2, 0).sum(axis=0)
    return mean, np.divide(squares, reps - 1, out=np.full(reps.shape, np.nan), where=reps > 1)


def variability(trials: np.ndarray) -> Variability:
    """Fano factor and gain variance of every neuroid by moments, over the stimuli with two repetitions or more.

    fano = sum_s Var_s / sum_s mu_s. gain_variance solves sum_s [Var_s - mu_s - sG^2 m2_s] = 0, in which m2_s is the
    unbiased square of the mean, mu_s^2 - Var_s / R_s; it may be below 0.
    """
    mean, variance = mean_and_variance(trials)
    reps = np.isfinite(trials).sum(axis=0)
    known = np.isfinite(variance)
    square = np.where(known, mean**2 - variance / np.maximum(reps, 1), 0).sum(axis=0)
    mu, var = (np.where(known, values, 0).sum(axis=0) for values in (mean, variance))
    fano = np.divide(var, mu, out=np.full(mu.shape, np.nan), where=mu > 0)
    excess = np.divide(var - mu, square, out=np.full(mu.shape, np.nan), where=square > 0)
    return Variability(fano, excess)


def likely_gain_variance(counts: np.ndarray) -> Array:
    """sG^2 of every neuroid that makes its counts [rep, n, neuroid] most likely, [neuroid], with the rate of each
    stimulus at its mean count (as Goris et al. fit it); NaN for silent neuroids.

    The log likelihood of negative binomial counts k of mean mu and r = 1 / sG^2,
    sum ln Gamma(k + r) - ln Gamma(r) - ln k! + r ln(r / (r + mu)) + k ln(mu / (r + mu)), is evaluated on `SEARCHED` and
    interpolated by a parabola. With few repetitions it is biased downwards, because the rates were fitted to the same
    counts. Raises InputError for values that are no counts.
    """
    from scipy.special import gammaln

    mean, _ = mean_and_variance(counts)
    y = np.asarray(counts, np.float64)
    shown = np.isfinite(y)
    whole = np.where(shown, y, 0)
    if (whole != np.round(whole)).any():
        raise InputError("The likelihood of a gain is that of spike counts, and these responses are not whole numbers.")
    k = whole.astype(np.intp)
    log_mean = np.log(np.where(mean > 0, mean, 1))
    totals = [np.bincount(k[:, :, i][shown[:, :, i]], minlength=int(k.max()) + 1) for i in range(k.shape[2])]
    histogram = np.stack(totals)  # [neuroid, count]: ln Gamma(k + r) needs no more
    numbers = np.arange(histogram.shape[1])
    trials_shown = shown.sum(axis=0)
    spikes = whole.sum(axis=0)
    found = []
    for variance in SEARCHED:
        if variance == 0:
            found.append(
                (spikes * log_mean - trials_shown * np.nan_to_num(mean)).sum(axis=0) - histogram @ gammaln(numbers + 1)
            )
            continue
        r = 1 / variance
        rate = np.nan_to_num(mean)
        per_count = gammaln(numbers + r) - gammaln(r) - gammaln(numbers + 1)
        terms = trials_shown * r * np.log(r / (r + rate)) + spikes * (log_mean - np.log(r + rate))
        found.append(histogram @ per_count + terms.sum(axis=0))
    likelihood = np.stack(found)
    best = likelihood.argmax(axis=0)
    inside = np.clip(best, 2, len(SEARCHED) - 2)
    each = np.arange(likelihood.shape[1])
    low, middle, high = (likelihood[inside + step, each] for step in (-1, 0, 1))
    curve = low - 2 * middle + high
    step = np.where(curve < 0, (low - high) / (2 * np.where(curve < 0, curve, -1)), 0)
    logs = np.log(SEARCHED[1:])
    fine = np.exp(logs[inside - 1] + np.clip(step, -1, 1) * (logs[1] - logs[0]))
    fine = np.where(best == inside, fine, SEARCHED[best])
    return np.where(spikes.sum(axis=0) > 0, fine, np.nan)
