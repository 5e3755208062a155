"""Edit slopes: how much of each latent a block's write takes away again.

    x_k = x_{k-1} + Delta_k,     a_f = latent f of a dictionary of x_{k-1},     b_f = d_f' (Delta_k - mean)
    b_f = beta_f a_f + sum_{h != f} gamma_hf a_h + constant + error

beta_f = -1: f is deleted, (-1, 0): in part, 0: kept, > 0: amplified. The regression is partial, on all latents at once:
marginal slopes blur what happens to correlated latents (`marginal_slopes` is here to show that). The dictionary must
have been trained on other tokens than those that are given here.

A dictionary's errors change the size of slopes. Of planted deletions (SIMULATED, validation.planted_editing)
it found, as medians over features: 1.1 of the true slope with decoder directions at cosine .9 and sparse codes (a bit
shrunk), .9 at cosine .7; with codes of one step (top k of the projections) .7 and .6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]
TOKENS_A_LATENT = 20
"""Tokens that a partial regression needs for each latent."""
RIDGE = 1e-2
"""The penalty, in mean variances of the latents; what it shrinks is put back (see `partial_slopes`)."""
NEVER = 1e-12
"""A latent whose variance is below this share of the largest is constant: it has no slope."""


@dataclass(frozen=True)
class Slopes:
    """beta and its standard error of each latent, [m] (NaN for constant latents), and the tokens at which it is
    active, [m]."""

    beta: Array
    se: Array
    active: NDArray[np.intp]
    tokens: int


def partial_slopes(
    latents: NDArray, writes: NDArray, groups: NDArray[np.intp] | None = None, ridge: float = RIDGE
) -> Slopes:
    """Partial slopes of writes b [n, m] on latents a [n, m], column f on column f given all others.

    Ridge, corrected for its bias (Buehlmann 2013, Bernoulli 19, eq. 2.5): with S = A'A / n, P = (S + l I)^-1 S and the
    ridge coefficients C, beta_f = (C_ff - sum_{h != f} P_fh C_hf) / P_ff. Standard errors are robust and clustered by
    `groups` [n] (the tokens of one stimulus are not independent); every token is its own group where left out. Arrays
    of float32 are computed in float32. Memory: three arrays like `latents`.

    Raises InputError for arrays that do not fit together, hold no finite numbers, or have fewer than 20 tokens for
    each latent that varies.
    """
    return Regression(latents, groups, ridge).fit(writes).slopes


@dataclass(frozen=True)
class Fit:
    """What writes [n, m] say on the latents of a `Regression`: their slopes, the own coefficient of each latent that
    varies [v], and what the latents leave of the writes along those [n, v]."""

    slopes: Slopes
    own: Array
    errors: Array


class Regression:
    """Latents [n, m] on which writes are regressed: what does not depend on the writes is computed once."""

    def __init__(self, latents: NDArray, groups: NDArray[np.intp] | None = None, ridge: float = RIDGE):
        """Raises InputError as `partial_slopes` does."""
        self.latents, self.groups = checked(latents, groups)
        self.varies = varying(self.latents)
        n, v = len(self.latents), int(self.varies.sum())
        if n < TOKENS_A_LATENT * v:
            raise InputError(
                f"{n} tokens were given for {v} latents that vary; partial slopes need {TOKENS_A_LATENT} tokens a "
                "latent: present more stimuli, or use a smaller dictionary."
            )
        self.a = centred(self.latents[:, self.varies])
        self.inverse, gram = _inverse(self.a, ridge)
        self.shrunk = self.inverse @ gram
        self.residuals = self.a @ self.inverse.astype(self.a.dtype)
        """Each latent without what the others explain of it, up to a factor."""

    def fit(self, writes: NDArray) -> Fit:
        """The slopes of writes [n, m]. Raises InputError for writes of another shape or that are not finite."""
        writes = fitting(writes, self.latents)
        n, m = self.latents.shape
        b = centred(writes[:, self.varies])
        coefficients = self.inverse @ (self.a.T @ b / n)
        kept = np.diag(self.shrunk)
        leaks = np.einsum("fh,hf->f", self.shrunk, coefficients) - kept * np.diag(coefficients)
        beta, se = np.full(m, np.nan), np.full(m, np.nan)
        beta[self.varies] = (np.diag(coefficients) - leaks) / kept
        errors = b - self.a @ coefficients.astype(self.a.dtype)
        spread = clustered_se(self.residuals * errors, self.groups) / kept
        se[self.varies] = spread * np.sqrt(n / max(n - len(kept) - 1, 1))
        slopes = Slopes(beta, se, (self.latents != 0).sum(axis=0), n)
        return Fit(slopes, np.diag(coefficients).copy(), errors)


def marginal_slopes(latents: NDArray, writes: NDArray, groups: NDArray[np.intp] | None = None) -> Slopes:
    """Slopes of b_f on a_f alone. Naive: correlated latents are blamed for each other. See `partial_slopes`."""
    latents, groups = checked(latents, groups)
    writes = fitting(writes, latents)
    varies = varying(latents)
    n, m = latents.shape
    a, b = centred(latents[:, varies]), centred(writes[:, varies])
    variance = (a**2).mean(axis=0)
    beta, se = np.full(m, np.nan), np.full(m, np.nan)
    beta[varies] = (a * b).mean(axis=0) / variance
    se[varies] = clustered_se(a * (b - a * beta[varies]) / variance, groups)
    return Slopes(beta, se, (latents != 0).sum(axis=0), n)


# ------------------------------------------------------------------------------------------------------- the parts


def checked(latents: NDArray, groups: NDArray | None) -> tuple[Array, NDArray[np.intp]]:
    """Latents in double precision (float32 stays), groups numbered from 0. Raises InputError where they do not fit."""
    latents = floating(latents)
    if latents.ndim != 2 or len(latents) < 2:
        raise InputError(f"Latents {list(latents.shape)} were given; expected [tokens, latents], two tokens or more.")
    if not np.isfinite(latents).all():
        raise InputError("Latents hold values that are not finite; leave out the stimuli they come from.")
    numbered = np.arange(len(latents)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    if len(numbered) != len(latents):
        raise InputError(f"{len(numbered)} groups were given for {len(latents)} tokens; give one for each.")
    return latents, numbered


def fitting(writes: NDArray, latents: Array) -> Array:
    """Writes in the precision of the latents that they fit. Raises InputError where they do not."""
    writes = np.asarray(writes, latents.dtype)
    if latents.shape != writes.shape:
        raise InputError(
            f"Latents {list(latents.shape)} and writes {list(writes.shape)} were given; expected two arrays [tokens, "
            "latents] of one shape: column f of the writes is the write along latent f."
        )
    if not np.isfinite(writes).all():
        raise InputError("Writes hold values that are not finite; leave out the stimuli they come from.")
    return writes


def floating(values: NDArray) -> Array:
    """Values in double precision, unless they are float32."""
    values = np.asarray(values)
    return values if values.dtype == np.float32 else values.astype(np.float64)


def varying(latents: Array) -> NDArray[np.bool_]:
    """Which columns vary, bool [m]."""
    variance = latents.var(axis=0)
    return variance > NEVER * max(float(variance.max(initial=0.0)), 1e-300)


def centred(values: Array) -> Array:
    """Columns minus their means."""
    return values - values.mean(axis=0)


def clustered_se(influence: Array, groups: NDArray[np.intp]) -> Array:
    """The standard error of a mean of influences [n, m], whose sums over groups [n] (from 0) are independent: [m]."""
    sums = group_sums(influence, groups)
    count = len(sums)
    return np.sqrt((sums**2).sum(axis=0) * count / max(count - 1, 1)) / len(influence)


def group_sums(values: Array, groups: NDArray[np.intp]) -> Array:
    """Sums over the rows of each group, [groups, m]."""
    from scipy.sparse import csr_array

    n = len(groups)
    picks = csr_array((np.ones(n), groups, np.arange(n + 1)), shape=(n, int(groups.max()) + 1))
    return np.asarray(picks.T @ values)


def _inverse(a: Array, ridge: float) -> tuple[Array, Array]:
    """((S + l I)^-1, S) in double precision for S = A'A / n and l = ridge x the mean variance."""
    from scipy.linalg import cho_factor, cho_solve

    gram = (a.T @ a).astype(np.float64) / len(a)
    penalty = ridge * float(np.trace(gram)) / max(len(gram), 1)
    eye = np.eye(len(gram))
    return cho_solve(cho_factor(gram + penalty * eye), eye), gram
