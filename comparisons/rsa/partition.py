"""Variance partitioning: how much of a region's RDM each group of predictor RDMs explains alone, and which share.

R2 of every union of groups by least squares, and from them the commonality coefficients: with N all groups, the part
that exactly the groups T explain together is C(T) = sum over U in T of (-1)^(|U| + 1) R2((N - T) + U) (Nimon & Oswald
2013). A common part can be negative (suppression). R2 is that of the data at hand, so its bias is upwards, by about the
number of predictors over the number of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import numpy as np

from bridge.errors import InputError
from comparisons.rsa.bootstrap import Draws, Resampling
from comparisons.rsa.evaluation import check_rdms
from comparisons.rsa.inference import RSA, infer
from comparisons.rsa.linear_scores import InnerProducts, inner_products, stimuli_of, with_pools
from comparisons.rsa.rank_scores import RankScores

MEASURES = ("spearman", "corr")
_MOST_GROUPS = 6


def partition_variance(
    groups: Mapping[str, np.ndarray],
    region: np.ndarray,
    *,
    measure: str = "corr",
    draws: int = 1000,
    seed: int = 0,
    resampling: Resampling | None = None,
    replay: Draws | None = None,
) -> tuple[tuple[tuple[str, ...], ...], RSA]:
    """Parts of the variance of a region's RDMs [s, pair] that groups of RDMs [k, pair] explain, with intervals.

    Returns the parts (which groups explain a part together; the last one holds none and is the total R2) and their
    inference, whose `estimate` [part] is the mean over subjects and whose `ceiling` is the squared noise ceiling. The
    parts but the last add up to the total. "spearman" partitions the variance of ranks.

    Raises InputError for other measures, no group or more than six, and RDMs that do not fit.
    """
    if measure not in MEASURES or not 1 <= len(groups) <= _MOST_GROUPS:
        raise InputError(
            f"Variance is partitioned by 'spearman' or 'corr' over one to {_MOST_GROUPS} groups; {measure!r} over "
            f"{len(groups)} was given."
        )
    for rdms in groups.values():
        n = check_rdms(rdms, region, "predictor")
    scores = PartitionScores(groups, region, measure)
    return scores.parts, infer(scores, n, len(region), draws, seed, None, resampling, replay)


class PartitionScores:
    """The parts of variance under draws: a part stands where other scores have a model."""

    draws_at_once = 128

    def __init__(self, groups: Mapping[str, np.ndarray], region: np.ndarray, measure: str):
        names = tuple(groups)
        subsets = list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))
        self.parts: tuple[tuple[str, ...], ...] = (*subsets, ())
        owners = np.concatenate([np.full(len(rdms), index) for index, rdms in enumerate(groups.values())])
        self._members = [np.flatnonzero(np.isin(owners, [names.index(name) for name in part])) for part in subsets]
        self._combination = np.stack([_commonality(part, subsets, names) for part in self.parts])
        self._n_subjects, self._measure = len(region), measure
        self._rdms = np.concatenate([region, *groups.values()]).astype(np.float64)
        self._ranks = RankScores(self._rdms[:1], self._rdms, measure) if measure == "spearman" else None
        self._full = self._products(np.ones((1, stimuli_of(region.shape[1]))))

    def similarity(self) -> np.ndarray:
        """Every part for every subject on all stimuli, [part, s]."""
        return self._parts(self._full)[0]

    def ceiling(self) -> tuple[float, float]:
        """Mean over subjects of the squared correlation with the pool without the subject, and with the whole pool."""
        s = self._n_subjects
        own = InnerProducts(
            self._full.cross[:, :, :s],
            self._full.subjects[:, :s, :s],
            self._full.models,
            self._full.pooling[:, :s],
            self._full.targets[:, :s],
        )
        lower, upper = (float(np.mean(side**2)) for side in with_pools(own, np.ones((1, s))))
        return lower, upper

    def full(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parts [d, part] on all stimuli, per draw of subjects [d, s]; the ceilings [d, 2] are not resampled (NaN)."""
        return _averaged(self._parts(self._full), multiplicity)

    def under(self, counts: np.ndarray, multiplicities: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same per draw of stimuli, counts [d, n_stim], once for each of the multiplicities [d, s]."""
        parts = self._parts(self._products(counts))
        return [_averaged(parts, multiplicity) for multiplicity in multiplicities]

    def _products(self, counts: np.ndarray) -> InnerProducts:
        if self._ranks is not None:
            return self._ranks.inner_products(counts)
        return inner_products(self._rdms[:1], self._rdms, self._measure, counts)

    def _parts(self, products: InnerProducts) -> np.ndarray:
        """[d, part, s]"""
        s = self._n_subjects
        explained = []
        for members in self._members:
            columns = members + s
            among = products.subjects[:, columns[:, None], columns]
            with_subjects = products.subjects[:, columns, :s]
            weights = np.linalg.pinv(among, rcond=1e-12, hermitian=True) @ with_subjects
            explained.append(np.einsum("dks,dks->ds", weights, with_subjects) / products.targets[:, :s])
        return np.einsum("tu,uds->dts", self._combination, np.stack(explained))


def _averaged(parts: np.ndarray, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    share = multiplicity / multiplicity.sum(axis=1, keepdims=True)
    return (parts @ share[:, :, None])[..., 0], np.full((len(multiplicity), 2), np.nan)


def _commonality(part: tuple[str, ...], subsets: list[tuple[str, ...]], names: tuple[str, ...]) -> np.ndarray:
    """The coefficients of R2 of every subset in C(part), [subset]; the empty part stands for the total R2."""
    out = np.zeros(len(subsets))
    if not part:
        out[-1] = 1
        return out
    for size in range(len(part) + 1):
        for chosen in combinations(part, size):
            union = tuple(name for name in names if name in chosen or name not in part)
            if union:
                out[subsets.index(union)] += (-1) ** (size + 1)
    return out
