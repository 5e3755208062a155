"""Permutation of stimulus labels: an exact test of whether a model's RDM has anything to do with a region's.

Under the null the stimuli of the model could as well be named otherwise. Unlike the t test on bootstrap variances this
needs no normality and no large sample; it tests independence, not a difference between models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.errors import InputError, did_you_mean
from comparisons.rsa.evaluation import check_rdms
from comparisons.rsa.linear_scores import stimuli_of

MEASURES = ("spearman", "rho-a", "corr", "corr_cov", "cosine", "cosine_cov")
_UNCENTRED = ("cosine", "cosine_cov")
_BYTES = 2**26


@dataclass(frozen=True)
class Permuted:
    """What permuted labels gave, `null` [permutation, m], beside the `estimate` [m]; both less `chance` [m].

    `chance` is the mean over all permutations of a model's labels: 0 for correlations, the product of both RDMs' means
    over their norms for cosines.
    """

    estimate: np.ndarray
    null: np.ndarray
    chance: np.ndarray

    def p(self) -> np.ndarray:
        """Two-sided p of every model against chance, [m]; counts the given labels as one permutation: it is never 0."""
        return _share(np.abs(self.null), np.abs(self.estimate))

    def p_familywise(self) -> np.ndarray:
        """The same against the best of all models under each permutation, [m] (Westfall & Young 1993)."""
        return _share(np.abs(self.null).max(axis=1, keepdims=True), np.abs(self.estimate))


def permute_stimuli(
    models: np.ndarray, region: np.ndarray, *, measure: str = "spearman", permutations: int = 5000, seed: int = 0
) -> Permuted:
    """Mean similarity of model RDMs [m, pair] to a region's RDMs [s, pair] with the models' stimuli permuted.

    Exact for every measure, because each is compared with its own chance level. tau-a would take hours and has the
    null hypothesis of rho-a: use that. Raises InputError for other measures and RDMs that do not fit.
    """
    if measure not in MEASURES:
        raise InputError(f"{measure!r} has no permutation test here; {did_you_mean(measure, MEASURES)}.")
    n = check_rdms(models, region)
    x, y = (_prepared(rdms, measure) for rdms in (models, region))
    # The mean over subjects is linear in their normalised RDMs, so one target stands for all of them.
    target = (y / _norm(y, measure)[:, None]).mean(axis=0)
    x = x / _norm(x, measure)[:, None]
    if measure.endswith("_cov"):
        target = _whitened(target, n)
    # Every pair comes to stand on every other equally often, so the mean over all permutations is that of the means.
    chance = x.mean(axis=1) * target.sum() if measure in _UNCENTRED else np.zeros(len(x))
    square = np.zeros((n, n))
    upper = np.triu_indices(n, 1)
    square[upper] = target
    square += square.T
    rng = np.random.default_rng(seed)
    null = np.empty((permutations, len(x)))
    step = max(_BYTES // (8 * len(target)), 1)
    for start in range(0, permutations, step):
        orders = np.stack([rng.permutation(n) for _ in range(min(step, permutations - start))])
        null[start : start + step] = square[orders[:, upper[0]], orders[:, upper[1]]] @ x.T
    return Permuted(x @ target - chance, null - chance, chance)


def _prepared(rdms: np.ndarray, measure: str) -> np.ndarray:
    from scipy.stats import rankdata

    values = rankdata(rdms, axis=1) if measure in ("spearman", "rho-a") else rdms.astype(np.float64)
    return values if measure in _UNCENTRED else values - values.mean(axis=1, keepdims=True)


def _norm(centred: np.ndarray, measure: str) -> np.ndarray:
    pairs = centred.shape[1]
    if measure == "rho-a":
        return np.full(len(centred), np.sqrt((float(pairs) ** 3 - pairs) / 12))
    if measure.endswith("_cov"):
        whitened = np.stack([_whitened(rdm, stimuli_of(pairs)) for rdm in centred])
        return np.sqrt(np.einsum("kp,kp->k", centred, whitened))
    return np.linalg.norm(centred, axis=1)


def _whitened(rdm: np.ndarray, n: int) -> np.ndarray:
    """V^-1 x [pair] with V = 2 I + B B' (see `linear_scores`), for all stimuli once: (x - B (2 I + B'B)^-1 B'x) / 2."""
    upper = np.triu_indices(n, 1)
    sums = np.bincount(upper[0], rdm, n) + np.bincount(upper[1], rdm, n)
    solved = (sums - sums.sum() / (2 * n)) / n
    return (rdm - solved[upper[0]] - solved[upper[1]]) / 2


def _share(null: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    # Permutations that reproduce the estimate differ from it by rounding only: they count as reaching it.
    return (1 + (null >= estimate - 1e-12).sum(axis=0)) / (1 + len(null))
