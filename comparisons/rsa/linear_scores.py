"""Correlation, cosine and their whitened forms between RDMs, over many bootstrap draws at once, exactly.

A draw of stimuli is a vector of counts c, and the pair (i, j) then weighs c_i c_j (pairs of a stimulus with itself are
left out). So every inner product that a draw needs is a weighted sum over the pairs, and one product of the weights
with the products of RDMs gives all of them. Evaluations and noise ceilings follow by algebra, because the pooled RDM
of a linear measure is a linear combination of the subjects' RDMs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MEASURES = ("corr", "cosine", "corr_cov", "cosine_cov")
_BYTES = 2**26
_MODELS_AT_ONCE = 64
# Weights of all pairs pay off when many products share them; below, quadratic forms are several times faster.
_FEW_PRODUCTS, _MANY_STIMULI = 32, 256
# A variance below this share of the mean square is rounding: the RDM is constant within the draw.
_ROUNDING = 1e-13


class LinearScores:
    """Scores of models [m, pair] against subjects [s, pair] under draws, by one of the linear MEASURES."""

    def __init__(self, models: np.ndarray, region: np.ndarray, measure: str):
        self._models, self._region, self._measure = models, region, measure
        self._n = stimuli_of(models.shape[1])
        self._full = inner_products(models, region, measure, np.ones((1, self._n)))

    @property
    def draws_at_once(self) -> int:
        """How many draws of stimuli fit into memory together."""
        held = len(self._models) * len(self._region) // 4
        if self._measure.endswith("_cov"):
            held = max(held, self._n * (min(len(self._models), _MODELS_AT_ONCE) + len(self._region)))
        return int(np.clip(_BYTES // (8 * max(held, 1)), 16, 512))

    def similarity(self) -> np.ndarray:
        """The measure between every model and subject on all stimuli, [m, s]."""
        return similarities(self._full)[0]

    def ceiling(self) -> tuple[float, float]:
        """Lower and upper noise ceiling on all stimuli and subjects."""
        lower, upper = self.full(np.ones((1, len(self._region))))[1][0]
        return float(lower), float(upper)

    def full(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [d, m] and ceilings [d, 2] on all stimuli, per draw of subjects [d, s]."""
        return scores(self._full, multiplicity)

    def under(self, counts: np.ndarray, multiplicities: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same per draw of stimuli, counts [d, n_stim], once for each of the multiplicities [d, s]."""
        products = inner_products(self._models, self._region, self._measure, counts)
        return [scores(products, multiplicity) for multiplicity in multiplicities]


def stimuli_of(pairs: int) -> int:
    """The number of stimuli that have this many pairs."""
    return round((1 + np.sqrt(1 + 8 * pairs)) / 2)


@dataclass(frozen=True)
class InnerProducts:
    """What the scores of d draws (or of one, for the full data) need of m models and s subjects.

    `cross` [d, m, s], `subjects` [d, s, s] and `models` [d, m] (with themselves) are inner products in the measure's
    geometry; `pooling` [d, s] is the norm by which a subject's RDM is divided before subjects are averaged, and
    `targets` [d, s] the squared norm of the RDM that models are compared with.
    """

    cross: np.ndarray
    subjects: np.ndarray
    models: np.ndarray
    pooling: np.ndarray
    targets: np.ndarray


def inner_products(models: np.ndarray, region: np.ndarray, measure: str, counts: np.ndarray) -> InnerProducts:
    """The inner products of models [m, pair] and subjects [s, pair] under stimulus counts [d, n_stim].

    Beside the inputs and outputs it holds a few hundred MB at most when d is a few hundred.
    """
    centred, whitened = measure.startswith("corr"), measure.endswith("_cov")
    n_subjects = len(region)
    region = conditioned(region, centred)
    upper = np.triu_indices(n_subjects)
    values, plain = _inner(region, counts, *upper, centred, whitened)
    subjects = np.empty((len(counts), n_subjects, n_subjects))
    subjects[:, upper[0], upper[1]] = subjects[:, upper[1], upper[0]] = values
    pooling = np.sqrt(plain[:, upper[0] == upper[1]])
    cross, own = [], []
    for start in range(0, len(models), _MODELS_AT_ONCE):
        block = conditioned(models[start : start + _MODELS_AT_ONCE], centred)
        m = len(block)
        left = np.concatenate([np.repeat(np.arange(m), n_subjects), np.arange(m)])
        right = np.concatenate([np.tile(np.arange(m, m + n_subjects), m), np.arange(m)])
        values, _ = _inner(np.concatenate([block, region]), counts, left, right, centred, whitened)
        cross.append(values[:, : m * n_subjects].reshape(len(counts), m, n_subjects))
        own.append(values[:, m * n_subjects :])
    targets = np.einsum("dss->ds", subjects)
    return InnerProducts(np.concatenate(cross, axis=1), subjects, np.concatenate(own, axis=1), pooling, targets)


def similarities(products: InnerProducts) -> np.ndarray:
    """The measure between models and subjects, [d, m, s]."""
    return products.cross * _inverse_root(products.models)[:, :, None] * _inverse_root(products.targets)[:, None, :]


def scores(products: InnerProducts, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluations [d, m] and ceilings [d, 2], of `multiplicity` [d, s]: how often each draw holds each subject.

    An evaluation is the mean over the drawn subjects of the measure between model and subject. The upper ceiling is the
    mean over the distinct subjects of the measure between a subject and the pooled RDM, the lower one leaves that
    subject out of the pool (Nili et al. 2014). As in `rsatoolbox.inference.boot_noise_ceiling`, a draw of one distinct
    subject has its upper ceiling as the lower one too. Draws of either argument broadcast. One subject has no ceilings.
    """
    share = multiplicity / multiplicity.sum(axis=1, keepdims=True)
    evaluations = (similarities(products) @ share[:, :, None])[..., 0]
    if multiplicity.shape[1] == 1:
        return evaluations, np.full((len(evaluations), 2), np.nan)
    return evaluations, ceilings_of(*with_pools(products, multiplicity), multiplicity)


def with_pools(products: InnerProducts, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The measure between each subject and the pool without it, and between it and the whole pool, two [d, s]."""
    own = np.einsum("dss->ds", products.subjects)
    inverse = _inverse_root(products.targets)
    weight = multiplicity * _inverse_root(products.pooling**2)
    with_pool = (products.subjects @ weight[:, :, None])[..., 0]
    pool = (with_pool * weight).sum(axis=1, keepdims=True)
    rest = pool - 2 * weight * with_pool + weight**2 * own
    lower = (with_pool - weight * own) * inverse * _inverse_root(np.maximum(rest, 0))
    return lower, with_pool * inverse * _inverse_root(pool)


def ceilings_of(lower: np.ndarray, upper: np.ndarray, multiplicity: np.ndarray) -> np.ndarray:
    """Ceilings [d, 2]: means over the distinct subjects of lower and upper similarities [d, s]."""
    distinct = np.broadcast_to(multiplicity > 0, upper.shape)
    several = distinct.sum(axis=1, keepdims=True) > 1
    lower = np.where(several, lower, upper)
    return np.stack([_mean_where(lower, distinct), _mean_where(upper, distinct)], axis=1)


def conditioned(rdms: np.ndarray, centred: bool) -> np.ndarray:
    """RDMs [k, pair] scaled, and for centred measures shifted, so that sums of squares keep their digits."""
    rdms = rdms - rdms.mean(axis=1, keepdims=True) if centred else rdms
    size = np.sqrt(np.einsum("kp,kp->k", rdms, rdms) / rdms.shape[1])[:, None]
    return rdms / np.where(size > 0, size, 1)


def weighted_products(rdms: np.ndarray, counts: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """sum_{i<j} c_i c_j x_ij y_ij, [d, len(left)], for the RDMs x = rdms[left], y = rdms[right] of rdms [k, pair]."""
    draws, n = counts.shape
    if len(left) < _FEW_PRODUCTS and n > _MANY_STIMULI:
        return _quadratic_forms(rdms, counts, left, right)
    by_stimulus = np.ascontiguousarray(counts.T)
    out = np.zeros((len(left), draws))
    for first, last, start, stop in _row_blocks(n, _BYTES // (8 * (draws + 2 * len(left)))):
        weights = np.empty((stop - start, draws))
        at = 0
        for row in range(first, last):
            size = n - 1 - row
            np.multiply(by_stimulus[row], by_stimulus[row + 1 :], out=weights[at : at + size])
            at += size
        out += (rdms[left, start:stop] * rdms[right, start:stop]) @ weights
    return out.T


def _quadratic_forms(rdms: np.ndarray, counts: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The same as c' (X * Y) c, which never writes out the weight of every pair in every draw."""
    n = counts.shape[1]
    out = np.zeros((len(counts), len(left)))
    for first, last, start, stop in _row_blocks(n, _MANY_STIMULI * n):
        tile = np.zeros((last - first, n - first))
        for column, (x, y) in enumerate(zip(left, right, strict=True)):
            products = rdms[x, start:stop] * rdms[y, start:stop]
            at = 0
            for row in range(last - first):
                size = n - 1 - first - row
                tile[row, row + 1 :] = products[at : at + size]
                at += size
            out[:, column] += np.einsum("dj,dj->d", counts[:, first:last] @ tile, counts[:, first:])
    return out


def _row_blocks(n: int, pairs: int) -> Iterator[tuple[int, int, int, int]]:
    """Blocks (first row, last row, first pair, last pair) of an RDM's upper triangle, of about `pairs` pairs."""
    row = start = 0
    while row < n - 1:
        first, begin = row, start
        while row < n - 1 and (row == first or start + n - 1 - row - begin <= pairs):
            start += n - 1 - row
            row += 1
        yield first, row, begin, start


def _inner(
    rdms: np.ndarray, counts: np.ndarray, left: np.ndarray, right: np.ndarray, centred: bool, whitened: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Inner products [d, len(left)] in the measure's geometry, and the plain ones (centred where the measure is)."""
    size = counts.sum(axis=1, keepdims=True)
    total = (size**2 - (counts**2).sum(axis=1, keepdims=True)) / 2
    total = np.where(total > 0, total, np.nan)
    k = len(rdms)
    mean = np.zeros((len(counts), k))
    if centred:
        ones = np.ones((1, rdms.shape[1]))
        every = np.concatenate([left, np.arange(k)]), np.concatenate([right, np.full(k, k)])
        products = weighted_products(np.concatenate([rdms, ones]), counts, *every)
        raw, sums = products[:, : len(left)], products[:, len(left) :]
        mean = sums / total
        plain = raw - mean[:, left] * sums[:, right]
        plain[(left == right) & (plain <= _ROUNDING * raw)] = 0
    else:
        plain = weighted_products(rdms, counts, left, right)
    if not whitened:
        return plain, plain
    whitened_products = _whitened(rdms, counts, plain, mean, left, right)
    whitened_products[(left == right) & (plain == 0)] = 0
    return whitened_products, plain


def _whitened(
    rdms: np.ndarray, counts: np.ndarray, plain: np.ndarray, mean: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """x' V^-1 y [d, len(left)], where V is the covariance of an RDM's entries under equal noise of all patterns.

    V = 2 I + B B' with the incidence B of pairs and patterns, so that by the Woodbury and Sherman-Morrison identities,
    with row sums s_a over the drawn pairs of stimulus a and d_a = n + 2 - 2 c_a,
    x' V^-1 y = (x'y - sum c s^x s^y / d + (sum c s^x / d)(sum c s^y / d) / (1 + sum c / d)) / 2.
    This is `rsatoolbox.rdm.compare(method="corr_cov" | "cosine_cov")` without a solve. The signed V (differences of
    patterns, whose squared covariance V holds) does not matter: its squares are the same.
    """
    n = counts.shape[1]
    size = counts.sum(axis=1, keepdims=True)
    squares = np.zeros((len(rdms), n, n))
    upper = np.triu_indices(n, 1)
    squares[:, upper[0], upper[1]] = rdms
    squares += squares.transpose(0, 2, 1)
    rows = np.stack([counts @ square for square in squares], axis=2)
    rows -= mean[:, None, :] * (size - counts)[:, :, None]
    divisor = size + 2 - 2 * counts
    # A stimulus that fills exactly half of the draw and one more leaves the identity; such draws are not numbers.
    scale = np.divide(counts, divisor, out=np.full_like(counts, np.nan), where=divisor != 0)
    weighted = rows * scale[:, :, None]
    bilinear = weighted.transpose(0, 2, 1) @ rows
    linear = weighted.sum(axis=1)
    last = linear[:, left] * linear[:, right] / (1 + scale.sum(axis=1, keepdims=True))
    return (plain - bilinear[:, left, right] + last) / 2


def _inverse_root(squared: np.ndarray) -> np.ndarray:
    """1 / sqrt, and 0 where there is nothing to divide by: a constant RDM has similarity 0 within a draw."""
    return np.divide(1, np.sqrt(np.maximum(squared, 0)), out=np.zeros_like(squared), where=squared > 0)


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values chosen by `where`, 0 elsewhere."""
    return np.where(where, values, 0).sum(axis=-1) / where.sum(axis=-1)
