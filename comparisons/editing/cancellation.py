"""Cancellation: does a block's write point against the stream that it reads?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]
AGAINST = -0.3
"""A write whose cosine with the stream lies below this cancels part of it."""


@dataclass(frozen=True)
class Cancellation:
    """cos(x, w) of each token [n], its mean, and the share of tokens below -.3 (NaN where no token counts)."""

    cosines: Array
    mean: float
    share: float


def cancellation(x: NDArray, write: NDArray, centre: bool = True) -> Cancellation:
    """cos(x, w) of the stream before a block [n, d] and the block's write [n, d], token by token.

    With `centre`, means over tokens are taken off first: a stream's mean is large in most networks, and a write that
    shifts it says nothing of what the block does to a stimulus. Tokens where either vanishes do not count (NaN). Raises
    InputError for arrays of two shapes.
    """
    x, write = np.asarray(x, np.float64), np.asarray(write, np.float64)
    if x.shape != write.shape or x.ndim != 2:
        raise InputError(f"The stream is {list(x.shape)} and the write {list(write.shape)}; give both as [tokens, d].")
    if centre:
        x, write = x - x.mean(axis=0), write - write.mean(axis=0)
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(write, axis=1)
    cosines = np.divide((x * write).sum(axis=1), size, out=np.full(len(x), np.nan), where=size > 0)
    known = cosines[np.isfinite(cosines)]
    if not len(known):
        return Cancellation(cosines, float("nan"), float("nan"))
    return Cancellation(cosines, float(known.mean()), float((known < AGAINST).mean()))
