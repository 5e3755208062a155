"""Radius, dimension and classification capacity of object manifolds (Chung, Lee & Sompolinsky 2018).

A manifold is the set of responses to one object under all its variations. Capacity is the number of manifolds, per
dimension of the space, that a linear classifier can separate whatever their labels (2 for points: Cover 1965).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ManifoldGeometry:
    """Of each manifold [manifold]; radius is relative to the distance of its centre from the mean of all centres.

    NaN for manifolds whose centre is that mean.
    """

    radius: Array
    dimension: Array
    capacity: Array

    @property
    def mean_capacity(self) -> float:
        """Capacity of the whole set: the harmonic mean over manifolds (Cohen et al. 2020, Methods)."""
        return float(1 / np.mean(1 / self.capacity))


def manifold_geometry(responses: NDArray, labels: Sequence[object] | NDArray, draws: int = 200, seed: int = 0) -> (
    ManifoldGeometry
):  # fmt: skip
    """Mean-field geometry of the manifolds that `labels` [n] make of responses [n, d], at margin 0, by label order.

    Each manifold is taken in its own affine span with its centre as one more axis. For t ~ N(0, I) (`draws` of them),
    the projection of t on the cone of the manifold's points gives the anchor point s:

        1 / capacity = E |proj(t)|^2        radius^2 = E |s_within|^2 / s_centre^2
        dimension = D (E t_hat . s_hat)^2   over the D axes within the manifold

    Chung et al. 2018, eq. 16-17 and 28-29. Correlations between centres are not removed (Cohen et al. 2020 do so):
    where centres are correlated, capacity is overestimated alike for all sites compared.

    Raises InputError for fewer than two labels, and for responses that are not finite.
    """
    x = np.asarray(responses, np.float64)
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    if x.ndim != 2 or len(codes) != len(x) or not np.isfinite(x).all() or len(names) < 2:
        raise InputError(
            f"{len(x)} responses with {len(codes)} labels of {len(names)} objects: give finite responses [n, d] of two "
            "objects or more, and one label each."
        )
    centres = np.stack([x[codes == code].mean(axis=0) for code in range(len(names))])
    mean = centres.mean(axis=0)
    found = [
        _one(x[codes == code] - mean, centres[code] - mean, draws, np.random.default_rng([seed, code]))
        for code in range(len(names))
    ]
    return ManifoldGeometry(*np.array(found).T)


def _one(points: Array, centre: Array, draws: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """(radius, dimension, capacity) of one manifold [n, d] around its centre [d]."""
    distance = np.linalg.norm(centre)
    if distance <= 1e-12 * max(np.abs(points).max(), 1e-300):
        return float("nan"), float("nan"), float("nan")
    axes = _span(points - centre, centre / distance)
    within = (points - centre) @ axes.T / distance  # [n, D], in units of the centre's distance
    along = 1 + (points - centre) @ centre / distance**2
    return cone_geometry(np.column_stack([within, along]), draws, rng)


def _span(differences: Array, direction: Array) -> Array:
    """An orthonormal basis [D, d] of the points' span without the centre's direction."""
    rest = differences - np.outer(differences @ direction, direction)
    _, size, right = np.linalg.svd(rest, full_matrices=False)
    return right[size > 1e-9 * max(size.max(initial=0), 1e-300)] if size.max(initial=0) > 1e-12 else right[:0]


def cone_geometry(points: Array, draws: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """(radius, dimension, capacity) from points [n, D + 1] whose last coordinate is that along the centre.

    The projection on the cone {sum_i a_i s_i, a >= 0} is a non-negative least-squares problem; where t lies in the
    polar cone the projection is 0, and the anchor point is the point of the manifold that t leans to most.
    """
    from scipy.optimize import nnls

    t = rng.standard_normal((draws, points.shape[1]))
    squared, anchors = np.zeros(draws), np.empty_like(t)
    for number, direction in enumerate(t):
        weights, _ = nnls(points.T, direction)
        total = weights.sum()
        if total > 0:
            projection = weights @ points
            squared[number], anchors[number] = projection @ projection, projection / total
        else:
            anchors[number] = points[(points @ direction).argmax()]
    capacity = 1 / squared.mean()
    if points.shape[1] == 1:
        return 0.0, 0.0, float(capacity)
    within = anchors[:, :-1]
    radius = np.sqrt(((within / anchors[:, -1:]) ** 2).sum(axis=1).mean())
    sizes = np.linalg.norm(t[:, :-1], axis=1) * np.maximum(np.linalg.norm(within, axis=1), 1e-300)
    leaning = (t[:, :-1] * within).sum(axis=1) / sizes
    return float(radius), float((points.shape[1] - 1) * leaning.mean() ** 2), float(capacity)
