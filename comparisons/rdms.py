"""Representational dissimilarity matrices, float64, as vectors of the upper triangle by rows.

That order is scipy's `squareform` and rsatoolbox's. Whatever comes in (uint8, float16, integers, sparse codes) is made
float64 before anything is added up.

Patterns without a dissimilarity raise UndefinedPatterns, which names their rows, and are never turned into NaN or 0 in
silence: constant (dead) patterns for the correlation distance, zero patterns for the cosine distance, and patterns that
are not finite for all. Who calls decides what is dropped and reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import InputError

if TYPE_CHECKING:
    from rsatoolbox.rdm import RDMs
    from scipy.sparse import csr_array

_BYTES = 2**27
# A pattern whose spread is below this share of its own size is constant up to rounding.
_CONSTANT = 1e-12


class UndefinedPatterns(InputError):
    """Some patterns are constant or not finite, so their dissimilarity to others does not exist."""

    def __init__(self, rows: Iterable[int], n: int, why: str):
        self.rows = tuple(int(row) for row in rows)
        super().__init__(
            f"{len(self.rows)} of {n} patterns are {why} (the first is row {self.rows[0]}), so their dissimilarity to "
            "others is undefined; leave those stimuli or this site out."
        )


def correlation_rdm(patterns: np.ndarray | csr_array) -> np.ndarray:
    """1 - Pearson correlation between patterns, float64 [n (n - 1) / 2], of patterns [n, features] (or scipy sparse).

    Equal to `rsatoolbox.rdm.calc_rdm(method="correlation")` to 1e-12 where that is defined.
    Raises UndefinedPatterns where a pattern is constant or not finite.
    """
    kernel, size = _kernel(patterns, "rows")
    return 1 - upper_triangle(kernel, _inverse_norms(kernel, size, "constant"))


def pairs_of(ids: tuple[str, ...], some: tuple[str, ...]) -> np.ndarray | slice:
    """Where the pairs of `some` of the stimuli `ids` (in the same order) stand among the pairs of all.

    >>> pairs_of(("a", "b", "c", "d"), ("a", "c", "d")).tolist()
    [1, 2, 5]
    """
    if some == ids:
        return slice(None)
    place = {name: row for row, name in enumerate(ids)}
    rows = np.array([place[name] for name in some])
    first, second = (rows[at] for at in np.triu_indices(len(rows), 1))
    return first * (2 * len(ids) - first - 1) // 2 + second - first - 1


def cosine_rdm(patterns: np.ndarray | csr_array) -> np.ndarray:
    """1 - cosine of the angle between patterns, float64 [n (n - 1) / 2], of patterns [n, features] (or scipy sparse).

    Equal to `scipy.spatial.distance.pdist(metric="cosine")`. Raises UndefinedPatterns for zero or not finite patterns.
    """
    kernel, size = _kernel(patterns, None)
    return 1 - upper_triangle(kernel, _inverse_norms(kernel, size, "zero"))


def euclidean_rdm(patterns: np.ndarray | csr_array) -> np.ndarray:
    """Squared Euclidean distance over the number of features, float64 [n (n - 1) / 2], of patterns [n, features].

    Equal to `rsatoolbox.rdm.calc_rdm(method="euclidean")`, which is squared, too. Raises UndefinedPatterns for patterns
    that are not finite.
    """
    kernel, _ = _kernel(patterns, "columns")
    return kernel_distances(kernel) / patterns.shape[1]


def mahalanobis_rdm(patterns: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(x - y)' precision (x - y) / features, float64 [n (n - 1) / 2], of patterns [n, features].

    `precision` [features, features] is the inverse of the noise covariance (`crossvalidated_rdms.noise_precision`).
    Equal to `rsatoolbox.rdm.calc_rdm(method="mahalanobis")`. Raises UndefinedPatterns for patterns that are not finite,
    InputError where the precision does not fit.
    """
    x = dense_patterns(patterns)
    check_precision(precision, x.shape[1])
    x = x - x.mean(axis=0)
    return kernel_distances((x @ precision) @ x.T) / x.shape[1]


def poisson_rdm(patterns: np.ndarray, prior_mean: float = 1.0, prior_weight: float = 0.1) -> np.ndarray:
    """Symmetrised Kullback-Leibler divergence of Poisson rates over features, float64 [n (n - 1) / 2].

    sum (x - y)(log x - log y) / features of rates [n, features], each shrunk as (x + prior_mean prior_weight) /
    (1 + prior_weight). Equal to `rsatoolbox.rdm.calc_rdm(method="poisson")`.
    Raises UndefinedPatterns for rates that are negative or not finite.
    """
    rates = shrunk_rates(dense_patterns(patterns), prior_mean, prior_weight)
    return kernel_distances(rates @ np.log(rates).T) / rates.shape[1]


def shrunk_rates(rates: np.ndarray, prior_mean: float, prior_weight: float) -> np.ndarray:
    """Rates [n, features] drawn towards a prior, so that their logarithm exists.

    Raises UndefinedPatterns if any is negative.
    """
    if (rates < 0).any():
        raise UndefinedPatterns(np.flatnonzero((rates < 0).any(axis=-1)), len(rates), "negative and no rates")
    return (rates + prior_mean * prior_weight) / (1 + prior_weight)


def dense_patterns(patterns: np.ndarray) -> np.ndarray:
    """Patterns as float64 [n, features]; raises UndefinedPatterns where they are not finite."""
    x = np.asarray(patterns, dtype=np.float64)
    x = x.reshape(len(x), -1)
    if not np.isfinite(x).all():
        raise UndefinedPatterns(np.flatnonzero(~np.isfinite(x).all(axis=1)), len(x), "not finite")
    return x


def check_precision(precision: np.ndarray, features: int) -> None:
    """Raise InputError unless `precision` is a finite [features, features] matrix."""
    if precision.shape != (features, features) or not np.isfinite(precision).all():
        raise InputError(
            f"The noise precision has shape {precision.shape} or holds values that are not finite; {features} features "
            f"need a finite [{features}, {features}] matrix."
        )


def upper_triangle(square: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """The pairs [n (n - 1) / 2] above the diagonal of a matrix [n, n], by rows; times both stimuli's `scale` [n]."""
    n = len(square)
    out = np.empty(n * (n - 1) // 2, dtype=square.dtype)
    at = 0
    for row in range(n - 1):
        part = out[at : at + n - 1 - row]
        part[:] = square[row, row + 1 :]
        if scale is not None:
            part *= scale[row] * scale[row + 1 :]
        at += n - 1 - row
    return out


def kernel_distances(kernel: np.ndarray) -> np.ndarray:
    """k_ii + k_jj - k_ij - k_ji above the diagonal, [n (n - 1) / 2]."""
    own = np.diag(kernel)
    return upper_triangle(own[:, None] + own - kernel - kernel.T)


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

    Raises InputError unless its pattern descriptor `stimulus_id` holds exactly these ids, each once.
    """
    own = list(rdms.pattern_descriptors.get("stimulus_id", []))
    if sorted(own) != sorted(stimulus_ids) or len(set(own)) != len(own):
        raise InputError(
            f"The RDMs' {len(own)} stimulus ids are not the {len(stimulus_ids)} expected ones, each once; stimuli are "
            "aligned by id only: give both sides the same ids."
        )
    place = {name: row for row, name in enumerate(own)}
    rows = np.array([place[name] for name in stimulus_ids])
    upper = np.triu_indices(len(rows), 1)
    return rdms.get_matrices()[:, rows[upper[0]], rows[upper[1]]]


def _inverse_norms(kernel: np.ndarray, size: np.ndarray, why: str) -> np.ndarray:
    """1 over the norms [n]; raises UndefinedPatterns where a norm is rounding beside the pattern's `size`."""
    norm = np.sqrt(np.maximum(np.diag(kernel), 0))
    if (undefined := norm <= _CONSTANT * size).any():
        raise UndefinedPatterns(np.flatnonzero(undefined), len(kernel), why)
    return 1 / norm


def _kernel(patterns: np.ndarray | csr_array, centred: str | None) -> tuple[np.ndarray, np.ndarray]:
    """X X' [n, n] in float64 and the patterns' own norms [n], with each row's or column's mean taken out of X first.

    Dense patterns go through in blocks of features, so a float64 copy of all of them never exists.
    """
    from scipy.sparse import issparse

    if issparse(patterns):
        return _sparse_kernel(patterns, centred)
    x = patterns.reshape(len(patterns), -1) if patterns.ndim != 2 else patterns
    if not x.shape[1]:
        raise InputError(f"{len(x)} patterns of no features have no dissimilarities; pass [n_stim, features].")
    blocks = list(_blocks(x.shape[1], _BYTES // (8 * max(len(x), 1))))
    mean = np.zeros(len(x))
    size = np.zeros(len(x))
    for block in blocks:
        part = np.asarray(x[:, block], dtype=np.float64)
        mean += part.sum(axis=1)
        size += np.einsum("ij,ij->i", part, part)
    if not np.isfinite(size).all():
        raise UndefinedPatterns(np.flatnonzero(~np.isfinite(size)), len(x), "not finite")
    mean /= x.shape[1]
    kernel = np.zeros(0)
    for block in blocks:
        part = np.asarray(x[:, block], dtype=np.float64)
        if centred is not None:
            part = part - (mean[:, None] if centred == "rows" else part.mean(axis=0))
        product = part @ part.T
        kernel = product if block.start == 0 else np.add(kernel, product, out=kernel)
    return kernel, np.sqrt(size)


def _sparse_kernel(patterns: csr_array, centred: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The same of sparse patterns: the means come off the product, not off the patterns, which stay sparse."""
    x = patterns.astype(np.float64).tocsr()
    raw = (x @ x.T).toarray()
    size = np.sqrt(np.diag(raw))
    if not np.isfinite(size).all():
        raise UndefinedPatterns(np.flatnonzero(~np.isfinite(size)), len(size), "not finite")
    if centred == "rows":
        sums = np.asarray(x.sum(axis=1)).ravel()
        raw -= np.outer(sums, sums) / x.shape[1]
        # The subtraction leaves rounding of the size of the product: judge near-constant patterns by themselves.
        for row in np.flatnonzero(np.diag(raw) <= 1e-9 * size**2):
            pattern = x[[row]].toarray().ravel()
            raw[row, row] = np.sum((pattern - pattern.mean()) ** 2)
    return raw, size


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, max(size, 1)):
        yield slice(start, min(start + max(size, 1), n))
