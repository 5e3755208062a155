"""Intrinsic dimension of a cloud of points by its two nearest neighbours, at full density and thinned out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from probes.neighbours import two_nearest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TwoNN:
    """`dimension`, and what it rests on: `points` with two distinct neighbours; `duplicates` had one at distance 0."""

    dimension: float
    points: int
    duplicates: int


def two_nn(points: NDArray, discard: float = 0.1, method: Literal["fit", "likelihood"] = "fit") -> TwoNN:
    """Intrinsic dimension d of points [n, D] from P(mu > t) = t^-d, mu = r2 / r1 the ratio of neighbour distances.

    Facco et al. 2017. `fit`: slope through the origin of -log(1 - F) on log mu without the largest `discard` share of
    ratios; `likelihood`: its unbiased maximum-likelihood estimate with those censored. Equal to
    `skdim.id.TwoNN(discard_fraction=discard, method="linear" | "mle")`. Points with a neighbour at distance 0 are left
    out and counted. NaN where fewer than two ratios are left, or all ratios are 1.

    Raises InputError for points that are not finite, and for fewer than three.
    """
    first, second = nearest_two(points)
    kept = first > 0
    ratio = np.sort(second[kept] / first[kept])
    n = len(ratio)
    keep = int(n * (1 - discard))
    duplicates = int((~kept).sum())
    if keep < 2 or ratio[keep - 1] <= 1:
        return TwoNN(float("nan"), n, duplicates)
    log_ratio = np.log(ratio[:keep])
    if method == "likelihood":
        dimension = (keep - 1) / (log_ratio.sum() + (n - keep) * log_ratio[-1])
    else:
        share = np.arange(1, keep + 1) / n
        height = -np.log(1 - share) if keep < n else -np.log1p(-share[:-1])
        log_ratio = log_ratio[: len(height)]
        dimension = (log_ratio @ height) / (log_ratio @ log_ratio)
    return TwoNN(float(dimension), n, duplicates)


def decimation(
    points: NDArray, halvings: int = 4, repeats: int = 3, seed: int = 0, discard: float = 0.1
) -> list[tuple[int, float, float]]:
    """How the dimension changes as the cloud is thinned out: (points, mean, standard deviation over subsets).

    The cloud is split at random into 1, 2, 4, ... 2^halvings equal parts (at most `repeats` of them are used). Noise
    dominates at small distances and inflates the dimension of dense clouds: where the curve is flat, it is the
    signal's (Facco et al. 2017, fig. 3). Parts of fewer than 20 points end it.
    """
    rng = np.random.default_rng(seed)
    found = []
    for halving in range(halvings + 1):
        count = len(points) // 2**halving
        if count < 20:
            break
        order = rng.permutation(len(points))
        parts = [order[start * count : (start + 1) * count] for start in range(min(repeats, 2**halving))]
        values = [two_nn(points[part], discard).dimension for part in parts]
        found.append((count, float(np.mean(values)), float(np.std(values))))
    return found


def nearest_two(points: NDArray) -> tuple[Array, Array]:
    """Euclidean distances to the nearest and second nearest other point, float64 [n] each.

    See `probes.neighbours`. Raises InputError for points that are not finite, and for fewer than three.
    """
    x = np.asarray(points, np.float64)
    if x.ndim != 2 or len(x) < 3 or not np.isfinite(x).all():
        raise InputError(
            f"Points of shape {list(np.shape(points))} are no finite array [n, D] of three points or more; leave out "
            "what is undefined."
        )
    return two_nearest(x)
