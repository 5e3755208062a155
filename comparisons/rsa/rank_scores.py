"""Spearman's rho and rho-a between RDMs, over many bootstrap draws, exactly.

A draw weighs the pair (i, j) by c_i c_j, the product of the counts of its stimuli. The rank that a pair has among the
drawn pairs follows from the running sum of these weights along the order of the full RDM, ties included, so nothing is
sorted again for models and subjects. Pooled RDMs (means of ranks) change their order with every draw and are sorted; as
sums of half-integers they are exact, so the ties are exact too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comparisons.rsa.linear_scores import InnerProducts, ceilings_of, stimuli_of

MEASURES = ("spearman", "rho-a")


class RankScores:
    """Scores of models [m, pair] against subjects [s, pair] under draws, by one of the rank MEASURES."""

    draws_at_once = 16

    def __init__(self, models: np.ndarray, region: np.ndarray, measure: str):
        self._measure, self._n_models, self._n_subjects = measure, len(models), len(region)
        # The place of each value among the distinct values of its RDM; ranks follow from it by counting.
        codes = [np.unique(rdm, return_inverse=True)[1] for rdm in (*models, *region)]
        self._levels = 1 + max(int(code.max()) for code in codes)
        self._codes = np.stack(codes).astype(np.int32)
        n = stimuli_of(models.shape[1])
        self._first, self._second = (side.astype(np.int32) for side in np.triu_indices(n, 1))
        self._full = self._ranked(np.ones(n))

    def similarity(self) -> np.ndarray:
        """The measure between every model and subject on all stimuli, [m, s]."""
        return self._full.similarity

    def ceiling(self) -> tuple[float, float]:
        """Lower and upper noise ceiling on all stimuli and subjects."""
        lower, upper = self.full(np.ones((1, self._n_subjects)))[1][0]
        return float(lower), float(upper)

    def full(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [d, m] and ceilings [d, 2] on all stimuli, per draw of subjects [d, s]."""
        return self._full.scores(multiplicity)

    def under(self, counts: np.ndarray, multiplicities: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same per draw of stimuli, counts [d, n_stim], once for each of the multiplicities [d, s]."""
        parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in multiplicities]
        for draw, row in enumerate(counts):
            ranked = self._ranked(row)
            for part, multiplicity in zip(parts, multiplicities, strict=True):
                part.append(ranked.scores(multiplicity[draw : draw + 1]))
        return [(np.concatenate([a for a, _ in part]), np.concatenate([b for _, b in part])) for part in parts]

    def doubled_ranks(self, counts: np.ndarray) -> np.ndarray:
        """Twice the subjects' mid-ranks of the drawn pairs, each pair once, [s, distinct pairs], under counts [n]."""
        return self._ranked(counts)._doubled

    def inner_products(self, counts: np.ndarray) -> InnerProducts:
        """Weighted inner products of the centred ranks, per draw of stimuli, counts [d, n_stim]."""
        parts = [self._ranked(row).inner_products() for row in counts]
        cross, subjects, models = (np.stack(side) for side in zip(*parts, strict=True))
        targets = np.einsum("dss->ds", subjects)
        return InnerProducts(cross, subjects, models, np.sqrt(targets), targets)

    def _ranked(self, counts: np.ndarray) -> _Ranked:
        weights = counts[self._first] * counts[self._second]
        drawn = np.flatnonzero(weights)
        weights = weights[drawn]
        if not len(drawn):
            return _Ranked(np.zeros((self._n_models + self._n_subjects, 0)), weights, self._n_models, self._measure)
        return _Ranked(self._ranks(drawn, weights), weights, self._n_models, self._measure)

    def _ranks(self, drawn: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Mid-ranks [m + s, len(drawn)] of the drawn pairs, each counted as often as it was drawn."""
        k = len(self._codes)
        place = self._codes[:, drawn] + (np.arange(k) * self._levels)[:, None]
        held = np.bincount(place.ravel(), weights=np.tile(weights, k), minlength=k * self._levels)
        held = held.reshape(k, self._levels)
        middle = np.cumsum(held, axis=1) - (held - 1) / 2
        return middle.ravel()[place]


class _Ranked:
    """One draw of stimuli: mid-ranks [m + s, p] of the p drawn pairs, each of which counts `weights` [p] times."""

    def __init__(self, ranks: np.ndarray, weights: np.ndarray, n_models: int, measure: str):
        self._weights, self._measure = weights, measure
        self._total = weights.sum()
        self._centre = (self._total + 1) / 2
        models, subjects = ranks[:n_models] - self._centre, ranks[n_models:] - self._centre
        self._models, self._subjects = models, subjects
        self._weighted = subjects * weights
        self._inverse = self._inverse_norm(subjects)
        self.similarity = (models @ self._weighted.T) * self._inverse_norm(models)[:, None] * self._inverse
        """[m, s]"""
        self._doubled = np.rint(2 * ranks[n_models:])

    def inner_products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of models and subjects [m, s], subjects and subjects [s, s], models with themselves [m]."""
        own = np.einsum("mp,mp,p->m", self._models, self._models, self._weights)
        return self._models @ self._weighted.T, self._subjects @ self._weighted.T, own

    def scores(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [d, m] and ceilings [d, 2] per draw of subjects [d, s]; one subject has no ceilings."""
        share = multiplicity / multiplicity.sum(axis=1, keepdims=True)
        evaluations = share @ self.similarity.T
        if multiplicity.shape[1] == 1 or not len(self._weights):
            return evaluations, np.full((len(evaluations), 2), np.nan)
        lower, upper = (np.stack(side) for side in zip(*map(self._with_pools, multiplicity), strict=True))
        return evaluations, ceilings_of(lower, upper, multiplicity)

    def _with_pools(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Similarity of each subject to the pool without it and to the whole pool, two [s]; 0 where not drawn."""
        distinct = np.flatnonzero(multiplicity)
        whole = np.einsum("s,sp->p", multiplicity, self._doubled)
        without = whole - multiplicity[distinct, None] * self._doubled[distinct]
        ranks = _weighted_ranks(np.concatenate([whole[None], without]).astype(np.int64), self._weights) - self._centre
        inverse = self._inverse_norm(ranks)
        lower, upper = np.zeros((2, len(multiplicity)))
        weighted, own = self._weighted[distinct], self._inverse[distinct]
        upper[distinct] = np.einsum("sp,p->s", weighted, ranks[0]) * inverse[0] * own
        lower[distinct] = np.einsum("sp,sp->s", weighted, ranks[1:]) * inverse[1:] * own
        return lower, upper

    def _inverse_norm(self, centred: np.ndarray) -> np.ndarray:
        """1 over the norm of centred ranks [k, p], 0 for constant ones; rho-a takes the norm of ranks without ties."""
        if self._measure == "rho-a":
            squared = np.full(len(centred), (self._total**3 - self._total) / 12)
        else:
            squared = np.einsum("kp,kp,p->k", centred, centred, self._weights)
        return np.divide(1, np.sqrt(squared), out=np.zeros_like(squared), where=squared > 0)


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks [k, p] of non-negative integers [k, p] along each row, where entry p counts `weights[p]` times."""
    k, p = values.shape
    bits = p.bit_length()
    keys = (values << bits) | np.arange(p)
    if values.max() >> (31 - bits) == 0:
        keys = keys.astype(np.int32)
    keys.sort(axis=1)
    place = keys & ((1 << bits) - 1)
    keys >>= bits
    last = np.ones((k, p), dtype=bool)
    np.not_equal(keys[:, 1:], keys[:, :-1], out=last[:, :-1])
    ends = np.flatnonzero(last)
    upto = np.cumsum(weights[place], axis=1).ravel()[ends]
    starts = np.concatenate([[0], ends[:-1] + 1])
    before = np.where(starts % p == 0, 0, np.roll(upto, 1))
    middle = np.repeat((before + upto + 1) / 2, ends - starts + 1)
    out = np.empty((k, p))
    np.put_along_axis(out, place.astype(np.int64), middle.reshape(k, p), axis=1)
    return out
