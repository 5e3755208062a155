"""Distances to the two nearest neighbours of every point, exact, without holding all pairs.

In few dimensions by a k-d tree. Else pairs are ranked by |y|^2 - 2 x.y in float32, which is half of the work and
of the memory traffic of float64; whatever its rounding could have put in the wrong place is done again from the
differences in float64.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TREE_DIMENSIONS = 12
"""Up to so many coordinates a k-d tree finds neighbours faster than products of matrices do."""
BLOCK = 2**20
"""Pairs ranked at a time by one thread: they stay in the processor's cache."""


def two_nearest(points: Array) -> tuple[Array, Array]:
    """Euclidean distances from each of the points [n, D] to the nearest and the second nearest other one, [n] each.

    Points are finite, and three or more. Distances come from differences, so that they hold all digits also where
    points are close.
    """
    if points.shape[1] <= TREE_DIMENSIONS:
        from scipy.spatial import cKDTree

        found = cKDTree(points).query(points, k=3, workers=-1)[0]
        return found[:, 1], found[:, 2]
    centred = points - points.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=1))
    largest = size.max()
    if largest == 0:
        return np.zeros(len(points)), np.zeros(len(points))
    x = (centred / largest).astype(np.float32)
    square = (x * x).sum(axis=1)
    ones = np.ones((len(x), 1), np.float32)
    # [x, 1] . [-2 y, |y|^2] in one product
    left, right = np.hstack([x, ones]), np.ascontiguousarray(np.column_stack([-2 * x, square]).T)
    slack = _slack(np.sqrt(square), x.shape[1])
    rows = max(1, BLOCK // len(x))
    parts = [slice(start, min(start + rows, len(x))) for start in range(0, len(x), rows)]
    distances = np.empty((len(x), 2))

    def work(part: slice) -> None:
        row, column = _candidates(left[part] @ right, part.start, slack[part])
        distances[part] = _two_smallest(_distances(centred, row + part.start, column), row, part.stop - part.start)

    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    threads = max((library["num_threads"] for library in blas.info()), default=1)
    with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
    return distances[:, 0], distances[:, 1]


def _slack(size: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """How far apart rounding can move two ranks of a point of norm `size`, with all norms 1 at most: twice the bound
    gamma_n |x||y| of a product of n terms (Higham 2002, eq. 3.5), and of the rounding of its factors."""
    gamma = np.float32(width + 6) * np.finfo(np.float32).eps
    return np.asarray(2 * gamma * (2 * size + 1), np.float32)


def _candidates(
    ranks: NDArray[np.float32], start: int, slack: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of `ranks` [rows, n] among which are each row's two smallest, itself (start + row) left out."""
    here = np.arange(len(ranks))
    ranks[here, here + start] = np.inf
    nearest = ranks.argmin(axis=1)
    first = ranks[here, nearest]
    ranks[here, nearest] = np.inf
    within = (ranks.min(axis=1) + slack)[:, None]
    ranks[here, nearest] = first
    # One dimension at a time: numpy looks through a flat array twenty times faster.
    flat = np.flatnonzero(ranks <= within)
    return flat // ranks.shape[1], flat % ranks.shape[1]


def _distances(points: Array, one: NDArray[np.intp], other: NDArray[np.intp], at_once: int = 2**20) -> Array:
    """|points[one] - points[other]|, a part of the pairs at a time."""
    step = max(1, at_once // points.shape[1])
    parts = [slice(start, start + step) for start in range(0, len(one), step)]
    return np.concatenate([np.sqrt(((points[one[s]] - points[other[s]]) ** 2).sum(axis=1)) for s in parts])


def _two_smallest(values: Array, row: NDArray[np.intp], rows: int) -> Array:
    """The two smallest values of each row, [rows, 2]; `row` [value] ascends, and each row has two or more."""
    order = np.lexsort((values, row))
    start = np.searchsorted(row, np.arange(rows))
    return np.stack([values[order[start]], values[order[start + 1]]], axis=1)
