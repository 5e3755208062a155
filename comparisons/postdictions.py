"""Postdictions: what the residual-stream view says of facts that were known before it, by stage. They decide nothing.

    receptive field gives way to sparse code    `field_r2`, `sparse`
    complexity rises only in its upper tail     the least, median and greatest Gabor simplicity of a site's features
    one unit, many roles                        `overloading`
    redundancy                                  `redundancy`
    an ensemble of circuits                     `effective_dimension`, against width and pruning

Pure: arrays in, numbers out; n stimuli, d units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]
GAUSSIAN = 1 - 1 / np.pi
"""Sparseness of a half-rectified Gaussian, (1 - (1/sqrt(2 pi))^2 / (1/2)): what a code without any structure has."""


def field_r2(noise: NDArray, responses: NDArray) -> Array:
    """How well a linear receptive field predicts each unit: R2 by leave-one-out of responses [n, d] to noise [n, p].

    Ridge regression with a penalty a unit (`probes.ridge.ridge_scores`). 1 for a linear unit whose field lies within
    the noise, about 0 (or a little below) for one without a linear part. NaN for units that do not vary.
    """
    from probes.ridge import ridge_scores

    return np.asarray(ridge_scores(noise.astype(np.float64), responses.astype(np.float64)).r2, np.float64)


@dataclass(frozen=True)
class Sparse:
    """Lifetime sparseness of each unit over stimuli [d], and population sparseness of each stimulus over units [n]."""

    lifetime: Array
    population: Array


def sparse(responses: NDArray) -> Sparse:
    """Sparseness S = (1 - (mean r)^2 / mean r^2) / (1 - 1/n) (Vinje & Gallant 2000) of r = max(z, 0), z the responses
    [n, d] standardised by unit.

    A stream's units are signed and its scale grows with depth; standardised and rectified they are rates around a
    common level. Gaussian units then have S = .68 (`GAUSSIAN`) both ways: only what exceeds it is sparse. Units that do
    not vary or are not finite have NaN and do not count in the population.
    """
    from probes.tuning.series import sparseness

    x = np.asarray(responses, np.float64)
    usable = np.isfinite(x).all(axis=0)
    spread = np.where(usable, np.where(usable, x, 0).std(axis=0), 0)
    usable &= spread > 1e-9 * max(spread.max(initial=0), 1e-300)
    lifetime = np.full(x.shape[1], np.nan)
    if not usable.any():
        return Sparse(lifetime, np.full(len(x), np.nan))
    z = np.maximum((x[:, usable] - x[:, usable].mean(axis=0)) / spread[usable], 0)
    lifetime[usable] = sparseness(z.T)
    return Sparse(lifetime, sparseness(z) if usable.sum() > 1 else np.full(len(x), np.nan))


def overloading(curves: NDArray) -> Array:
    """How much a unit's tuning changes with context, [d]: 1 minus the mean correlation of its curves between contexts.

    `curves` [d, orientation, context]. Each pair of contexts counts by the product of the curves' standard deviations,
    so that contexts without tuning say nothing, and a change of gain alone is none:

        1 - sum_{c < c'} cov(c, c') / sum_{c < c'} sd(c) sd(c')

    0: one tuning in all contexts; 1: unrelated ones; up to 2: opposite ones. NaN for units that are tuned in fewer than
    two contexts. Raises InputError for fewer than two contexts or three orientations.
    """
    x = np.asarray(curves, np.float64)
    if x.ndim != 3 or x.shape[1] < 3 or x.shape[2] < 2:
        raise InputError(
            f"Curves have shape {list(x.shape)}; give [unit, orientation, context] with three orientations and two "
            "contexts or more."
        )
    x = x - x.mean(axis=1, keepdims=True)
    covariance = np.einsum("doc,doe->dce", x, x)
    sd = np.sqrt(np.einsum("dcc->dc", covariance))
    # A curve that is flat up to rounding has no shape.
    sd = np.where(sd > 1e-6 * np.maximum(sd.max(axis=1, keepdims=True), 1e-300), sd, 0)
    upper = np.triu_indices(x.shape[2], 1)
    weight = (sd[:, :, None] * sd[:, None, :])[:, upper[0], upper[1]].sum(axis=1)
    shared = covariance[:, upper[0], upper[1]].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, 1 - shared / weight, np.nan)


def redundancy(
    alive: Sequence[NDArray[np.bool_]], partners: Mapping[tuple[int, int], NDArray[np.intp]]
) -> tuple[float, Array]:
    """The share of all living features, and of each site's [K], that have a match at another site.

    `alive[k]` [m_k], and `partners[j, k]` [m_j] for j < k as in `persistence.survival.lives`. NaN for a site without a
    living feature. Raises InputError for fewer than two sites.
    """
    if len(alive) < 2:
        raise InputError(f"Features of {len(alive)} sites cannot be redundant; give two sites or more.")
    shared = [np.zeros(len(own), bool) for own in alive]
    for (j, k), found in partners.items():
        shared[j] |= found >= 0
        shared[k][found[found >= 0]] = True
    counts = np.array([(own & also).sum() for own, also in zip(alive, shared, strict=True)], float)
    living = np.array([own.sum() for own in alive], float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(counts.sum() / living.sum()) if living.sum() else float("nan"), counts / living


@dataclass(frozen=True)
class Dimension:
    """How many dimensions a population fills: participation ratio, and TwoNN's intrinsic dimension; width d beside."""

    participation: float
    intrinsic: float
    width: int


def effective_dimension(responses: NDArray) -> Dimension:
    """Of responses [n, d] to n independent stimuli (one token an image). NaN where nothing varies."""
    from probes.geometry import participation_ratio
    from probes.intrinsic import two_nn

    x = np.asarray(responses, np.float64)
    return Dimension(participation_ratio(x), two_nn(x).dimension, x.shape[1])
