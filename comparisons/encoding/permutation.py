"""Permutation of held-out stimuli: an exact test of whether a map predicts anything.

Maps are fitted once, on one half of the stimuli, and the stimuli of the other half are permuted against their
predictions. Under the null (responses that do not depend on the features) every order is equally likely, whatever the
map, the neuroids' distributions and their noise correlations are. Splits that share stimuli have no such test: what one
predicts another fits, so their scores are dependent even under the null, and permuting within each split takes them for
independent: with ten splits it rejected 18% of 400 simulations of noise. Nothing is fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.errors import InputError
from comparisons.encoding.evaluation import brainscore_splits, predictivity

_ROUNDING = 1e-6  # of sums in float32


@dataclass(frozen=True)
class PermutedPredictions:
    """Standardised predictions and responses of held-out stimuli, [n_test, neuroid] each, NaN where undefined."""

    predictions: np.ndarray
    responses: np.ndarray
    orders: np.ndarray
    """Permutations of the held-out stimuli, [permutation, n_test]."""

    def p(self, neuroids: np.ndarray | None = None) -> float:
        """Two-sided p of the median r over (some) neuroids; NaN where no neuroid has one.

        It is never 0: the given order counts as one of the permutations.
        """
        a, b = self.predictions, self.responses
        if neuroids is not None:
            a, b = a[:, neuroids], b[:, neuroids]
        known = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
        if not known.any():
            return float("nan")
        a, b = (np.ascontiguousarray(values[:, known], dtype=np.float32) for values in (a, b))
        null = np.stack([np.einsum("iq,iq->q", a, b[order]) for order in self.orders])
        own = abs(float(np.median(np.einsum("iq,iq->q", a, b))))
        return float((1 + (np.abs(np.median(null, axis=1)) >= own - _ROUNDING).sum()) / (1 + len(null)))


def permuted_predictions(
    features: Any,
    responses: np.ndarray,
    *,
    permutations: int = 5000,
    seed: int = 0,
    strata: Sequence[Any] | np.ndarray | None = None,
    **options: Any,
) -> PermutedPredictions:
    """Fit on half of the stimuli, drawn from `seed` (within `strata`), and permute the other half.

    Arguments and options are those of `predictivity` but its splits. Neuroids that miss a held-out stimulus take no
    part. Raises InputError as `predictivity`, and for fewer than 4 stimuli to permute.
    """
    n = len(responses)
    splits = brainscore_splits(n, strata, splits=1, train_size=0.5, seed=seed)
    test = splits[0][1]
    if len(test) < 4:
        raise InputError(f"{len(test)} held-out stimuli have too few orders for a test; it needs 8 stimuli at least.")
    found = predictivity(features, responses, splits=splits, **options)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(test)) for _ in range(permutations)]).reshape(permutations, len(test))
    return PermutedPredictions(_standardised(found.predictions[0]), _standardised(found.responses[test]), orders)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and norm 1, whose products are correlations; NaN for constant ones and those with NaN."""
    centred = values - values.mean(axis=0)
    size = np.linalg.norm(centred, axis=0)
    constant = (values == values[:1]).all(axis=0) | ~(size > 0)
    return np.divide(centred, size, out=np.full_like(centred, np.nan), where=~constant)
