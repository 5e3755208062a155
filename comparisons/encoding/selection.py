"""Features chosen on some stimuli and judged on others: the best of many is no evidence on the stimuli that chose it.

The best |r| of 8,192 features of pure noise is about .34 with 135 stimuli. Sites are chosen the same
way by `kind: encoding` (`select`); what is here is for single features, such as the latents of a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.errors import InputError
from comparisons.encoding.gram import LinearKernel

_CONSTANT = 1e-10


@dataclass(frozen=True)
class Chosen:
    """The feature of each neuroid, with its correlation on the stimuli that chose it and on the others, [neuroid] each.

    -1 and NaN for neuroids that are constant where the choice was made, or where every feature is; r on the others is
    NaN where feature or neuroid are constant there.
    """

    feature: np.ndarray
    r_choosing: np.ndarray
    r_reported: np.ndarray


def best_features(features: Any, responses: np.ndarray, choosing: np.ndarray, reported: np.ndarray) -> Chosen:
    """Each neuroid's feature of the greatest |r| over the stimuli `choosing`, judged on the stimuli `reported` (rows).

    `features` [n, p] may be scipy sparse and stay so; `responses` are [n, neuroid]. The sign that the choice had is
    kept: r_reported is positive where the correlation holds. Raises InputError for rows in both, or values that are not
    finite.
    """
    _check(features, responses, choosing, reported)
    first, second = (correlations(features, responses, rows) for rows in (choosing, reported))
    size = np.where(np.isfinite(first), np.abs(first), -1)
    best = size.argmax(axis=0)
    column = np.arange(responses.shape[1])
    known = size[best, column] >= 0
    sign = np.sign(first[best, column])
    return Chosen(
        np.where(known, best, -1),
        np.where(known, np.abs(first[best, column]), np.nan),
        np.where(known, sign * second[best, column], np.nan),
    )


def leading_features(features: Any, responses: np.ndarray, choosing: np.ndarray, most: int) -> np.ndarray:
    """The `most` features with the greatest |r| to any neuroid over the stimuli `choosing`, ascending column numbers.

    For whatever cannot take all of them (`reweighted_rsa`); report on other stimuli. Dead features are never chosen, so
    there may be fewer. Raises InputError for values that are not finite.
    """
    _check(features, responses, choosing, np.zeros(0, int))
    r = np.abs(correlations(features, responses, choosing))
    score = np.where(np.isfinite(r), r, -1).max(axis=1)
    order = np.argsort(-score, kind="stable")[:most]
    return np.sort(order[score[order] >= 0])


def correlations(features: Any, responses: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pearson r of every feature with every neuroid over some stimuli, [feature, neuroid]; NaN for constant ones.

    Sparse features stay sparse: means come off the products, not off the features.
    """
    y = np.asarray(responses, dtype=np.float64)[rows]
    y = y - y.mean(axis=0)
    n = len(rows)
    if hasattr(features, "tocsr"):
        x = features.tocsr()[rows].astype(np.float64)
        mean = np.asarray(x.sum(axis=0)).ravel() / n
        square = np.asarray(x.multiply(x).sum(axis=0)).ravel()
        spread, products = square - n * mean**2, np.asarray(x.T @ y)
    else:
        x = np.asarray(features[rows], dtype=np.float64)
        square = np.einsum("ij,ij->j", x, x)
        x = x - x.mean(axis=0)
        spread, products = np.einsum("ij,ij->j", x, x), x.T @ y
    size = np.where(spread > _CONSTANT * square, np.sqrt(np.maximum(spread, 0)), np.nan)
    own = np.linalg.norm(y, axis=0)
    own = np.where(own > 0, own, np.nan)
    return np.clip(products / size[:, None] / own, -1, 1)


def _check(features: Any, responses: np.ndarray, choosing: np.ndarray, reported: np.ndarray) -> None:
    kernel = LinearKernel(features)  # refuses values that are not finite
    if responses.ndim != 2 or len(responses) != kernel.n or not np.isfinite(responses).all():
        raise InputError(
            f"Responses have shape {responses.shape} and features {kernel.n} stimuli; expected [{kernel.n}, neuroid] "
            "without missing values."
        )
    if len(np.intersect1d(choosing, reported)):
        raise InputError("Some stimuli are both chosen on and reported on; give rows that do not overlap.")
