"""Feature-reweighted RSA: how well a region's RDM is predicted when every feature may weigh differently.

The predictors are the features' own RDMs d_f(i, j) = (z_fi - z_fj)^2, their weights come from ridge regression on the
pairs of training stimuli, and the score is that of the pairs of test stimuli (Kaniuth & Hebart 2022, NeuroImage 257).
The penalty is chosen on inner folds of the training stimuli, never on the reported ones. Sums over pairs are expanded
into sums over stimuli, so the predictors are never written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError
from comparisons.rdms import UndefinedPatterns, dense_patterns
from comparisons.rsa.evaluation import check_rdms
from comparisons.rsa.linear_scores import LinearScores, stimuli_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PENALTIES = tuple(10.0 ** np.arange(-4, 3.5, 0.5))
"""Ridge penalties, as multiples of the number of training pairs (every predictor has unit variance)."""
_MOST_FEATURES = 8192
_COLUMNS = 1024  # of sparse features that are multiplied with a target at once


@dataclass(frozen=True)
class Reweighted:
    """Scores on held-out stimuli; the correlation of RDMs, mean over folds."""

    subjects: np.ndarray
    """With fitted weights, [s]."""
    plain: np.ndarray
    """With all weights equal, on the same pairs, [s]: squared Euclidean distance of the features as given."""
    penalties: np.ndarray
    """The chosen penalty of each fold, [fold]."""
    weights: np.ndarray
    """Weight of each feature's RDM, in units of the RDM, [fold, feature]; 0 for features that are constant there."""
    ceiling: tuple[float, float] | None
    """Noise ceiling on the same pairs; None for a single subject."""

    @property
    def estimate(self) -> float:
        """Mean over subjects."""
        return float(self.subjects.mean())

    @property
    def standard_error(self) -> float:
        """Over subjects; NaN for a single one. Says nothing about other stimuli."""
        n = len(self.subjects)
        return float(self.subjects.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def reweighted_rsa(
    features: np.ndarray | csr_array,
    region: np.ndarray,
    *,
    folds: int = 5,
    inner_folds: int = 4,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> Reweighted:
    """Predict a region's RDMs [s, pair] from features [n_stim, feature], tested on stimuli that were not fitted.

    The target is the mean of the subjects' z-scored RDMs. Features may be a scipy sparse matrix (a dictionary's codes),
    which is never made dense; those that are the same for all stimuli (dead ones) weigh 0 and cost nothing. Choose
    features on other stimuli first where more than 8,192 are alive.

    Raises InputError when shapes do not fit, there are too few stimuli for the folds, or too many features.
    """
    z = _checked(features)
    n = stimuli_of(region.shape[1]) if region.ndim == 2 else 0
    if region.ndim != 2 or z.shape[0] != n:
        raise InputError(f"Features of {z.shape[0]} stimuli do not fit region RDMs of shape {region.shape}.")
    check_rdms(region, region, "region")
    every, alive = z.shape[1], np.flatnonzero(_alive(z))
    if len(alive) > _MOST_FEATURES:
        raise InputError(
            f"{len(alive)} live features are more than {_MOST_FEATURES}; choose them on other stimuli first."
        )
    if not len(alive):
        raise InputError(f"None of {every} features differs between stimuli; there is nothing to weigh.")
    z = z[:, alive]
    if folds < 2 or inner_folds < 2 or n // folds < 3 or (n - n // folds - 1) // inner_folds < 3:
        raise InputError(f"{n} stimuli are too few for {folds} folds with {inner_folds} inner ones; ask for fewer.")
    rng = np.random.default_rng(seed)
    squares = np.zeros((len(region), n, n))
    upper = np.triu_indices(n, 1)
    squares[:, upper[0], upper[1]] = squares[:, upper[1], upper[0]] = region
    subjects, plain, chosen, weights, ceilings = [], [], [], [], []
    for test in np.array_split(rng.permutation(n), folds):
        train = np.setdiff1d(np.arange(n), test)
        quality = np.zeros(len(penalties))
        for held in np.array_split(rng.permutation(train), inner_folds):
            fit = _fit(z, squares, np.setdiff1d(train, held), penalties)
            quality += [_scores(z, w, squares, held).mean() for w in fit]
        best = int(np.argmax(quality))
        (own,) = _fit(z, squares, train, (penalties[best],))
        subjects.append(_scores(z, own, squares, test))
        plain.append(_scores(z, np.ones(z.shape[1]), squares, test))
        chosen.append(penalties[best])
        weights.append(np.zeros(every))
        weights[-1][alive] = own
        if len(region) > 1:
            pairs = np.triu_indices(len(test), 1)
            held_out = squares[:, test[pairs[0]], test[pairs[1]]]
            ceilings.append(LinearScores(held_out[:1], held_out, "corr").ceiling())
    ceiling = None
    if ceilings:
        lower, upper = np.mean(ceilings, axis=0)
        ceiling = (float(lower), float(upper))
    return Reweighted(np.mean(subjects, axis=0), np.mean(plain, axis=0), np.array(chosen), np.array(weights), ceiling)


def pair_moments(z: Any, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over pairs i < j of d_f, d_f d_g and d_f y: [feature], [feature, feature], [feature].

    Of features [n, feature] (array or scipy sparse) and a symmetric target [n, n] with a zero diagonal, and
    d_f(i, j) = (z_fi - z_fj)^2, for a = z_f, b = z_g:
    sum d_f d_g = n sum a^2 b^2 + sum a^2 sum b^2 + 2 (sum a b)^2 - 2 sum a^2 b sum b - 2 sum a b^2 sum a.
    """
    n = z.shape[0]
    if _is_sparse(z):
        # Not centred, which would fill it: distances do not change, and codes are mostly 0.
        squared = z.multiply(z).tocsr()
        total, plain = np.asarray(squared.sum(axis=0)).ravel(), np.asarray(z.sum(axis=0)).ravel()
        cubic = (squared.T @ z).toarray() * plain
        products = n * (squared.T @ squared).toarray() + np.outer(total, total) + 2 * (z.T @ z).toarray() ** 2
        products -= 2 * (cubic + cubic.T)
        with_target = squared.T @ target.sum(axis=0)
        for start in range(0, z.shape[1], _COLUMNS):
            part = z[:, start : start + _COLUMNS]
            moved = part.multiply(np.asarray(part.T @ target).T)
            with_target[start : start + _COLUMNS] -= np.asarray(moved.sum(axis=0)).ravel()
        return n * total - plain**2, products, with_target
    z = z - z.mean(axis=0)  # the last two terms vanish
    squared = z**2
    total = squared.sum(axis=0)
    products = n * (squared.T @ squared) + np.outer(total, total) + 2 * (z.T @ z) ** 2
    with_target = target.sum(axis=0) @ squared - np.einsum("if,if->f", z, target @ z)
    return n * total, products, with_target


def _fit(z: Any, squares: np.ndarray, train: np.ndarray, penalties: tuple[float, ...]) -> list[np.ndarray]:
    """Ridge weights [feature] of the features' RDMs, one for each penalty."""
    pairs = len(train) * (len(train) - 1) // 2
    upper = np.triu_indices(len(train), 1)
    vectors = squares[:, train[upper[0]], train[upper[1]]]
    scale = vectors.std(axis=1, keepdims=True)
    scaled = (vectors - vectors.mean(axis=1, keepdims=True)) / np.where(scale > 0, scale, 1)
    target = np.zeros((len(train), len(train)))
    target[upper] = scaled.mean(axis=0)
    sums, products, with_target = pair_moments(z[train], target + target.T)
    covariance = products - np.outer(sums, sums) / pairs
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0) / pairs)
    inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=_alive(z[train]) & (deviation > 0))
    values, vectors = np.linalg.eigh(covariance * np.outer(inverse, inverse))
    projected = vectors.T @ (with_target * inverse)
    return [inverse * (vectors @ (projected / (np.maximum(values, 0) + penalty * pairs))) for penalty in penalties]


def _scores(z: Any, weights: np.ndarray, squares: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Correlation [s] between sum_f w_f d_f and the subjects' RDMs over the pairs of test stimuli; 0 where constant."""
    upper = np.triu_indices(len(test), 1)
    own = z[test]
    if _is_sparse(own):
        kernel = (own.multiply(weights).tocsr() @ own.T).toarray()
    else:
        own = own - own.mean(axis=0)
        kernel = (own * weights) @ own.T
    size = np.diag(kernel)
    predicted = (size[:, None] + size - 2 * kernel)[upper]
    actual = squares[:, test[upper[0]], test[upper[1]]]
    predicted = predicted - predicted.mean()
    actual = actual - actual.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(predicted) * np.linalg.norm(actual, axis=1)
    return np.divide(actual @ predicted, norm, out=np.zeros(len(actual)), where=norm > 0)


def _checked(features: Any) -> Any:
    """Features as float64 [n, feature], an array or csr; raises UndefinedPatterns where they are not finite."""
    if not _is_sparse(features):
        return dense_patterns(features)
    found = features.tocsr().astype(np.float64)
    known = np.isfinite(found.data)
    if not known.all():
        rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
        raise UndefinedPatterns(np.unique(rows[~known]), found.shape[0], "not finite")
    return found


def _alive(z: Any) -> np.ndarray:
    """Which features differ between stimuli by more than rounding, bool [feature]."""
    if _is_sparse(z):
        low, high = (np.asarray(limit.todense()).ravel() for limit in (z.min(axis=0), z.max(axis=0)))
        return (high - low) > 1e-12 * np.maximum(high, -low)
    return np.ptp(z, axis=0) > 1e-12 * np.abs(z).max(axis=0)


def _is_sparse(z: Any) -> bool:
    return hasattr(z, "tocsr")
