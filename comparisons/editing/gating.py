"""Dynamic editing: is a latent deleted more in one context than in another?

A deletion that acts always is a slope and no context effect; static damping likewise. So a gate is looked for that all
deleted latents share, and that can be read from the stream:

    s_t = sum_f a_tf r_tf / sum_f a_tf^2      the pooled slope at token t, over latents with beta < 0; r_tf is b_tf
                                              without what the *other* latents explain
    g_t = ridge of s_t on (all latents, x)    the gate as it can be read from the stream, per SD
    b_f ~ mod_f (a_f g) + all latents + x     mod_f > 0: where g is low, f is deleted more

The gate is estimated on half of the stimuli and tested on the other, both ways, and the two mod_f are averaged.
M_fh, the coefficient of a_f g for the write along *another* latent h, says how large mod_f would be for a block that
mixes everything non-linearly (an untrained one).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.editing.slopes import TOKENS_A_LATENT, Array, centred, checked, clustered_se, partial_slopes, varying

NEGATIVE = 1.6448536269514722
"""A latent has a share in the gate if its slope is so many standard errors below 0."""
PENALTIES = 10.0 ** np.arange(-3, 4)
"""Candidate penalties of the gate's ridge, in mean variances."""
CLIP = 3.0
"""Pooled slopes are kept within so many units of their median: a token with little activity has a wild one."""


@dataclass(frozen=True)
class Gating:
    """mod and its standard error of each latent [m], the root mean square of M_fh over h [m], and how well the gate
    predicts the pooled slope of tokens on which it was not estimated (correlation, mean of both halves).

    NaN where a latent is constant in a half, and everywhere where no latent has a negative slope.
    """

    mod: Array
    se: Array
    elsewhere: Array
    predicted: float
    negative: int
    """Latents that shared in the gate (mean of both halves)."""


def shared_gate(
    latents: NDArray, writes: NDArray, x: NDArray, groups: NDArray[np.intp] | None = None, seed: int = 0
) -> Gating:
    """Context effects of latents [n, m] and writes [n, m] (columns as in `partial_slopes`) with the stream x [n, d].

    `groups` [n] names the stimulus of each token: halves are halves of stimuli, drawn with `seed`. Raises InputError
    for arrays that do not fit together or fewer than 20 tokens a latent in a half.
    """
    latents, writes, groups = checked(latents, writes, groups)
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) != len(latents):
        raise InputError(f"x is {list(x.shape)} for {len(latents)} tokens; give the stream at the same tokens, [n, d].")
    count, m = int(groups.max()) + 1, latents.shape[1]
    order = np.random.default_rng(seed).permutation(count)
    first = np.zeros(count, bool)
    first[order[: count // 2]] = True
    halves = [np.flatnonzero(first[groups]), np.flatnonzero(~first[groups])]
    if min(len(half) for half in halves) < TOKENS_A_LATENT * varying(latents).sum():
        raise InputError(
            f"Half of {len(latents)} tokens is fewer than {TOKENS_A_LATENT} for each of {int(varying(latents).sum())} "
            "latents; present more stimuli, or use a smaller dictionary."
        )
    found = []
    for fit, test in (halves, halves[::-1]):
        gate = _fit_gate(latents[fit], writes[fit], x[fit], groups[fit])
        if gate is None:
            nothing = np.full(m, np.nan)
            return Gating(nothing, nothing, nothing, float("nan"), 0)
        found.append(_modulations(latents[test], writes[test], x[test], groups[test], gate))
    (one, se_one, r_one, n_one), (other, se_other, r_other, n_other) = found
    matrix = (one + other) / 2
    elsewhere = np.sqrt(((matrix**2).sum(axis=1) - np.diag(matrix) ** 2) / max(m - 1, 1))
    return Gating(
        np.diag(matrix).copy(),
        np.sqrt(se_one**2 + se_other**2) / 2,
        elsewhere,
        (r_one + r_other) / 2,
        round((n_one + n_other) / 2),
    )


# ------------------------------------------------------------------------------------------------------- the parts


@dataclass(frozen=True)
class _Gate:
    """g = features @ weights, and what the pooled slope is made of."""

    weights: Array
    negative: NDArray[np.bool_]


def _fit_gate(latents: Array, writes: Array, x: Array, groups: NDArray[np.intp]) -> _Gate | None:
    slopes = partial_slopes(latents, writes, groups)
    negative = slopes.beta + NEGATIVE * slopes.se < 0
    if not negative.any():
        return None
    slope, weight = pooled_slope(latents, writes, negative)
    features = np.hstack([latents, x])
    return _Gate(weighted_ridge(features, slope, weight), negative)


def pooled_slope(latents: Array, writes: Array, which: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The pooled slope of each token over some latents that vary, [n], and its weight sum_f a_tf^2, [n].

    r_tf = b_tf minus what the other latents explain = error of the additive fit + beta_f a_tf.
    """
    varies = varying(latents)
    a, b = centred(latents[:, varies]), centred(writes[:, which])
    gram = a.T @ a / len(a)
    gram[np.diag_indices_from(gram)] += 1e-2 * np.trace(gram) / len(gram)
    coefficients = np.linalg.solve(gram, a.T @ b / len(a))
    errors = b - a @ coefficients
    own = np.searchsorted(np.flatnonzero(varies), np.flatnonzero(which))
    beta = coefficients[own, np.arange(len(own))]
    active = latents[:, which]
    weight = (active**2).sum(axis=1)
    safe = np.where(weight > 0, weight, 1.0)
    slope = np.where(weight > 0, (active * (errors + beta * active)).sum(axis=1) / safe, 0.0)
    middle = float(np.median(slope[weight > 0])) if (weight > 0).any() else 0.0
    return np.clip(slope, middle - CLIP, middle + CLIP), weight


def weighted_ridge(features: Array, target: Array, weight: Array) -> Array:
    """Ridge weights [p] of a target [n] on features [n, p], rows weighted [n]; the penalty by generalised
    cross-validation (Golub, Heath & Wahba 1979)."""
    share = weight / weight.sum()
    z = features - share @ features
    y = target - share @ target
    scale = np.sqrt(share @ z**2)
    scale[scale < 1e-9 * max(float(scale.max()), 1e-300)] = np.inf  # constant features count for nothing
    z = z / scale * np.sqrt(share)[:, None]
    y = y * np.sqrt(share)
    values, vectors = np.linalg.eigh(z.T @ z)
    values = np.maximum(values, 0)
    rotated = vectors.T @ (z.T @ y)
    n_effective = weight.sum() ** 2 / (weight**2).sum()
    best, least = None, np.inf
    for penalty in PENALTIES * values.mean():
        shrunk = rotated / (values + penalty)
        left = y @ y - 2 * shrunk @ rotated + (shrunk**2 * values).sum()
        freedom = (values / (values + penalty)).sum() / n_effective
        score = left / (1 - freedom) ** 2 if freedom < 1 else np.inf
        if score < least:
            best, least = shrunk, score
    return (vectors @ best) / scale if best is not None else np.zeros(features.shape[1])


def _modulations(
    latents: Array, writes: Array, x: Array, groups: NDArray[np.intp], gate: _Gate
) -> tuple[Array, Array, float, int]:
    """(M [m, m] with mod on its diagonal, standard errors of mod [m], correlation of the gate with the pooled slope,
    number of latents in the gate), on tokens on which the gate was not estimated."""
    n, m = latents.shape
    g = np.hstack([latents, x]) @ gate.weights
    matrix, se = np.full((m, m), np.nan), np.full(m, np.nan)
    slope, weight = pooled_slope(latents, writes, gate.negative & varying(latents))
    r = _correlation(g, slope, weight)
    if g.std() < 1e-12:
        return matrix, se, 0.0, int(gate.negative.sum())
    g = (g - g.mean()) / g.std()
    varies = varying(latents)
    additive = centred(np.hstack([latents[:, varies], x]))
    gram = additive.T @ additive / n
    gram[np.diag_indices_from(gram)] += 1e-6 * np.trace(gram) / len(gram)
    products = centred(latents * g[:, None])
    b = centred(writes)
    solved = np.linalg.solve(gram, additive.T @ np.hstack([products, b]) / n)
    products -= additive @ solved[:, :m]
    errors = b - additive @ solved[:, m:]
    size = (products**2).mean(axis=0)
    alive = varies & (size > 1e-12 * max(float(size.max()), 1e-300))
    full = products.T @ errors / n
    matrix[alive] = full[alive] / size[alive, None]
    mod = np.diag(matrix)
    influence = products[:, alive] * (errors[:, alive] - products[:, alive] * mod[alive]) / size[alive]
    numbered = np.unique(groups, return_inverse=True)[1].reshape(-1)
    se[alive] = clustered_se(influence, numbered) * np.sqrt(n / max(n - additive.shape[1] - 2, 1))
    return matrix, se, r, int(gate.negative.sum())


def _correlation(g: Array, slope: Array, weight: Array) -> float:
    share = weight / max(float(weight.sum()), 1e-300)
    one, other = g - share @ g, slope - share @ slope
    size = np.sqrt((share @ one**2) * (share @ other**2))
    return float(share @ (one * other) / size) if size > 0 else 0.0
