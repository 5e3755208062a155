"""The split-population tetrad: what areas j and k share from trial to trial beyond what area k-1 shares with both.

With k-1 split into halves A and B, S the covariances of trial residuals and ()^+_r the pseudo-inverse of rank r,

    R = S_jk - S_jA (S_BA)^+_r S_Bk           0 if all that j and k share passes through k-1
    tau = <R_1, R_2> / <S_jk,1, S_jk,2>       1 and 2: halves of the trials, so that noise does not count

Secondary: it is not near 0 in strict chains where the rank is too low (.2 to .4 at the true rank of a stage's own
noise, .02 to .04 at three times it), and a gain that all neuroids share drives it down. It never decides a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.variability.decoder_error import stabilised

Array = NDArray[np.float64]
SPLITS = 20
RANK_FACTOR = 2
"""The rank used, in parts of the one that was estimated."""
SURROGATES = 5


@dataclass(frozen=True)
class Tetrad:
    """`tau` (mean over splits; NaN where j and k share nothing that repeats), the median `rank` that was used, and the
    standard deviation over splits."""

    tau: float
    rank: int
    spread: float


def tetrad(
    early: np.ndarray,
    middle: np.ndarray,
    late: np.ndarray,
    *,
    splits: int = SPLITS,
    rank: int | None = None,
    seed: int = 0,
) -> Tetrad:
    """tau of areas j, k-1 and k from simultaneous trials [rep, n, neuroid] each, complete.

    `rank` defaults to twice the number of singular values of S_BA above those of shuffled trials. Raises InputError for
    shapes that do not fit, fewer than 4 neuroids in the middle, one repetition, and missing trials.
    """
    shapes = [np.shape(part) for part in (early, middle, late)]
    if len({shape[:2] for shape in shapes}) > 1 or shapes[0][0] < 2 or shapes[1][2] < 4:
        raise InputError(
            f"A tetrad takes three areas' responses to the same trials, two repetitions or more and four neuroids in "
            f"the middle; shapes {shapes} were given."
        )
    residuals = []
    for part in (early, middle, late):
        y = stabilised(part)
        if not np.isfinite(y).all():
            raise InputError("A tetrad takes complete trials; leave out stimuli or neuroids with missing ones.")
        residuals.append((y - y.mean(axis=0)).reshape(-1, y.shape[2]))
    j, m, k = residuals
    rng = np.random.default_rng(seed)
    tops, bottoms, ranks = [], [], []
    for _ in range(splits):
        order = rng.permutation(m.shape[1])
        a, b = m[:, order[::2]], m[:, order[1::2]]
        rows = np.array_split(rng.permutation(len(m)), 2)
        used = rank or RANK_FACTOR * max(1, shared_rank(b, a, rng))
        used = min(used, a.shape[1], b.shape[1])
        parts = [_beyond(j[own], a[own], b[own], k[own], used) for own in rows]
        tops.append(float((parts[0][0] * parts[1][0]).sum()))
        bottoms.append(float((parts[0][1] * parts[1][1]).sum()))
        ranks.append(used)
    ratios = np.array([top / bottom if bottom > 0 else np.nan for top, bottom in zip(tops, bottoms, strict=True)])
    if not np.isfinite(ratios).any():
        return Tetrad(float("nan"), int(np.median(ranks)), float("nan"))
    return Tetrad(float(np.nanmean(ratios)), int(np.median(ranks)), float(np.nanstd(ratios)))


def _beyond(j: Array, a: Array, b: Array, k: Array, rank: int) -> tuple[Array, Array]:
    """(R, S_jk) of residuals [trial, neuroid]; both halves of k-1 play both parts."""
    s_jk = j.T @ k / len(j)
    through = np.zeros_like(s_jk)
    for one, other in ((a, b), (b, a)):
        left, scale, right = np.linalg.svd(other.T @ one / len(j), full_matrices=False)
        keep = slice(0, rank)
        inverse = right[keep].T / np.maximum(scale[keep], 1e-12 * scale[0]) @ left[:, keep].T
        through += (j.T @ one / len(j)) @ inverse @ (other.T @ k / len(j)) / 2
    return s_jk - through, s_jk


def shared_rank(b: Array, a: Array, rng: np.random.Generator) -> int:
    """Number of singular values of the covariance of residuals b and a [trial, neuroid] that exceed the largest one of
    any of five shuffles of trials."""
    values = np.linalg.svd(b.T @ a, compute_uv=False)
    null = [np.linalg.norm(b[rng.permutation(len(b))].T @ a, ord=2) for _ in range(SURROGATES)]
    return int((values > max(null)).sum())
