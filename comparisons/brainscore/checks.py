"""What is wrong with a site's features, found before anything is scored.

Brain-Score would give NaN, or fit rounding errors, without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comparisons.brainscore.known import Known
from comparisons.encoding.gram import BLOCK, rank_up_to, tolerance


def wrong_with(features: Any, known: Known) -> str:
    """Why features [n, feature] (an array or scipy sparse), rows as `known.keys`, cannot be scored on a benchmark;
    empty if they can."""
    if why := not_finite(features):
        return why
    if known.method == "rdm":
        return without_correlation(features, known.keys)
    if not rank_at_most(features, 1):
        return "its features are the same for all stimuli"
    if known.method not in ("pls", "reverse pls"):
        return ""
    fewest = min(len(train) for train, _ in known.splits)
    if fewest <= known.components:
        return f"{fewest} stimuli are fitted on, too few for the {known.components} components of `pls`"
    # The reverse map goes from neuroids to features.
    reverse = known.method == "reverse pls"
    rank = rank_at_most(known.responses if reverse else features, known.components)
    if rank < known.components:
        said = f"the {known.responses.shape[1]} neuroids" if reverse else f"its {features.shape[1]} features"
        return (
            f"{said} have rank {rank} over these stimuli, fewer than the {known.components} components of `pls`, which "
            "would fit rounding errors"
        )
    return ""


def not_finite(features: Any) -> str:
    """That features hold NaN or infinite values; empty where they do not."""
    values = features.data if hasattr(features, "tocsr") else features
    finite = all(np.isfinite(values[row : row + 1024]).all() for row in range(0, len(values), 1024))
    return "" if finite else "its features hold NaN or infinite values"


def without_correlation(features: Any, keys: Sequence[str]) -> str:
    """That some stimuli have one value in all features, such as an all-zero code; empty where none has."""
    same = constant_rows(features)
    if not same.any():
        return ""
    zero = ", all of them zero" if hasattr(features, "tocsr") or not np.any(features[same]) else ""
    return (
        f"{int(same.sum())} of {len(same)} stimuli have the same value in all features{zero} (the first: "
        f"{keys[int(np.argmax(same))]!r}), so that their correlation with others, and Brain-Score's `rdm`, is NaN"
    )


def constant_rows(features: Any) -> np.ndarray:
    """Which stimuli have one value in all features, bool [n]: their correlation with others is undefined."""
    if hasattr(features, "tocsr"):
        matrix = features.tocsr()
        low, high = (np.asarray(getattr(matrix, name)(axis=1).todense()).ravel() for name in ("min", "max"))
        return low == high
    return (features == features[:, :1]).all(axis=1)


def rank_at_most(features: Any, most: int) -> int:
    """min(rank over stimuli, most) of features [n, feature], a mean over stimuli taken out, in blocks of features."""
    n, p = features.shape
    width = most + 8
    if p <= width:
        dense = np.asarray(features.toarray() if hasattr(features, "toarray") else features, dtype=np.float64)
        mixed = dense - dense.mean(axis=0)
    else:
        # Gaussian mixtures of the features keep every rank below their number, with probability 1.
        rng = np.random.default_rng(0)
        mixed = np.zeros((n, width))
        step = max(width, BLOCK // n)
        for start in range(0, p, step):
            block = features[:, start : start + step]
            block = np.asarray(block.toarray() if hasattr(block, "toarray") else block, dtype=np.float64)
            mixed += (block - block.mean(axis=0)) @ rng.standard_normal((block.shape[1], width))
    return rank_up_to(mixed, most, 10 * tolerance(n, p))
