"""Ridge regression of thousands of features on one design: the penalty of each by leave-one-out, all at once.

One eigendecomposition of the centred design's smaller Gram matrix, X = U S V', serves all features and penalties. With
z = U' y, w = a / (s^2 + a) and y_rest = y - U z, the residuals in the training set are

    e(a) = U (w z) + y_rest            |e(a)|^2 = sum_i w_i^2 z_i^2 + |y_rest|^2

and those of leave-one-out e_i / (1 - h_i), h_i = 1/n + sum_j U_ij^2 (1 - w_j). The second expression costs next to
nothing, the first one a product with U a penalty. Since leave-one-out divides by factors that differ little between
stimuli, |e|^2 times the smallest and the largest factor bounds the criterion from both sides; only the penalties which
the bounds cannot rule out are computed, feature by feature. The choice is exactly that of all penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.floating]
PENALTIES = np.logspace(-1, 8, 10)
BLOCK = 1024
"""Features worked on at a time."""


@dataclass(frozen=True)
class RidgeScores:
    """Of each feature [feature]: cross-validated R2, the penalty, and R2 in the training set."""

    r2: Array
    penalty: Array
    fitted: Array


@dataclass(frozen=True)
class Design:
    """A centred design's left singular vectors [n, r] and squared singular values [r]."""

    vectors: Array
    values: Array
    n: int

    def leverage(self, penalty: float) -> Array:
        """h_i of each row, the intercept included, [n]."""
        return 1 / self.n + (self.vectors**2) @ (self.values / (self.values + penalty))


def design(x: Array) -> Design:
    """The spectrum of predictors [n, p] after centring, in the precision of `x` (the decomposition itself in double).

    Directions with less than 1e-12 of the largest variance are left out. Raises InputError for predictors that are not
    finite and for fewer than three rows.
    """
    if x.ndim != 2 or len(x) < 3 or not np.isfinite(x).all():
        raise InputError(f"Predictors of shape {list(x.shape)} are no finite array [n, p] of three rows or more.")
    centred = x - x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    wide = centred.shape[1] >= len(centred)
    gram = (centred @ centred.T if wide else centred.T @ centred).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    keep = values > max(values[-1], 0) * (1e-12 if x.dtype == np.float64 else 1e-6)
    values, vectors = values[keep], vectors[:, keep]
    if not wide:
        vectors = centred @ (vectors / np.sqrt(values)).astype(x.dtype)
    return Design(vectors.astype(x.dtype), values.astype(x.dtype), len(x))


def ridge_scores(
    x: Array | Design, y: Array, penalties: Sequence[float] | Array = PENALTIES, groups: NDArray | None = None
) -> RidgeScores:
    """Cross-validated R2 of every column of `y` [n, feature] predicted from `x` [n, p], an intercept included.

    The penalty of each feature has the least leave-one-out error, as in
    `sklearn.linear_model.RidgeCV(penalties, alpha_per_target=True)`, whose best score is here r2 without `groups`.
    `groups` [n] name rows that must not tell of each other (places in one image): with them, r2 is that of leaving out
    each of their parts in turn, at the same penalty. R2 = 1 - squared error / squared deviation from the mean.

    Works in the precision of `x`: single precision is twice as fast and changes R2 by about 1e-6. R2 is NaN for
    features that are constant or not finite. Raises InputError for predictors or features of other lengths.
    """
    basis = x if isinstance(x, Design) else design(x)
    if y.ndim != 2 or len(y) != basis.n:
        raise InputError(f"{basis.n} rows of predictors came with features {list(y.shape)}; give [n, feature].")
    grid = np.sort(np.asarray(penalties, np.float64))
    shrink = (grid / (basis.values[:, None] + grid)).astype(basis.vectors.dtype)  # w, [r, penalty]
    scale = np.stack([1 / (1 - basis.leverage(penalty)) for penalty in grid]).astype(basis.vectors.dtype)
    parts = None if groups is None else _parts(groups)
    out = np.empty((3, y.shape[1]))
    for start in range(0, y.shape[1], BLOCK):
        columns = slice(start, start + BLOCK)
        out[:, columns] = _block(basis, y[:, columns], grid, shrink, scale, parts)
    return RidgeScores(*out)


def _block(
    basis: Design, y: Array, grid: Array, shrink: Array, scale: Array, parts: list[NDArray] | None
) -> NDArray[np.float64]:
    """(r2, penalty, fitted r2) of some features, [3, feature]."""
    usable = np.isfinite(y).all(axis=0)
    clean = np.where(usable, y, 0).astype(np.float64)
    clean -= clean.mean(axis=0)
    total = (clean**2).sum(axis=0)
    usable &= total > 1e-12 * np.maximum((np.where(usable, y, 0).astype(np.float64) ** 2).sum(axis=0), 1e-300)
    unit = (clean / np.sqrt(np.where(usable, total, 1))).astype(basis.vectors.dtype)
    z = basis.vectors.T @ unit
    rest = unit - basis.vectors @ z if len(basis.values) < basis.n - 1 else None
    rest_squared = np.maximum(1 - (z.astype(np.float64) ** 2).sum(axis=0), 0)
    squared = (shrink.T.astype(np.float64) ** 2) @ (z.astype(np.float64) ** 2) + rest_squared  # |e|^2, [penalty, f]
    chosen, errors = _least(basis, z, rest, squared, shrink, scale)
    if parts is not None:
        errors = _left_out(basis, z, rest, chosen, grid, shrink, parts)
    found = np.stack([1 - errors, grid[chosen], 1 - squared[chosen, np.arange(len(chosen))]])
    found[:, ~usable] = np.nan
    return found


def _least(
    basis: Design, z: Array, rest: Array | None, squared: Array, shrink: Array, scale: Array
) -> tuple[NDArray[np.intp], Array]:
    """The penalty with the least leave-one-out error of each feature, and that error; see the module's text."""
    features = np.arange(z.shape[1])
    low = squared * (scale.min(axis=1) ** 2)[:, None] * (1 - 1e-5)
    guess = (squared * ((scale**2).mean(axis=1))[:, None]).argmin(axis=0)
    best, errors = guess.copy(), np.full(len(features), np.inf)
    done = np.zeros(squared.shape, bool)
    # The guess of each feature first: its error rules out most other penalties.
    for first in (True, False):
        for penalty in range(len(squared)):
            mine = features[(guess == penalty) if first else ~done[penalty] & (low[penalty] < errors)]
            if not len(mine):
                continue
            found = _loo(basis, z, rest, shrink[:, penalty], scale[penalty], mine)
            better = (found < errors[mine]) | ((found == errors[mine]) & (penalty < best[mine]))
            best[mine[better]], errors[mine[better]] = penalty, found[better]
            done[penalty, mine] = True
    return best, errors


def _residuals(basis: Design, z: Array, rest: Array | None, shrink: Array, mine: NDArray[np.intp]) -> Array:
    """e(a) of some features at one penalty, [n, feature]."""
    found = basis.vectors @ (shrink[:, None] * z[:, mine])
    if rest is not None:
        found += rest[:, mine]
    return found


def _loo(basis: Design, z: Array, rest: Array | None, shrink: Array, scale: Array, mine: NDArray[np.intp]) -> Array:
    """Sum of squared leave-one-out errors of some features at one penalty, [feature]."""
    found = _residuals(basis, z, rest, shrink, mine)
    found *= scale[:, None]
    return np.einsum("if,if->f", found, found).astype(np.float64)


def _left_out(
    basis: Design,
    z: Array,
    rest: Array | None,
    chosen: NDArray[np.intp],
    grid: Array,
    shrink: Array,
    parts: list[NDArray],
) -> Array:
    """Sum of squared errors when each part is predicted from all others, at the chosen penalties, [feature].

    (I - H_pp)^-1 e_p is the error of part p left out, H the hat matrix with the intercept; exact at a fixed penalty.
    """
    errors = np.zeros(z.shape[1])
    for penalty in np.unique(chosen):
        mine = np.flatnonzero(chosen == penalty)
        residuals = _residuals(basis, z, rest, shrink[:, penalty], mine).astype(np.float64)
        kept = (basis.values / (basis.values + grid[penalty])).astype(np.float64)
        for part in parts:
            own = basis.vectors[part].astype(np.float64)
            system = np.eye(len(part)) - (own * kept) @ own.T - 1 / basis.n
            errors[mine] += (np.linalg.solve(system, residuals[part]) ** 2).sum(axis=0)
    return errors


def _parts(groups: NDArray, folds: int = 5) -> list[NDArray]:
    """Rows of five parts of about equal size, no group in two of them; fewer parts where there are fewer groups."""
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"All rows are of one group ({names[0]}); give rows of two groups or more.")
    order = np.random.default_rng(0).permutation(len(names))
    fold = (np.arange(len(names)) % min(folds, len(names)))[np.argsort(order)]
    return [np.flatnonzero(fold[codes] == number) for number in range(min(folds, len(names)))]
