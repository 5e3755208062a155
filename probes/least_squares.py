"""Small non-linear least-squares problems, thousands at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Model = Callable[[Array], tuple[Array, Array]]
"""Parameters [problem, p] to predictions [problem, n] and their derivatives [problem, n, p]."""


def levenberg_marquardt(
    model: Model, targets: Array, start: Array, low: Array, high: Array, iterations: int = 30
) -> tuple[Array, Array]:
    """Minimise sum_i (targets_i - model_i)^2 of each problem within box bounds.

    One damped Gauss-Newton step an iteration for all problems together (Marquardt 1963: the damping scales the
    diagonal; a step that does not help is undone and the damping raised tenfold). Steps are clipped to the bounds.

    `targets` is [problem, n], `start`, `low` and `high` broadcast to [problem, p]. Returns parameters [problem, p] and
    the sums of squares [problem]. Problems whose targets are not finite come back as NaN.
    """
    low, high = np.broadcast_to(low, start.shape), np.broadcast_to(high, start.shape)
    found = np.clip(start, low, high)
    usable = np.isfinite(targets).all(axis=1)
    safe = np.where(usable[:, None], targets, 0)
    predicted, slopes = model(found)
    cost = ((safe - predicted) ** 2).sum(axis=1)
    damping = np.full(len(found), 1e-2)
    diagonal = np.arange(found.shape[1])
    for _ in range(iterations):
        normal = slopes.swapaxes(1, 2) @ slopes
        ridge = normal[:, diagonal, diagonal]
        normal[:, diagonal, diagonal] += damping[:, None] * ridge + 1e-12 * ridge.max(axis=1, keepdims=True) + 1e-300
        gradient = (slopes.swapaxes(1, 2) @ (safe - predicted)[:, :, None])[:, :, 0]
        step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        tried = np.clip(found + step, low, high)
        new_predicted, new_slopes = model(tried)
        new_cost = ((safe - new_predicted) ** 2).sum(axis=1)
        better = new_cost < cost
        found = np.where(better[:, None], tried, found)
        predicted = np.where(better[:, None], new_predicted, predicted)
        slopes = np.where(better[:, None, None], new_slopes, slopes)
        cost = np.where(better, new_cost, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 10), 1e-9, 1e9)
        if not better.any() and (damping >= 1e6).all():
            break
    found[~usable], cost[~usable] = np.nan, np.nan
    return found, cost
