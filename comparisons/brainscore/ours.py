"""The same scores by this project's own encoding and RDMs: on a benchmark's assembly, its splits and its repetitions.

What a benchmark does is read from its own objects (its metric, its regression, its splits), never from its name.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from comparisons.brainscore.scores import Scored
from comparisons.encoding import LinearKernel, nanmedian, predictivity, reverse_predictivity
from comparisons.encoding.ceilings import ceiling_score, internal_consistency
from comparisons.encoding.pls import Split
from comparisons.rdms import correlation_rdm


@dataclass(frozen=True)
class Known:
    """A benchmark whose numbers are computed here as well."""

    method: str
    """`pls`, `ridge`, `neuron-to-neuron` (maps), `reverse pls`, or `rdm`."""
    stimulus_ids: tuple[str, ...]
    responses: np.ndarray
    """Averaged over repetitions, float64 [n, neuroid], neuroids by id as Brain-Score sorts them."""
    splits: tuple[Split, ...]
    """As the benchmark's own cross-validation draws them; none for RDMs."""
    components: int
    trials: np.ndarray | None
    """[repetition, n, neuroid] behind the ceiling, NaN where there was none; None where they cannot be told."""
    subjects: tuple[str, ...] | None = None
    """Of each neuroid, where RDMs are compared subject by subject."""


def known(benchmark: Any) -> Known | str:
    """What has to be computed for a benchmark, or in words why only Brain-Score's own classes can.

    The assembly must be [presentation, neuroid] without missing values.
    """
    assembly = getattr(benchmark, "_assembly", None)
    if assembly is None or not hasattr(benchmark, "_similarity_metric"):
        return f"{type(benchmark).__name__} is not computed here"
    if set(assembly.dims) != {"presentation", "neuroid"}:
        return "its responses are resolved in time"
    method = method_of(benchmark._similarity_metric)
    if method is None:
        return f"{type(benchmark._similarity_metric).__name__} is not computed here"
    name, components, splitting = method
    assembly = assembly.transpose("presentation", "neuroid")
    order = np.argsort(assembly["neuroid_id"].values, kind="stable")
    splits = () if splitting is None else tuple((a, b) for a, b in splitting.build_splits(assembly)[1])
    ids = tuple(str(one) for one in assembly["stimulus_id"].values)
    responses = np.asarray(assembly.values, dtype=np.float64)[:, order]
    if not np.isfinite(responses).all():
        return "its responses have missing values"
    neuroids = assembly["neuroid_id"].values[order]
    return Known(name, ids, responses, splits, components, repeated_trials(benchmark, ids, neuroids))


def method_of(metric: Any) -> tuple[str, int, Any] | None:
    """(method, components, how stimuli are split) of one of Brain-Score's metrics; None for what is not known here."""
    from brainscore_vision.metrics.rdm.metric import RDMMetric
    from brainscore_vision.metrics.regression_correlation.metric import (
        CrossRegressedCorrelation,
        ReverseCrossRegressedCorrelation,
        SingleRegression,
    )
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.linear_model import Ridge

    if type(metric) is RDMMetric:
        return "rdm", 0, None
    if type(metric) not in (CrossRegressedCorrelation, ReverseCrossRegressedCorrelation):
        return None
    if metric.cross_validation._preprocess_indices is not None:
        return None
    splitting = metric.cross_validation._split
    regression: Any = getattr(metric.regression, "_regression", None)
    reverse = type(metric) is ReverseCrossRegressedCorrelation
    if type(regression) is PLSRegression and not regression.scale:
        return ("reverse pls" if reverse else "pls"), regression.n_components, splitting
    if reverse:
        return None
    if type(regression) is Ridge and regression.alpha == 1:
        return "ridge", 0, splitting
    return ("neuron-to-neuron", 0, splitting) if type(regression) is SingleRegression else None


def repeated_trials(benchmark: Any, ids: tuple[str, ...], neuroids: np.ndarray) -> np.ndarray | None:
    """The single trials that a benchmark's ceiling is made of, [repetition, n, neuroid]; None where it does not say.

    They stand among the variables of its ceiling function, numbered by the coordinate `repetition`, which its split
    halves go by.
    """
    function = getattr(benchmark, "_ceiling_func", None)
    if not inspect.isfunction(function):
        return None
    for value in inspect.getclosurevars(function).nonlocals.values():
        try:
            found = value.transpose("presentation", "neuroid")
            shown, numbers = found["stimulus_id"].values, found["repetition"].values
            place = {name: row for row, name in enumerate(ids)}
            rows = np.array([place[str(name)] for name in shown])
            reps = np.unique(numbers, return_inverse=True)[1]
            columns = np.argsort(found["neuroid_id"].values, kind="stable")
            if len(set(zip(rows, reps, strict=True))) != len(rows) or len(columns) != len(neuroids):
                continue
            if (found["neuroid_id"].values[columns] != neuroids).any():
                continue
        except (AttributeError, KeyError, ValueError, TypeError):
            continue
        trials = np.full((int(reps.max()) + 1, len(ids), len(neuroids)), np.nan)
        trials[reps, rows] = np.asarray(found.values, dtype=np.float64)[:, columns]
        return trials
    return None


def fast_ceiling(known: Known) -> float:
    """The split-half ceiling over ten draws: of neuroids' responses, or of RDMs. NaN without trials.

    Equal to `load_ceiling("internal_consistency")`, with `consistency_metric=RDMMetric()` for RDMs.
    """
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

    from comparisons.encoding import nanmean

    found = []
    for halves in ShuffleSplit(n_splits=10, train_size=0.5, random_state=1).split(np.zeros(len(trials))):
        first, second = (correlation_rdm(nanmean(trials[half])) for half in halves)
        r = float(spearmanr(first, second)[0])
        found.append(2 * r / (1 + r))
    return float(np.mean(found))


def fast_score(known: Known, features: Any, ceiling: float) -> Scored:
    """The score of features [n, feature] (an array or scipy sparse), rows as `known.stimulus_ids`.

    Per neuroid equal to Brain-Score's where that is defined: PLS beyond the rank of the features is clipped to it,
    where Brain-Score fits rounding errors. Raises UndefinedPatterns for an RDM of features that are constant for a
    stimulus (an all-zero code).
    """
    if known.method == "rdm":
        r = float(spearmanr(correlation_rdm(features), correlation_rdm(known.responses))[0])
        return Scored(r, ceiling)
    options: dict[str, Any] = {"splits": known.splits, "components": known.components}
    if known.method == "reverse pls":
        dense = features.toarray() if hasattr(features, "toarray") else features
        found = reverse_predictivity(np.asarray(dense, dtype=np.float64), known.responses, **options)
    else:
        found = predictivity(LinearKernel(features), known.responses, method=known.method, **options)
    r = float(nanmedian(found.r).mean())
    return Scored(r, ceiling, found.error, found.r, notices=found.notices)
