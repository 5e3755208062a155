"""Partial and semi-partial RSA: what a model's RDM shares with a region's beyond nuisance RDMs.

The residual of x given nuisances Z has inner products <x, y> - <x, Z> <Z, Z>^-1 <Z, y>, so partial correlations, their
noise ceilings (those of the subjects' residual RDMs) and their bootstraps follow from the inner products alone. For
"spearman" all RDMs are ranked within each draw first; ceilings pool residual ranks and do not rank them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bridge.errors import InputError
from comparisons.rsa.linear_scores import InnerProducts, inner_products, scores, similarities, stimuli_of
from comparisons.rsa.rank_scores import RankScores

MEASURES = ("spearman", "corr", "corr_cov")
# A residual below this share of its RDM is rounding: the nuisances explain all of it.
_EXPLAINED = 1e-10


class PartialScores:
    """Scores of models [m, pair] against subjects [s, pair] given nuisance RDMs [k, pair].

    Raises InputError where a measure has no partial form, or the nuisances explain all of a model or subject.
    """

    draws_at_once = 128

    def __init__(self, models: np.ndarray, region: np.ndarray, nuisance: np.ndarray, measure: str, semipartial: bool):
        if measure not in MEASURES:
            raise InputError(f"{measure!r} has no partial form here; choose one of {', '.join(MEASURES)}.")
        self._models, self._both, self._measure = models, np.concatenate([region, nuisance]), measure
        self._n_subjects, self._semipartial = len(region), semipartial
        self._ranks = RankScores(models, self._both, measure) if measure == "spearman" else None
        self._full = self._products(np.ones((1, stimuli_of(models.shape[1]))))
        for what, norms in (("model", self._full.models[0]), ("region", self._full.targets[0])):
            if len(rows := np.flatnonzero(norms == 0)):
                raise InputError(
                    f"The nuisance RDMs explain all of {len(rows)} {what} RDMs (the first is number {rows[0]}), so "
                    "nothing is left to compare; leave those out, or the nuisances."
                )

    def similarity(self) -> np.ndarray:
        """The partial correlation of every model and subject on all stimuli, [m, s]."""
        return similarities(self._full)[0]

    def ceiling(self) -> tuple[float, float]:
        """Lower and upper noise ceiling on all stimuli and subjects."""
        lower, upper = self.full(np.ones((1, self._n_subjects)))[1][0]
        return float(lower), float(upper)

    def full(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [d, m] and ceilings [d, 2] on all stimuli, per draw of subjects [d, s]."""
        return scores(self._full, multiplicity)

    def under(self, counts: np.ndarray, multiplicities: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same per draw of stimuli, counts [d, n_stim], once for each of the multiplicities [d, s]."""
        products = self._products(counts)
        return [scores(products, multiplicity) for multiplicity in multiplicities]

    def _products(self, counts: np.ndarray) -> InnerProducts:
        if self._ranks is not None:
            products = self._ranks.inner_products(counts)
        else:
            products = inner_products(self._models, self._both, self._measure, counts)
        return residual(products, self._n_subjects, self._semipartial)


def residual(products: InnerProducts, n_subjects: int, semipartial: bool) -> InnerProducts:
    """Inner products of residuals, where the subjects after the first `n_subjects` are nuisances.

    Semi-partial: subjects are compared whole, so only their part in the pooled RDM is residual.
    """
    s = n_subjects
    nuisance = products.subjects[:, s:, s:]
    inverse = np.linalg.pinv(nuisance, rcond=1e-12, hermitian=True)
    of_models, of_subjects = products.cross[:, :, s:] @ inverse, products.subjects[:, :s, s:] @ inverse
    cross = products.cross[:, :, :s] - of_models @ products.subjects[:, s:, :s]
    subjects = products.subjects[:, :s, :s] - of_subjects @ products.subjects[:, s:, :s]
    models = products.models - np.einsum("dmk,dmk->dm", of_models, products.cross[:, :, s:])
    models = np.where(models > _EXPLAINED * products.models, models, 0)
    whole = products.targets[:, :s]
    own = np.einsum("dss->ds", subjects)
    own = np.where(own > _EXPLAINED * whole, own, 0)
    targets = whole if semipartial else own
    return replace(products, cross=cross, subjects=subjects, models=models, pooling=np.sqrt(own), targets=targets)
