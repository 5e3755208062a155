"""Dynamic editing: is a latent deleted more in one context than in another?

A deletion that acts always is a slope and no context effect; static damping likewise. So a gate is looked for that all
deleted latents share, and that can be read from the stream:

    s_t = sum_f a_tf r_tf / sum_f a_tf^2      the pooled slope at token t, over latents with beta < 0; r_tf is b_tf
                                              without what the *other* latents explain
    g_t = ridge of s_t on (all latents, x)    the gate as it can be read from the stream, per SD
    b_f ~ mod_f (a_f g) + all latents + x + a_f^2     mod_f > 0: where g is low, f is deleted more

(a_f^2 because a deletion that grows with the latent's own activation is no context: large sums of latents predict it.)
The gate is estimated on half of the stimuli and tested on the other, both ways, and the two mod_f are averaged.
M_fh, the coefficient of a_f g for the write along *another* latent h, says how large mod_f would be for a block that
mixes everything non-linearly (an untrained one).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.editing.slopes import (
    TOKENS_A_LATENT,
    Array,
    Fit,
    Regression,
    centred,
    checked,
    clustered_se,
    fitting,
    floating,
    varying,
)

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
    return Gates(latents, x, groups, seed).measure(writes)


class Gates:
    """Latents [n, m] and stream [n, d] in which gates are looked for: what does not depend on the writes is computed
    once, for both halves of the stimuli."""

    def __init__(self, latents: NDArray, x: NDArray, groups: NDArray[np.intp] | None = None, seed: int = 0):
        """Raises InputError as `shared_gate` does."""
        self.latents, groups = checked(latents, groups)
        x = np.asarray(x, self.latents.dtype)
        if x.ndim != 2 or len(x) != len(self.latents):
            raise InputError(
                f"x is {list(x.shape)} for {len(self.latents)} tokens; give the stream at the same tokens, [n, d]."
            )
        count = int(groups.max()) + 1
        order = np.random.default_rng(seed).permutation(count)
        first = np.zeros(count, bool)
        first[order[: count // 2]] = True
        rows = [np.flatnonzero(first[groups]), np.flatnonzero(~first[groups])]
        vary = int(varying(self.latents).sum())
        if min(len(half) for half in rows) < TOKENS_A_LATENT * vary:
            raise InputError(
                f"Half of {len(self.latents)} tokens is fewer than {TOKENS_A_LATENT} for each of {vary} latents; "
                "present more stimuli, or use a smaller dictionary."
            )
        self.rows = rows
        self.halves = [_Half(self.latents[half], x[half], groups[half]) for half in rows]

    def measure(self, writes: NDArray) -> Gating:
        """Context effects of writes [n, m]. Raises InputError for writes of another shape."""
        writes = fitting(writes, self.latents)
        m, found = writes.shape[1], []
        for fit, test in ((0, 1), (1, 0)):
            gate = self.halves[fit].gate(writes[self.rows[fit]])
            if gate is None:
                nothing = np.full(m, np.nan)
                return Gating(nothing, nothing, nothing, float("nan"), 0)
            found.append((*self.halves[test].modulations(writes[self.rows[test]], gate), int(gate.negative.sum())))
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
    """g = [latents, x] @ weights, and the latents whose slopes it is made of, bool [m]."""

    weights: Array
    negative: NDArray[np.bool_]


class _Half:
    """Half of the stimuli: a gate is estimated on it, or tested."""

    def __init__(self, latents: Array, x: Array, groups: NDArray[np.intp]):
        self.regression = Regression(latents, groups)
        self.latents, self.groups, self.varies = latents, self.regression.groups, self.regression.varies
        self.features = np.hstack([latents, x])
        self.additive = centred(np.hstack([latents[:, self.varies], x]))
        gram = (self.additive.T @ self.additive).astype(np.float64) / len(latents)
        gram[np.diag_indices_from(gram)] += 1e-6 * np.trace(gram) / len(gram)
        self.inverse = np.linalg.inv(gram)
        squares = centred(latents[:, self.varies] ** 2)
        self.curved = squares - self.additive @ (self.inverse @ (self.additive.T @ squares / len(latents))).astype(
            x.dtype
        )
        size = (self.curved**2).mean(axis=0)
        # Of latents that are active at one level, the square is the activation itself.
        self.curved[:, size < 1e-6 * (squares**2).mean(axis=0)] = 0
        self.curved_size = np.einsum("nv,nv->v", self.curved, self.curved)

    def gate(self, writes: Array) -> _Gate | None:
        """The gate that this half's writes show; None where no latent has a negative slope."""
        fit = self.regression.fit(writes)
        with np.errstate(invalid="ignore"):
            negative = fit.slopes.beta + NEGATIVE * fit.slopes.se < 0
        if not negative.any():
            return None
        slope, weight = self._pooled(fit, negative)
        return _Gate(weighted_ridge(self.features, slope, weight), negative)

    def _pooled(self, fit: Fit, which: NDArray[np.bool_]) -> tuple[Array, Array]:
        place = which[self.varies]
        return pooled_slope(self.latents[:, which], fit.errors[:, place], fit.own[place])

    def _straight(self, values: Array) -> Array:
        """Columns [n, v] without what each latent's own square explains of its column."""
        share = np.einsum("nv,nv->v", self.curved, values) / np.where(self.curved_size > 0, self.curved_size, 1)
        return values - self.curved * share

    def modulations(self, writes: Array, gate: _Gate) -> tuple[Array, Array, float]:
        """(M [m, m] with mod on its diagonal, standard errors of mod [m], correlation of the gate with the pooled
        slope), for a gate that was estimated on the other half."""
        n, m = self.latents.shape
        g = self.features @ gate.weights.astype(self.features.dtype)
        matrix, se = np.full((m, m), np.nan), np.full(m, np.nan)
        if g.std() < 1e-12:
            return matrix, se, 0.0
        g = (g - g.mean()) / g.std()
        both = np.empty((n, 2 * m), self.latents.dtype)
        products, errors = both[:, :m], both[:, m:]
        np.multiply(self.latents, g[:, None], out=products)
        errors[:] = writes
        both -= both.mean(axis=0)
        solved = self.inverse @ (self.additive.T @ both / n)
        both -= self.additive @ solved.astype(both.dtype)
        vary = slice(None) if self.varies.all() else self.varies  # a slice is a view, a mask a copy
        products[:, vary] = self._straight(products[:, vary])
        size = (products**2).mean(axis=0).astype(np.float64)
        alive = self.varies & (size > 1e-12 * max(float(size.max()), 1e-300))
        matrix[alive] = (products.T @ errors)[alive] / n / size[alive, None]
        mod = np.diag(matrix)
        own_errors = errors.copy()
        own_errors[:, vary] = self._straight(errors[:, vary])
        each = slice(None) if alive.all() else alive
        influence = own_errors[:, each] - products[:, each] * mod[each].astype(both.dtype)
        influence *= products[:, each]
        spread = clustered_se(influence, self.groups) / size[alive]
        se[alive] = spread * np.sqrt(n / max(n - self.additive.shape[1] - 2, 1))
        which = gate.negative & self.varies
        own = solved[np.cumsum(self.varies)[which] - 1, m + np.flatnonzero(which)]
        slope, weight = pooled_slope(self.latents[:, which], errors[:, which], own)
        return matrix, se, _correlation(floating(g), slope, weight)


def pooled_slope(active: Array, errors: Array, own: Array) -> tuple[Array, Array]:
    """The pooled slope of each token over some latents, [n], and its weight sum_f a_tf^2, [n].

    From their activations [n, k], the errors of their writes' additive fit [n, k] and their own coefficients in it [k]:
    r_tf = b_tf minus what the other latents explain = error + own_f a_tf.
    """
    weight = (active**2).sum(axis=1).astype(np.float64)
    safe = np.where(weight > 0, weight, 1.0)
    slope = np.where(weight > 0, (active * (errors + own.astype(active.dtype) * active)).sum(axis=1) / safe, 0.0)
    middle = float(np.median(slope[weight > 0])) if (weight > 0).any() else 0.0
    return np.clip(slope, middle - CLIP, middle + CLIP), weight


def weighted_ridge(features: Array, target: Array, weight: Array) -> Array:
    """Ridge weights [p] of a target [n] on features [n, p], rows weighted [n]; the penalty by generalised
    cross-validation (Golub, Heath & Wahba 1979)."""
    share = weight / weight.sum()
    z = features - (share @ features).astype(features.dtype)
    y = target - share @ target
    scale = np.sqrt(share @ z**2)
    scale[scale < 1e-9 * max(float(scale.max()), 1e-300)] = np.inf  # constant features count for nothing
    z *= (1 / scale).astype(z.dtype)
    z *= np.sqrt(share)[:, None].astype(z.dtype)
    y = y * np.sqrt(share)
    values, vectors = np.linalg.eigh((z.T @ z).astype(np.float64))
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


def _correlation(g: Array, slope: Array, weight: Array) -> float:
    share = weight / max(float(weight.sum()), 1e-300)
    one, other = g - share @ g, slope - share @ slope
    size = np.sqrt((share @ one**2) * (share @ other**2))
    return float(share @ (one * other) / size) if size > 0 else 0.0
