"""Ridge regression over many splits, and its penalty chosen by exact leave-one-out within each training set.

Equal to `sklearn.linear_model.Ridge(alpha)` and `RidgeCV(alphas)`: one penalty for all neuroids of a group (a region),
the one with the least mean squared leave-one-out error. One eigendecomposition of a split's centred training kernel,
V diag(e) V', serves all penalties, regions and neuroids. With z = V' y and w = a / (e + a):

    leave-one-out residual of stimulus i = (V (w z))_i / (sum_j V_ij^2 w_j - 1/n)

As functions of e, the w of all penalties span a space of numerical rank 10-25 (Cauchy functions), so that V is
multiplied that often instead of once a penalty; the error is that of rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from comparisons.encoding.gram import LinearKernel, double_centred
from comparisons.encoding.pls import Split

PENALTIES = np.concatenate(
    [
        [0.01, 0.1, 0.5, 1.0],
        np.linspace(1e1, 1e2, 4, endpoint=False),
        *(np.linspace(10.0**power, 10.0 ** (power + 1), 18, endpoint=False) for power in (2, 3, 4, 5)),
        np.linspace(1e6, 1e7, 19),
    ]
)
"""Brain-Score's 99 penalties (`metrics.regression_correlation.metric.ALPHA_LIST`)."""
EXACT = {"float64": 1e-13, "float32": 1e-6}
"""Share of the residuals' norm below which a direction in the space of penalties is rounding, by precision."""
CLOSE = 1e-3
"""Penalties whose error in single precision is that near to the least one are told apart in double precision."""


def ridge_predictions(
    kernel: LinearKernel, responses: np.ndarray, splits: Sequence[Split], penalty: float = 1.0
) -> list[np.ndarray]:
    """Predicted responses of each split's test stimuli, float64 [n_test, neuroid].

    Penalty 1 is Brain-Score's `ridge`. `responses` [n, neuroid] hold no NaN.
    """
    from scipy.linalg import cho_factor, cho_solve

    found = []
    for train, test in splits:
        mean = responses[train].mean(axis=0)
        y = responses[train] - mean
        if kernel.tall:
            x = kernel.centred[train]
            centre = x.mean(axis=0)
            x = x - centre
            gram = x.T @ x
            gram[np.diag_indices_from(gram)] += penalty
            found.append((kernel.centred[test] - centre) @ cho_solve(cho_factor(gram), x.T @ y) + mean)
            continue
        inner = kernel.part(train, train)
        gram = double_centred(inner)
        gram[np.diag_indices_from(gram)] += penalty
        weights = cho_solve(cho_factor(gram, overwrite_a=True), y)
        weights -= weights.mean(axis=0)  # 0 but for rounding, which a small penalty blows up
        found.append(kernel.part(test, train) @ weights - (inner.mean(axis=0) @ weights) + mean)
    return found


def ridge_cv_predictions(
    kernel: LinearKernel,
    responses: np.ndarray,
    splits: Sequence[Split],
    groups: np.ndarray | None = None,
    penalties: np.ndarray = PENALTIES,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Predictions as `ridge_predictions`, and the penalty chosen in each split for each neuroid, [split, neuroid].

    `groups` [neuroid] labels those that share a penalty (default: all). The test stimuli take no part in the choice.
    """
    names = np.zeros(responses.shape[1], int) if groups is None else np.asarray(groups)
    found, chosen = [], np.zeros((len(splits), responses.shape[1]))
    for number, (train, test) in enumerate(splits):
        mean = responses[train].mean(axis=0)
        y = responses[train] - mean
        vectors, values = _spectrum(kernel, train)
        z = vectors.T @ y
        penalty = chosen[number]
        penalty[:] = least_penalties(vectors, values, z, y, penalties, names)
        # On the training set's own basis, the weights are V (z / (e + a)).
        weights = vectors @ (z / (values[:, None] + penalty))
        if kernel.tall:
            # Directions without variance have no part in the prediction: weights stay in the row space of X.
            x = kernel.centred[train]
            centre = x.mean(axis=0)
            prediction = (kernel.centred[test] - centre) @ ((x - centre).T @ weights)
        else:
            prediction = kernel.part(test, train) @ weights - kernel.part(train, train).mean(axis=0) @ weights
        found.append(prediction + mean)
    return found, chosen


def least_penalties(
    vectors: np.ndarray, values: np.ndarray, z: np.ndarray, y: np.ndarray, penalties: np.ndarray, names: np.ndarray
) -> np.ndarray:
    """For each neuroid the penalty with the least mean leave-one-out error over those of its name, [neuroid].

    Single precision rules out nearly all penalties; those within 1e-3 of the least are compared in double precision.
    """
    groups = np.unique(names)

    def of_groups(errors: np.ndarray) -> np.ndarray:
        return np.stack([errors[:, names == name].mean(axis=1) for name in groups], axis=1)

    near = np.arange(len(penalties))
    if len(penalties) > 4:
        rough = of_groups(leave_one_out_errors(vectors, values, z, y, penalties, "float32"))
        near = np.flatnonzero((rough <= (1 + CLOSE) * rough.min(axis=0)).any(axis=1) | ~np.isfinite(rough).all(axis=1))
    exact = of_groups(leave_one_out_errors(vectors, values, z, y, penalties[near]))
    found = np.empty(y.shape[1])
    for column, name in enumerate(groups):
        found[names == name] = penalties[near[np.argmin(exact[:, column])]]
    return found


def leave_one_out_errors(
    vectors: np.ndarray,
    values: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    penalties: np.ndarray,
    precision: Literal["float64", "float32"] = "float64",
) -> np.ndarray:
    """Mean squared leave-one-out error of each penalty and neuroid, [penalty, neuroid].

    `vectors` [n, r] and `values` [r] are the spectrum of the centred training kernel, `z` = vectors' y, `y` the centred
    responses. Exact: equal to refitting, intercept included, without each stimulus in turn. In single `precision` the
    products are, and the errors are right to about 1e-5 of their size.
    """
    n = len(y)
    shrink = penalties / (values[:, None] + penalties)  # w, [r, penalty]
    complete = vectors.shape[1] == n
    left = -1 / n if complete else 1 - 1 / n - (vectors**2).sum(axis=1)
    kept = (vectors**2) @ shrink + np.broadcast_to(left, n)[:, None]  # 1 - h_ii, [n, penalty]
    rest = np.zeros((0, *y.shape)) if complete else (y - vectors @ z)[None]  # what no direction holds
    size = np.linalg.norm(z, axis=1)
    weighted = shrink * size[:, None]
    norms = np.sqrt((weighted**2).sum(axis=0) + (rest**2).sum())
    norms[norms == 0] = 1
    directions, scale, mixture = np.linalg.svd(weighted / norms, full_matrices=False)
    keep = scale > EXACT[precision]
    directions, mixture = directions[:, keep], scale[keep, None] * mixture[keep]
    unit = z / np.where(size > 0, size, 1)[:, None]
    parts: np.ndarray = np.empty((len(rest) + directions.shape[1], *y.shape), precision)
    parts[: len(rest)] = rest
    vectors = vectors.astype(precision, copy=False)
    for part, direction in zip(parts[len(rest) :], directions.T, strict=True):
        np.matmul(vectors, (direction[:, None] * unit).astype(precision, copy=False), out=part)
    mixture = np.concatenate([np.ones((len(rest), len(penalties))) / norms, mixture]).astype(precision, copy=False)
    scales = (norms / kept).astype(precision, copy=False)
    errors = np.zeros((len(penalties), y.shape[1]))
    for rows in range(0, n, 64):  # blocks that stay in the cache
        block = parts[:, rows : rows + 64]
        residuals = (mixture.T @ block.reshape(len(parts), -1)).reshape(len(penalties), *block.shape[1:])
        residuals *= scales[rows : rows + 64].T[:, :, None]
        errors += np.einsum("aij,aij->aj", residuals, residuals)
    return errors / n


def _spectrum(kernel: LinearKernel, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors [n_train, r] and eigenvalues [r] of the centred training kernel; r = min(n_train, p)."""
    if kernel.tall and kernel.p < len(train):
        x = kernel.centred[train]
        left, scale, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        keep = scale > scale[0] * 1e-14 if len(scale) else np.zeros(0, bool)
        return left[:, keep], scale[keep] ** 2
    from scipy.linalg import eigh

    # The same divide and conquer as numpy's, with a newer BLAS behind it: a fifth faster.
    inner = double_centred(kernel.part(train, train))
    values, vectors = eigh(inner, driver="evd", overwrite_a=True, check_finite=False)
    # Rounding, which a small penalty must not be measured against: one direction, the mean, is always empty.
    values[values < values[-1] * len(train) * np.finfo(np.float64).eps] = 0
    return vectors, values
