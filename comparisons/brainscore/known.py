"""What a benchmark computes, read from its own objects: metric, regression, splits, repetitions. Never from its name.

A benchmark whose class or metric is not known here is scored by Brain-Score's own classes alone, and the reason said.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from comparisons.encoding.pls import Split

Method = Literal["pls", "ridge", "ridgecv", "neuron-to-neuron", "reverse pls", "rdm"]
Form = Literal["r^2/c", "r/c", "mean of subjects' r^2/c"]


@dataclass(frozen=True)
class Known:
    """A benchmark whose numbers are computed here as well."""

    method: Method
    keys: tuple[str, ...]
    """The stimuli, as `key_of` names them, in the order of the benchmark's assembly (to fit on before to predict)."""
    responses: np.ndarray
    """Averaged over repetitions, float64 [n, neuroid], neuroids by id as Brain-Score sorts them."""
    splits: tuple[Split, ...]
    """As the benchmark's own cross-validation draws them, or its one division; none for RDMs."""
    components: int
    trials: np.ndarray | None
    """[repetition, n, neuroid] behind the ceiling, NaN where there was none; None where they cannot be told."""
    subjects: tuple[str, ...] | None = None
    """Of each neuroid, where scores are of each subject alone and then averaged."""
    form: Form = "r^2/c"
    """How the benchmark divides the raw score by its ceiling."""


def key_of(stimulus_set: Any, stimulus_id: Any) -> str:
    """The name of a stimulus among all sets of a benchmark. Images placed on another screen keep that of their set."""
    return f"{str(stimulus_set.identifier).partition('--target')[0]}/{stimulus_id}"


def known(benchmark: Any) -> Known | str:
    """What has to be computed for a benchmark, or in words why only Brain-Score's own classes can."""
    from brainscore_vision.benchmark_helpers.neural_common import (
        NeuralBenchmark,
        RSABenchmark,
        TrainTestNeuralBenchmark,
    )

    call = type(benchmark).__call__
    if call is NeuralBenchmark.__call__:
        return _cross_validated(benchmark)
    if call is RSABenchmark.__call__:
        return _by_subject(benchmark)
    if call is TrainTestNeuralBenchmark.__call__:
        return _divided(benchmark)
    return f"{type(benchmark).__name__} is not computed here"


def _cross_validated(benchmark: Any) -> Known | str:
    """`NeuralBenchmark`: one assembly, divided again and again, or its RDM."""
    assembly = benchmark._assembly
    if why := not_plain(assembly):
        return why
    found = _method(benchmark._similarity_metric)
    if found is None:
        return f"{type(benchmark._similarity_metric).__name__} is not computed here"
    method, components, splitting = found
    keys, responses, neuroids = _content(assembly)
    splits = () if splitting is None else tuple((a, b) for a, b in splitting.build_splits(assembly)[1])
    return Known(method, keys, responses, splits, components, _trials(benchmark, method, keys, neuroids))


def _by_subject(benchmark: Any) -> Known | str:
    """`RSABenchmark`: the model's RDM against each subject's."""
    from brainscore_vision.metrics.rdm.metric import RDM, RDMSimilarity

    if type(benchmark._rdm) is not RDM or type(benchmark._similarity) is not RDMSimilarity:
        return "its RDMs are not computed here"
    assembly = benchmark._assembly
    if why := not_plain(assembly):
        return why
    keys, responses, _ = _content(assembly)
    subjects = _coordinate(assembly, "subject")
    return Known("rdm", keys, responses, (), 0, None, subjects, "r/c")


def _divided(benchmark: Any) -> Known | str:
    """`TrainTestNeuralBenchmark`: stimuli to fit on and stimuli to predict, perhaps subject by subject."""
    from brainscore_vision.benchmark_helpers.neural_common import explained_variance
    from brainscore_vision.metrics.regression_correlation.metric import TrainTestSplitCorrelation

    metric = benchmark._similarity_metric
    if type(metric) is not TrainTestSplitCorrelation or benchmark.ceiling_mode is not explained_variance:
        return "its division or its ceilings by neuroid are not computed here"
    if benchmark.alpha_coord not in (None, "subject"):
        return f"its penalties by {benchmark.alpha_coord} are not computed here"
    found = _regression(getattr(metric.regression, "_regression", None))
    if found is None:
        return "its regression is not computed here"
    parts = []
    for assembly in (benchmark.train_assembly, benchmark.test_assembly):
        if why := not_plain(assembly):
            return why
        parts.append(_content(assembly))
    (keys, responses, first), (more, others, second) = parts
    if list(first) != list(second):
        return "its two assemblies have other neuroids"
    n = len(keys)
    split = (np.arange(n), np.arange(n, n + len(more)))
    subjects = _coordinate(benchmark.train_assembly, "subject") if benchmark.alpha_coord else None
    form: Form = "r^2/c" if subjects is None else "mean of subjects' r^2/c"
    both = np.concatenate([responses, others])
    return Known(found[0], (*keys, *more), both, (split,), found[1], None, subjects, form)


def not_plain(assembly: Any) -> str:
    """Why an assembly cannot be read as [presentation, neuroid]; empty where it can."""
    if set(assembly.dims) != {"presentation", "neuroid"}:
        return "its responses are resolved in time"
    if not np.isfinite(np.asarray(assembly.values, dtype=np.float64)).all():
        return "its responses have missing values"
    return ""


def _content(assembly: Any) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """(keys of the stimuli, responses float64 [n, neuroid], ids of the neuroids) of an assembly, neuroids by id."""
    assembly = assembly.transpose("presentation", "neuroid")
    order = np.argsort(assembly["neuroid_id"].values, kind="stable")
    keys = tuple(key_of(assembly.stimulus_set, one) for one in assembly["stimulus_id"].values)
    return keys, np.asarray(assembly.values, dtype=np.float64)[:, order], assembly["neuroid_id"].values[order]


def _coordinate(assembly: Any, name: str) -> tuple[str, ...]:
    """A coordinate of the neuroids as text, neuroids by id."""
    order = np.argsort(assembly["neuroid_id"].values, kind="stable")
    return tuple(str(one) for one in assembly[name].values[order])


def _method(metric: Any) -> tuple[Method, int, Any] | None:
    """(method, components, how stimuli are split) of a metric; None for what is not known here."""
    from brainscore_vision.metrics.rdm.metric import RDMMetric
    from brainscore_vision.metrics.regression_correlation.metric import (
        CrossRegressedCorrelation,
        ReverseCrossRegressedCorrelation,
    )

    if type(metric) is RDMMetric:
        return "rdm", 0, None
    if type(metric) not in (CrossRegressedCorrelation, ReverseCrossRegressedCorrelation):
        return None
    if metric.cross_validation._preprocess_indices is not None:
        return None
    found = _regression(getattr(metric.regression, "_regression", None))
    if found is None:
        return None
    if type(metric) is CrossRegressedCorrelation:
        return *found, metric.cross_validation._split
    return ("reverse pls", found[1], metric.cross_validation._split) if found[0] == "pls" else None


def _regression(regression: Any) -> tuple[Method, int] | None:
    """(method, components) of a fitted map's class and settings; None for what is not known here."""
    from brainscore_vision.metrics.regression_correlation.metric import ALPHA_LIST, SingleRegression
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.linear_model import Ridge, RidgeCV

    if type(regression) is PLSRegression and not regression.scale:
        return "pls", int(regression.n_components)
    if type(regression) is Ridge and regression.alpha == 1 and regression.fit_intercept:
        return "ridge", 0
    plain_choice = type(regression) is RidgeCV and regression.cv is None and not regression.alpha_per_target
    if plain_choice and np.array_equal(regression.alphas, ALPHA_LIST):
        return "ridgecv", 0
    return ("neuron-to-neuron", 0) if type(regression) is SingleRegression else None


def _trials(benchmark: Any, method: Method, keys: tuple[str, ...], neuroids: np.ndarray) -> np.ndarray | None:
    """The single trials that a benchmark's ceiling is made of, [repetition, n, neuroid]; None where it does not say.

    They stand among the variables of its ceiling function, beside the class that halves them: numbered by the
    coordinate `repetition`, which the halves go by.
    """
    from brainscore_vision.metrics.internal_consistency.ceiling import InternalConsistency, PearsonCorrelation
    from brainscore_vision.metrics.rdm.metric import RDMMetric

    function = benchmark._ceiling_func
    if not inspect.isfunction(function):
        return None
    around = list(inspect.getclosurevars(function).nonlocals.values())
    halving = [one._consistency for one in around if type(one) is InternalConsistency]
    if len(halving) != 1 or halving[0]._cross_validation._split._split_coord != "repetition":
        return None
    consistency = halving[0]._consistency._consistency_metric
    if type(consistency) is not (RDMMetric if method == "rdm" else PearsonCorrelation):
        return None
    for value in around:
        try:
            trials = _placed(value, {key.partition("/")[2]: row for row, key in enumerate(keys)}, neuroids)
        except (AttributeError, KeyError, ValueError, TypeError):
            continue  # no assembly
        if trials is not None:
            return trials
    return None


def _placed(assembly: Any, row_of: dict[str, int], neuroids: np.ndarray) -> np.ndarray | None:
    """Trials [repetition, n, neuroid] of an assembly; None where a trial stands twice or the neuroids are others."""
    found = assembly.transpose("presentation", "neuroid")
    rows = np.array([row_of[str(name)] for name in found["stimulus_id"].values])
    reps = np.unique(found["repetition"].values, return_inverse=True)[1]
    columns = np.argsort(found["neuroid_id"].values, kind="stable")
    twice = len(set(zip(rows, reps, strict=True))) != len(rows)
    if twice or not np.array_equal(found["neuroid_id"].values[columns], neuroids):
        return None
    trials = np.full((int(reps.max()) + 1, len(row_of), len(neuroids)), np.nan)
    trials[reps, rows] = np.asarray(found.values, dtype=np.float64)[:, columns]
    return trials
