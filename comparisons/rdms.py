"""Representational dissimilarity matrices, float64, as vectors of the upper triangle by rows.

That order is scipy's `squareform` and rsatoolbox's. Dead or constant patterns have no correlation with anything:
they raise, naming the patterns, and are never turned into NaN or 0 in silence; who calls decides what is dropped and
reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import InputError

if TYPE_CHECKING:
    from rsatoolbox.rdm import RDMs


class UndefinedPatterns(InputError):
    """Some patterns are constant or not finite, so their dissimilarity to others does not exist."""

    def __init__(self, rows: Iterable[int], n: int, why: str):
        self.rows = tuple(int(row) for row in rows)
        super().__init__(
            f"{len(self.rows)} of {n} patterns are {why} (the first is row {self.rows[0]}), so their correlation "
            "distance is undefined; leave those stimuli or this site out."
        )


def correlation_rdm(patterns: np.ndarray) -> np.ndarray:
    """1 - Pearson correlation between patterns, float64 [n (n - 1) / 2], of patterns [n, features].

    Equal to `rsatoolbox.rdm.calc_rdm(method="correlation")` to 1e-12 where that is defined.
    Raises UndefinedPatterns where a pattern is constant or not finite.
    """
    x = np.asarray(patterns, dtype=np.float64)
    x = x.reshape(len(x), -1)
    if not np.isfinite(x).all():
        raise UndefinedPatterns(np.flatnonzero(~np.isfinite(x).all(axis=1)), len(x), "not finite")
    x = x - x.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(x, axis=1)
    # A constant float32 pattern keeps rounding noise after centring: judge it against the pattern's own size.
    size = np.abs(np.asarray(patterns, dtype=np.float64).reshape(len(x), -1)).max(axis=1)
    constant = norms <= 1e-12 * np.sqrt(x.shape[1]) * np.maximum(size, np.finfo(np.float64).tiny)
    if constant.any():
        raise UndefinedPatterns(np.flatnonzero(constant), len(x), "constant")
    x /= norms[:, None]
    return 1 - (x @ x.T)[np.triu_indices(len(x), 1)]


def to_rsatoolbox(rdms: np.ndarray, stimulus_ids: Sequence[str], measure: str = "correlation") -> RDMs:
    """RDM vectors [rdm, pair] as an rsatoolbox `RDMs`, with the pattern descriptor `stimulus_id`."""
    from rsatoolbox.rdm import RDMs

    return RDMs(
        np.atleast_2d(rdms),
        dissimilarity_measure=measure,
        pattern_descriptors={"stimulus_id": list(stimulus_ids)},
    )


def from_rsatoolbox(rdms: RDMs, stimulus_ids: Sequence[str]) -> np.ndarray:
    """The vectors [rdm, pair] of an rsatoolbox `RDMs`, put in the order of `stimulus_ids`.

    Raises InputError unless its pattern descriptor `stimulus_id` holds exactly these ids.
    """
    own = list(rdms.pattern_descriptors.get("stimulus_id", []))
    if sorted(own) != sorted(stimulus_ids):
        raise InputError(
            f"The RDMs' {len(own)} stimulus ids are not the {len(stimulus_ids)} expected ones; stimuli are aligned by "
            "id only: give both sides the same ids."
        )
    rows = np.array([own.index(name) for name in stimulus_ids])
    upper = np.triu_indices(len(rows), 1)
    return rdms.get_matrices()[:, rows[upper[0]], rows[upper[1]]]
