"""The variance profile: do the stimuli that make early areas variable make late ones variable? Weak evidence.

It is all that recordings without common trials allow. v_k(s) is the excess of area k's variance for stimulus s over a
Poisson process, by neuroids whose mean counts are matched between areas:

    v_k(s) = sum_i (Var_i(s) - mu_i(s)) / sum_i mu_i(s)^2        (Goris et al. 2014: Var = mu + sG^2 mu^2)
    v_k(s) = a + b1 mu_k + b2 mu_k^2 + sum_{j<k} w_j v_j(s)      w >= 0 (non-negative least squares), a and b free

The statistic is what the w_j add to R2; its null permutes the stimuli of the earlier areas' profiles together. Common
causes (a stimulus to which all areas are uncertain) look the same as inheritance, which is why it never decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.variability.gain import mean_and_variance

Array = NDArray[np.float64]
BINS = 8
"""Bins of log mean count in which areas are matched."""
LEAST_STIMULI = 40
LEAST_NEUROIDS = 10


@dataclass(frozen=True)
class Profile:
    """What earlier areas' profiles add to that of `region`: weights by earlier area, added R2 and its permutation p."""

    region: str
    weights: dict[str, float]
    added: float
    p: float
    neuroids: int
    """Neuroids an area after matching."""


def profiles(
    trials: np.ndarray,
    regions: Sequence[str],
    *,
    order: Sequence[str] | None = None,
    permutations: int = 1000,
    seed: int = 0,
) -> list[Profile]:
    """The profile of every area but the first.

    `trials` [rep, n, neuroid] are counts (they need not be simultaneous), `regions` [neuroid]. Raises InputError for
    one repetition, negative responses, fewer than 40 stimuli, one area, or fewer than 10 neuroids an area once mean
    counts are matched.
    """
    names = tuple(dict.fromkeys(regions)) if order is None else tuple(order)
    areas = np.asarray(regions)
    if len(names) < 2:
        raise InputError(f"There is one area ({', '.join(names)}), and a profile is inherited from another.")
    mean, variance = mean_and_variance(trials)
    if len(mean) < LEAST_STIMULI:
        raise InputError(f"{len(mean)} stimuli are too few for a variance profile; {LEAST_STIMULI} or more are needed.")
    rng = np.random.default_rng(seed)
    chosen = matched(mean, areas, names, rng)
    known = np.isfinite(variance[:, np.concatenate(chosen)]).all(axis=1)
    excess, level = [], []
    for own in chosen:
        mu, var = mean[known][:, own], variance[known][:, own]
        reps = np.isfinite(trials[:, known][:, :, own]).sum(axis=0)
        square = np.maximum((mu**2 - var / reps).sum(axis=1), 1e-12)
        excess.append((var - mu).sum(axis=1) / square)
        level.append(mu.mean(axis=1))
    found = []
    for k in range(1, len(names)):
        v, mu = excess[k], level[k]
        base = np.stack([np.ones_like(mu), mu, mu**2], axis=1)
        q = np.linalg.qr(base)[0]
        y = v - q @ (q.T @ v)
        upstream = np.stack(excess[:k], axis=1)
        weights, added = inherited(upstream, y, q)
        null = [inherited(upstream[rng.permutation(len(y))], y, q)[1] for _ in range(permutations)]
        p = (1 + sum(value >= added for value in null)) / (1 + permutations)
        found.append(Profile(names[k], dict(zip(names[:k], weights.tolist(), strict=True)), added, p, len(chosen[k])))
    return found


def inherited(upstream: Array, y: Array, q: Array) -> tuple[Array, float]:
    """(w >= 0 [area], share of the variance of y that they explain) of y [n] on profiles [n, area], both freed of the
    orthonormal columns q."""
    from scipy.optimize import nnls

    x = upstream - q @ (q.T @ upstream)
    weights, rest = nnls(x, y)
    total = float(y @ y)
    return weights, 1 - rest**2 / total if total > 0 else 0.0


def matched(
    mean: Array, areas: NDArray[np.str_], names: Sequence[str], rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Neuroids of each area such that the distribution of mean counts is the same in all (Churchland et al. 2010):
    of every bin of log mean count, as many as the area with the fewest has. Raises InputError for what is too few."""
    level = np.nanmean(mean, axis=0)
    live = level > 0
    edges = np.quantile(np.log(level[live & np.isin(areas, list(names))]), np.linspace(0, 1, BINS + 1))
    place = np.clip(np.searchsorted(edges, np.log(np.where(live, level, 1)), side="right") - 1, 0, BINS - 1)
    members = [[np.flatnonzero((areas == name) & live & (place == bin)) for bin in range(BINS)] for name in names]
    common = [min(len(of[bin]) for of in members) for bin in range(BINS)]
    if sum(common) < LEAST_NEUROIDS:
        raise InputError(
            f"After matching mean counts, {sum(common)} neuroids are left in each of {', '.join(names)}; a variance "
            f"profile needs {LEAST_NEUROIDS} or more."
        )
    return [
        np.sort(np.concatenate([rng.permutation(own)[:count] for own, count in zip(of, common, strict=True)]))
        for of in members
    ]
