"""Scores by this project's own encoding and RDMs: on a benchmark's responses, its splits and its repetitions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr

from comparisons.brainscore.known import Known
from comparisons.brainscore.scores import Scored
from comparisons.encoding import LinearKernel, nanmean, nanmedian, predictivity, reverse_predictivity
from comparisons.encoding.ceilings import ceiling_score, internal_consistency
from comparisons.rdms import correlation_rdm


def fast_ceiling(known: Known) -> float:
    """The ceiling of a benchmark; NaN where its repetitions are not known.

    Split halves over ten draws, of neuroids' responses or of RDMs (equal to `load_ceiling("internal_consistency")`,
    with `consistency_metric=RDMMetric()` for RDMs); of RDMs subject by subject the upper bound of
    `load_metric("rsa_ceiling")`.
    """
    if known.method == "rdm" and known.subjects is not None:
        each = np.stack(list(_rdms_by_subject(known).values()))
        return float(np.mean([spearmanr(one, each.mean(axis=0))[0] for one in each]))
    if known.trials is None or len(known.trials) < 2:
        return float("nan")
    if known.method == "rdm":
        return rdm_consistency(known.trials)
    return ceiling_score(internal_consistency(known.trials))


def rdm_consistency(trials: np.ndarray) -> float:
    """Spearman-Brown corrected Spearman correlation of the RDMs of two halves of the repetitions, mean over ten draws.

    `trials` [repetition, n, neuroid]; halves are drawn as by `internal_consistency`. Raises UndefinedPatterns where a
    half's mean response to a stimulus is constant over neuroids.
    """
    from sklearn.model_selection import ShuffleSplit

    found = []
    for halves in ShuffleSplit(n_splits=10, train_size=0.5, random_state=1).split(np.zeros(len(trials))):
        first, second = (correlation_rdm(nanmean(trials[half])) for half in halves)
        r = float(spearmanr(first, second)[0])
        found.append(2 * r / (1 + r))
    return float(np.mean(found))


def fast_score(known: Known, features: Any, ceiling: float) -> Scored:
    """The score of features [n, feature] (an array, scipy sparse, or for maps a LinearKernel), rows as `known.keys`.

    Per neuroid equal to Brain-Score's where that is defined: PLS beyond the rank of the features is clipped to it,
    where Brain-Score fits rounding errors. Raises UndefinedPatterns for an RDM of features that are constant for a
    stimulus (an all-zero code).
    """
    if known.method == "rdm":
        return Scored(_rdm_score(known, features), ceiling)
    options: dict[str, Any] = {"splits": known.splits, "components": known.components}
    if known.method == "reverse pls":
        dense = features.toarray() if hasattr(features, "toarray") else features
        found = reverse_predictivity(np.asarray(dense, dtype=np.float64), known.responses, **options)
    else:
        kernel = features if isinstance(features, LinearKernel) else LinearKernel(features)
        found = predictivity(kernel, known.responses, method=known.method, groups=known.subjects, **options)
    if known.subjects is None:
        return Scored(found.score, ceiling, found.error, found.r, notices=found.notices)
    names = np.array(known.subjects)
    each = [float(nanmedian(found.r[:, names == name]).mean()) for name in dict.fromkeys(known.subjects)]
    return Scored(float(np.mean(each)), ceiling, None, found.r, notices=found.notices)


def _rdm_score(known: Known, features: Any) -> float:
    """Spearman correlation of the model's RDM with that of the responses, or its mean over subjects'."""
    rdm = correlation_rdm(features)
    if known.subjects is None:
        return float(spearmanr(rdm, correlation_rdm(known.responses))[0])
    return float(np.mean([spearmanr(rdm, one)[0] for one in _rdms_by_subject(known).values()]))


def _rdms_by_subject(known: Known) -> dict[str, np.ndarray]:
    """Each subject's RDM, [pair]."""
    names = np.array(known.subjects)
    return {str(name): correlation_rdm(known.responses[:, names == name]) for name in np.unique(names)}
