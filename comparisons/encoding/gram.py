"""The linear kernel of a feature matrix: all that a linear map from features to responses depends on.

With stimuli n and features p, products with K = X X' replace X wherever n < p. It is computed once and serves every
split, region and neuroid.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from bridge.errors import InputError

BLOCK = 2**22
"""Values of a feature block that is centred and multiplied at once (32 MiB in float64)."""


class LinearKernel:
    """X X' of features [n, p] that were centred over all stimuli; float64 whatever the input's type.

    `features` may be a scipy sparse matrix, which is never made dense as a whole unless its rank is too low for the
    Gram route. Raises InputError for features that are not finite or not [stimulus, feature].
    """

    def __init__(self, features: Any):
        self.sparse = hasattr(features, "tocsr")
        self.features = features.tocsr() if self.sparse else features
        if getattr(features, "ndim", 0) != 2 or 0 in features.shape:
            raise InputError(
                f"Features have shape {getattr(features, 'shape', ())}; expected [stimulus, feature] with one of each."
            )
        self.n, self.p = (int(size) for size in features.shape)
        values = self.features.data if self.sparse else features
        if not all(np.isfinite(values[row : row + 1024]).all() for row in range(0, len(values), 1024)):
            raise InputError("Features hold NaN or infinite values; a model that gives none is needed for encoding.")

    @property
    def tall(self) -> bool:
        """Whether there are fewer features than stimuli, so that X itself is the smaller matrix."""
        return self.p < self.n

    @cached_property
    def centred(self) -> np.ndarray:
        """X less its mean over stimuli, float64 [n, p]."""
        values = np.array(self.features.toarray() if self.sparse else self.features, dtype=np.float64)
        values -= values.mean(axis=0)
        return values

    @cached_property
    def matrix(self) -> np.ndarray:
        """K, float64 [n, n], by blocks of features: X is not copied as a whole."""
        if self.tall:
            return self.centred @ self.centred.T
        if self.sparse:
            sparse = self.features.astype(np.float64)
            return double_centred((sparse @ sparse.T).toarray())
        found = np.zeros((self.n, self.n))
        width = max(1, BLOCK // self.n)
        for start in range(0, self.p, width):
            block = np.array(self.features[:, start : start + width], dtype=np.float64)
            block -= block.mean(axis=0)
            found += block @ block.T
        return found

    def times(self, values: np.ndarray) -> np.ndarray:
        """K @ values, [n, k]."""
        return self.centred @ (self.centred.T @ values) if self.tall else self.matrix @ values

    def part(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """K[rows][:, columns]."""
        if self.tall:
            return self.centred[rows] @ self.centred[columns].T
        return self.matrix[np.ix_(rows, columns)]

    @cached_property
    def reduced(self) -> np.ndarray:
        """Z with Z Z' = K, float64 [n, rank], from X itself.

        A factor of K would know singular values down to 1e-8 of the largest only; this one knows them to 1e-15.
        """
        from scipy.linalg import qr, svd

        tall = self.centred if self.tall else qr(self.centred.T, mode="r", check_finite=False)[0][: self.n].T
        left, scale, _ = svd(tall, full_matrices=False, check_finite=False)
        keep = scale > scale[0] * tolerance(self.n, self.p)
        return left[:, keep] * scale[keep]

    def of(self, rows: np.ndarray) -> LinearKernel:
        """The kernel of some stimuli. Centred anew wherever a fit needs it."""
        if len(rows) == self.n and (rows == np.arange(self.n)).all():
            return self
        found = LinearKernel.__new__(LinearKernel)
        found.features, found.sparse = self.features[rows], self.sparse
        found.n, found.p = len(rows), self.p
        if not found.tall and "matrix" in self.__dict__:
            found.__dict__["matrix"] = double_centred(self.matrix[np.ix_(rows, rows)])
        return found


def double_centred(matrix: np.ndarray) -> np.ndarray:
    """H K H with H = I - 11'/n, [n, n]."""
    rows = matrix.mean(axis=0)
    return matrix - rows - matrix.mean(axis=1)[:, None] + rows.mean()


def tolerance(n: int, p: int) -> float:
    """Singular values below this share of the largest are rounding, as in `numpy.linalg.matrix_rank`."""
    return max(n, p) * float(np.finfo(np.float64).eps)


def rank_up_to(values: np.ndarray, most: int, share: float) -> int:
    """min(rank, most) of [n, p]: singular values above `share` of the largest, by a random sketch if p is large."""
    if values.shape[1] > 4 * (most + 8):
        # Full-rank Gaussian mixtures of the columns keep every rank below their number, with probability 1.
        values = values @ np.random.default_rng(0).standard_normal((values.shape[1], most + 8))
    scale = np.linalg.svd(values, compute_uv=False)
    return int(min(most, (scale > scale[0] * share).sum())) if scale[0] > 0 else 0
