"""RDMs from repetitions: unbiased by noise (crossnobis, cross-validated Poisson), and the noise they are scaled by.

Repetitions are [fold, n_stim, features], float; a stimulus that was not shown in a fold is NaN there in all features,
as `Recordings.data` has it. Every pair of stimuli is measured over the folds that hold both.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bridge.errors import InputError
from comparisons.rdms import check_precision, kernel_distances, shrunk_rates, upper_triangle

Shrinkage = Literal["diagonal", "identity", "none", "variances"]


def crossnobis_rdm(repetitions: np.ndarray, precision: np.ndarray | None = None) -> np.ndarray:
    """Cross-validated squared Mahalanobis distance over features, float64 [n (n - 1) / 2].

    mean over folds a != b of (x_a - y_a)' precision (x_b - y_b) / features, which is 0 on average where two stimuli
    evoke the same (Walther et al. 2016). Without a precision [features, features] it is the cross-validated Euclidean
    distance.
    Equal to `rsatoolbox.rdm.calc_rdm(method="crossnobis")` where every fold holds every stimulus.
    Raises InputError where two stimuli share fewer than two folds, a pattern is only partly NaN, or shapes do not fit.
    """
    folds, shown = _folds(repetitions)
    n_folds, n, features = folds.shape
    if precision is not None:
        check_precision(precision, features)
    # What all stimuli have in common cancels in every distance; taking it out first keeps the digits.
    if shown.all():
        folds = folds - folds.mean(axis=1, keepdims=True)
        kernel = _kernel(folds.sum(axis=0), precision) - sum(_kernel(fold, precision) for fold in folds)
        return kernel_distances(kernel / (n_folds * (n_folds - 1))) / features
    folds = np.where(shown[:, :, None], folds - np.nanmean(folds, axis=1, keepdims=True), 0)
    scaled = folds if precision is None else folds @ precision
    out = np.zeros((n, n))
    for a in range(n_folds):
        for b in range(n_folds):
            if a != b:
                both = (shown[a] & shown[b]).astype(np.float64)
                kernel = folds[a] @ scaled[b].T
                own = np.diag(kernel)
                out += np.outer(both, both) * (own[:, None] + own - kernel - kernel.T)
    return upper_triangle(out / _fold_pairs(shown)) / features


def poisson_cv_rdm(repetitions: np.ndarray, prior_mean: float = 1.0, prior_weight: float = 0.1) -> np.ndarray:
    """Cross-validated symmetrised Poisson divergence over features, float64 [n (n - 1) / 2].

    mean over folds b of sum (x - y)(log x_b - log y_b) / features, x and y the mean rates of the other folds, all rates
    shrunk as in `rdms.poisson_rdm`. `rsatoolbox.rdm.calc_rdm(method="poisson_cv")` returns its last fold alone.
    Raises InputError where a fold lacks a stimulus, UndefinedPatterns for negative rates.
    """
    folds, shown = _folds(repetitions)
    if not shown.all():
        raise InputError(
            f"{int((~shown).sum())} of {shown.size} patterns are missing from their folds; the cross-validated Poisson "
            "distance needs every stimulus in every fold: leave out the stimuli or folds that lack some."
        )
    n_folds, n, features = folds.shape
    total = folds.sum(axis=0)
    kernel = np.zeros((n, n))
    for test in folds:
        train = shrunk_rates((total - test) / (n_folds - 1), prior_mean, prior_weight)
        kernel += train @ np.log(shrunk_rates(test, prior_mean, prior_weight)).T
    return kernel_distances(kernel / n_folds) / features


def residuals(repetitions: np.ndarray) -> tuple[np.ndarray, int]:
    """Residuals [observation, features] of repetitions about each stimulus's mean, and their degrees of freedom."""
    folds, shown = _folds(repetitions)
    about_mean = folds - np.nanmean(folds, axis=0)
    return about_mean[shown], int(shown.sum() - shown.any(axis=0).sum())


def noise_precision(noise: np.ndarray, dof: int | None = None, shrinkage: Shrinkage = "diagonal") -> np.ndarray:
    """The inverse of the covariance [features, features] of residuals [observation, features].

    Raises InputError where that covariance cannot be inverted.
    """
    covariance = noise_covariance(noise, dof, shrinkage)
    values = np.linalg.eigvalsh(covariance)
    if values[0] <= values[-1] * len(covariance) * np.finfo(np.float64).eps:
        raise InputError(
            f"The noise covariance of {covariance.shape[0]} features from {len(noise)} residuals cannot be inverted; "
            "use shrinkage 'diagonal' or 'identity', and leave out features without noise."
        )
    inverse = np.linalg.inv(covariance)
    return (inverse + inverse.T) / 2


def noise_covariance(noise: np.ndarray, dof: int | None = None, shrinkage: Shrinkage = "diagonal") -> np.ndarray:
    """Covariance [features, features] of residuals [observation, features], shrunk; dof defaults to observations - 1.

    "diagonal" shrinks correlations to 0 (Schaefer & Strimmer 2005), "identity" to equal variances (Ledoit & Wolf 2004),
    "variances" keeps the diagonal alone, "none" shrinks nothing. Equal to
    `rsatoolbox.data.noise.cov_from_residuals` with "shrinkage_diag", "shrinkage_eye", "diag", "full".
    Raises InputError where a feature has no variance and the shrinkage needs one.
    """
    x = np.asarray(noise, dtype=np.float64)
    x = x - x.mean(axis=0)
    n = len(x)
    dof = n - 1 if dof is None else dof
    if dof < 1:
        raise InputError(
            f"{n} residuals with {dof} degrees of freedom give no covariance; more repetitions are needed."
        )
    products = x.T @ x
    if shrinkage == "none":
        return products / dof
    if shrinkage == "variances":
        return np.diag(np.diag(products) / dof)
    squares = (x**2).T @ x**2
    if shrinkage == "identity":
        s = products / n
        level = np.trace(s) / len(s)
        spread = np.sum((s - level * np.eye(len(s))) ** 2)
        error = min(spread, np.sum(squares / n - s**2) / n)
        share = error / spread if spread > 0 else 0.0
        return (share * level * np.eye(len(s)) + (1 - share) * s) * n / dof
    variance = np.diag(products) / dof
    if (dead := variance <= 0).any():
        raise InputError(
            f"{int(dead.sum())} of {len(variance)} features have no noise at all (the first is number "
            f"{int(np.flatnonzero(dead)[0])}); leave them out."
        )
    scale = np.outer(variance, variance)
    correlation = products / np.sqrt(scale) / (n - 1)
    variances = n / dof**2 * (squares / scale / (n - 1) - correlation**2)
    off = ~np.eye(len(variance), dtype=bool)
    total = np.sum(correlation[off] ** 2)
    share = float(np.clip(np.sum(variances[off]) / total, 0, 1)) if total > 0 else 1.0
    return products / dof * np.where(off, 1 - share, 1)


def _folds(repetitions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repetitions as float64 and which patterns are there, bool [fold, n_stim]; raises InputError as documented."""
    x = np.asarray(repetitions, dtype=np.float64)
    if x.ndim != 3 or len(x) < 2:
        raise InputError(
            f"Repetitions of shape {x.shape} cannot be cross-validated; expected [fold, n_stim, features] with two "
            "folds at least."
        )
    # A sum is finite only if all of its terms are, and costs less than a look at each.
    shown = np.isfinite(x.sum(axis=2))
    if np.isfinite(x[~shown]).any() or np.isinf(x[~shown]).any():
        raise InputError(
            "Some patterns hold NaN in some features only, or infinity; leave those features or stimuli out."
        )
    together = shown.astype(int).T @ shown.astype(int)
    if (together < 2).any():
        rows = np.argwhere(together < 2)
        raise InputError(
            f"Stimuli {rows[0][0]} and {rows[0][1]} share fewer than two folds, so their distance cannot be "
            "cross-validated; leave out the stimuli that were shown too rarely."
        )
    return x, shown


def _fold_pairs(shown: np.ndarray) -> np.ndarray:
    together = shown.astype(np.float64).T @ shown.astype(np.float64)
    return together * (together - 1)


def _kernel(x: np.ndarray, precision: np.ndarray | None) -> np.ndarray:
    """x precision x' [n_stim, n_stim]; the product of x with itself alone is half the work."""
    return x @ x.T if precision is None else (x @ precision) @ x.T
