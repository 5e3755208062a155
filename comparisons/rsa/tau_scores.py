"""Kendall's tau-a between RDMs, over many bootstrap draws, exactly.

tau-a = sum over pairs p < q of sign(x_p - x_q) sign(y_p - y_q), over all pairs. A draw that weighs entry p by w_p gives
w' Z w / 2 with Z the product of both sign matrices, so that one product of small integers serves all draws. For long
RDMs, where Z would not fit, each draw is counted by itself in O(p log p) (scipy).

Pooled RDMs change their order with every draw: they are ranked anew, and each pool is counted against each subject by
itself (scipy). That takes a minute for 1,000 draws of 92 stimuli and 15 subjects, so ceilings are resampled only where
that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comparisons.rsa.linear_scores import ceilings_of, stimuli_of
from comparisons.rsa.rank_scores import RankScores

MEASURES = ("tau-a",)
# Up to here Z is held; beyond, scipy's count for each draw is the faster one.
_LONGEST = 8192


class TauScores:
    """Scores of models [m, pair] against subjects [s, pair] under draws, by tau-a; with `ceilings` those of draws, too,
    else NaN in their place."""

    draws_at_once = 2048

    def __init__(self, models: np.ndarray, region: np.ndarray, measure: str, ceilings: bool = False):
        from scipy.stats import rankdata

        self._ceilings = ceilings and len(region) > 1

        self._models, self._region = (rankdata(rdms, axis=1) for rdms in (models, region))
        self._n = stimuli_of(models.shape[1])
        self._pooling = RankScores(models[:1], region, "spearman")
        self._similarity = np.array([[tau_a(model, subject) for subject in self._region] for model in self._models])

    def similarity(self) -> np.ndarray:
        """The measure between every model and subject on all stimuli, [m, s]."""
        return self._similarity

    def ceiling(self) -> tuple[float, float]:
        """Lower and upper noise ceiling on all stimuli and subjects, by averaged ranks as in `rsatoolbox`."""
        pool = self._region.sum(axis=0)
        lower = [tau_a(pool - subject, subject) for subject in self._region]
        return float(np.mean(lower)), float(np.mean([tau_a(pool, subject) for subject in self._region]))

    def full(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [d, m] and ceilings [d, 2] on all stimuli, per draw of subjects [d, s]."""
        similarity = np.broadcast_to(self._similarity, (len(multiplicity), *self._similarity.shape))
        return self._averaged(similarity, multiplicity, np.ones((1, self._n)))

    def under(self, counts: np.ndarray, multiplicities: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same per draw of stimuli, counts [d, n_stim], once for each of the multiplicities [d, s]."""
        first, second = np.triu_indices(self._n, 1)
        weights = counts[:, first] * counts[:, second]
        similarity = np.empty((len(counts), len(self._models), len(self._region)))
        if weights.shape[1] <= _LONGEST:
            total = weights.sum(axis=1)
            signs = [_signs(subject) for subject in self._region]
            for i, model in enumerate(self._models):
                own = _signs(model)
                for j, other in enumerate(signs):
                    similarity[:, i, j] = _quadratic_forms(weights, own * other) / (total * (total - 1))
        else:
            for draw, row in enumerate(weights):
                drawn = np.repeat(np.arange(len(row)), row.astype(np.int64))
                for i, model in enumerate(self._models):
                    similarity[draw, i] = [tau_a(model[drawn], subject[drawn]) for subject in self._region]
        return [self._averaged(similarity, multiplicity, counts) for multiplicity in multiplicities]

    def _averaged(
        self, similarity: np.ndarray, multiplicity: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        share = multiplicity / multiplicity.sum(axis=1, keepdims=True)
        evaluations = np.einsum("dms,ds->dm", similarity, share)
        if not self._ceilings:
            return evaluations, np.full((len(similarity), 2), np.nan)
        own: dict[bytes, np.ndarray] = {}
        with_pools = np.zeros((2, *multiplicity.shape))
        for draw, weights in enumerate(multiplicity):
            row = counts[draw if len(counts) > 1 else 0]
            if (row > 0).sum() < 2:
                with_pools[:, draw] = np.nan
                continue
            if (key := row.tobytes()) not in own:
                own = {key: self._ranks_under(row)}
            with_pools[:, draw] = _with_pools(own[key], weights)
        return evaluations, ceilings_of(with_pools[0], with_pools[1], multiplicity)

    def _ranks_under(self, counts: np.ndarray) -> np.ndarray:
        """Twice the mid-ranks of subjects within a draw of stimuli, [s, drawn pairs], whole numbers."""
        first, second = np.triu_indices(self._n, 1)
        weights = (counts[first] * counts[second]).astype(np.int64)
        return np.repeat(self._pooling.doubled_ranks(counts), weights[weights > 0], axis=1)


def _with_pools(ranks: np.ndarray, multiplicity: np.ndarray) -> np.ndarray:
    """tau-a of each subject [s, p] with the pool without it and with the whole pool, [2, s]; 0 where not drawn."""
    found = np.zeros((2, len(ranks)))
    whole = multiplicity @ ranks
    distinct = np.flatnonzero(multiplicity)
    for subject in distinct:
        if len(distinct) > 1:
            found[0, subject] = tau_a(whole - multiplicity[subject] * ranks[subject], ranks[subject])
        found[1, subject] = tau_a(whole, ranks[subject])
    return found


def tau_a(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-a of two vectors, from scipy's tau-b; equal to `rsatoolbox.rdm.compare(method="tau-a")`."""
    from scipy.stats import kendalltau

    total = len(x) * (len(x) - 1) / 2
    untied = [total - sum(n * (n - 1) / 2 for n in np.unique(v, return_counts=True)[1].tolist()) for v in (x, y)]
    if min(untied) == 0:
        return 0.0
    tau_b = float(kendalltau(x, y, method="asymptotic").statistic)
    # Concordant minus discordant pairs is an integer, so the detour costs no digits.
    return float(np.rint(tau_b * np.sqrt(untied[0]) * np.sqrt(untied[1])) / total)


def _signs(values: np.ndarray) -> np.ndarray:
    """sign(x_p - x_q), int8 [p, p]."""
    codes = np.unique(values, return_inverse=True)[1].astype(np.int16)
    return (codes[:, None] > codes).view(np.int8) - (codes[:, None] < codes).view(np.int8)


def _quadratic_forms(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    """w' Z w for each row w of integers [d, p], with Z [p, p] int8 of -1, 0 and 1; exact.

    Integer products where torch has them, else float32, in which sums below 2^24 are exact.
    """
    import torch

    if weights.max() < 128 and hasattr(torch, "_int_mm"):
        products = torch._int_mm(torch.from_numpy(weights.astype(np.int8)), torch.from_numpy(z)).numpy()
    else:
        products = weights.astype(np.float32) @ z.astype(np.float32)
    return np.einsum("dp,dp->d", weights, products.astype(np.float64))
