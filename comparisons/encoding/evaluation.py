"""Encoding: how well linear maps from a model's features predict the responses of neuroids to stimuli left out.

`pls` and `ridge` are Brain-Score's metrics of these names (Schrimpf et al. 2018; splits, stratification, Pearson r per
neuroid, median over neuroids, mean over splits), `ridgecv` its 99 penalties chosen within each training set,
`neuron-to-neuron` its best single feature. Maps are fitted on the training stimuli of a split alone; nothing that is
resampled is ever refitted, so that no stimulus stands on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bridge.errors import InputError, did_you_mean
from comparisons.encoding.gram import LinearKernel
from comparisons.encoding.pls import COMPONENTS, Split, pls_predictions
from comparisons.encoding.ridge import PENALTIES, ridge_cv_predictions, ridge_predictions
from comparisons.encoding.selection import correlations
from comparisons.statistics import bootstrap_counts

METHODS = ("pls", "ridge", "ridgecv", "neuron-to-neuron")


def brainscore_splits(
    n: int,
    strata: Sequence[Any] | np.ndarray | None = None,
    *,
    splits: int = 10,
    train_size: float = 0.9,
    seed: int = 1,
) -> list[Split]:
    """Rows (train, test) of each split, as Brain-Score's `metric_helpers.transformations.CrossValidation` draws them.

    Rows are drawn within each of `strata` [n] (Brain-Score's stratification coordinate), if given. Raises InputError
    where there are too few stimuli, or a stratum with fewer than two or more strata than test stimuli.
    """
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    kind = ShuffleSplit if strata is None else StratifiedShuffleSplit
    try:
        drawn = kind(n_splits=splits, train_size=train_size, random_state=seed).split(np.zeros(n), strata)
        found = [(train, test) for train, test in drawn]
        if len(found[0][1]) < 2:
            raise ValueError("one stimulus left to predict has no correlation")
        return found
    except ValueError as error:
        raise InputError(
            f"{n} stimuli cannot be split into {train_size:.0%} to fit on and the rest to predict"
            f"{'' if strata is None else f' within {len(set(strata))} strata'} ({str(error).rstrip('.')}); give more "
            "stimuli, another train_size or other strata."
        ) from error


@dataclass(frozen=True)
class Predictivity:
    """What maps fitted on each split's training stimuli say of its test stimuli."""

    method: str
    splits: tuple[Split, ...]
    predictions: tuple[np.ndarray, ...]
    """One array [n_test, neuroid] a split; NaN where the response is."""
    responses: np.ndarray
    """What was to be predicted, [n, neuroid]."""
    r: np.ndarray
    """Pearson r over test stimuli, [split, neuroid]; NaN where a response or a prediction is constant."""
    r2: np.ndarray
    """1 - squared error / variance of the test responses, [split, neuroid]; at most 0 in expectation where there is
    nothing to predict."""
    penalties: np.ndarray | None
    """The penalty of each split and neuroid, where one was chosen, [split, neuroid]."""
    notices: tuple[str, ...]
    """What was clipped, left out or undefined, in words."""

    @property
    def score(self) -> float:
        """Median r over neuroids, mean over splits: Brain-Score's raw score."""
        return float(nanmedian(self.r).mean())

    @property
    def error(self) -> float:
        """Standard error of the score over splits, as Brain-Score states it (splits overlap: it is too small)."""
        return float(nanmedian(self.r).std() / np.sqrt(len(self.r)))

    @property
    def per_neuroid(self) -> np.ndarray:
        """Mean r over splits, [neuroid]: the map of the region. NaN where it is undefined in every split."""
        return nanmean(self.r)

    def of(self, neuroids: np.ndarray) -> Predictivity:
        """The same for some neuroids (rows of numbers or a mask), such as those of one region."""
        return replace(
            self,
            predictions=tuple(found[:, neuroids] for found in self.predictions),
            responses=self.responses[:, neuroids],
            r=self.r[:, neuroids],
            r2=self.r2[:, neuroids],
            penalties=None if self.penalties is None else self.penalties[:, neuroids],
        )

    def interval(self, draws: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float] | None:
        """Percentile interval of the score over resampled neuroids and test stimuli; None where it is undefined.

        The held-out predictions are resampled, never the fit: what another training set would have learnt is not in
        it. Drawing both at once counts their noise twice (Schuett et al. 2023 on the dual bootstrap), so that it is
        too wide rather than too narrow: of 120 simulations of noise, all intervals held 0.
        """
        rng = np.random.default_rng(seed)
        n, q = self.responses.shape
        found = []
        for start in range(0, draws, 100):
            count = min(100, draws - start)
            weights = bootstrap_counts(rng, n, count)
            neuroids = rng.integers(0, q, (count, q))
            medians = [
                nanmedian(
                    np.take_along_axis(
                        _weighted_pearson(prediction, self.responses[test], weights[:, test]), neuroids, axis=1
                    )
                )
                for prediction, (_, test) in zip(self.predictions, self.splits, strict=True)
            ]
            found.append(nanmean(np.stack(medians)))
        values = np.concatenate(found) if found else np.zeros(0)
        values = values[np.isfinite(values)]
        if len(values) < 2:
            return None
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def predictivity(
    features: Any,
    responses: np.ndarray,
    *,
    method: str = "pls",
    splits: Sequence[Split] | None = None,
    groups: Sequence[Any] | None = None,
    components: int = COMPONENTS,
    penalties: Sequence[float] | np.ndarray = PENALTIES,
) -> Predictivity:
    """How well `features` [n, feature] predict `responses` [n, neuroid] on stimuli that were not fitted.

    `features` may be an array, a scipy sparse matrix, or a `LinearKernel`, which is then shared between calls. Rows are
    the same stimuli in the same order on both sides. `splits` default to `brainscore_splits(n)`. `groups` [neuroid]
    names the region of each neuroid: `pls` maps all neuroids of a group together, `ridgecv` chooses one penalty for
    them. `ridge` takes the penalty 1.

    A neuroid with missing responses (NaN) is fitted on the stimuli that it has, with those of its group that miss the
    same ones. Equal to `brainscore_vision`'s `pls`, `ridge` and `neuron_to_neuron` in float64 (scikit-learn predicts
    in float32 for features in float32), per neuroid and split.

    Raises InputError for an unknown method, shapes that do not fit, or values that are not finite.
    """
    if method not in METHODS:
        raise InputError(f"{method!r} is no method of encoding; {did_you_mean(method, METHODS)}.")
    kernel = features if isinstance(features, LinearKernel) else LinearKernel(features)
    responses = np.asarray(responses, dtype=np.float64)
    if responses.ndim != 2 or len(responses) != kernel.n or not responses.shape[1]:
        raise InputError(
            f"Responses have shape {responses.shape} and features {kernel.n} stimuli; expected [{kernel.n}, neuroid]."
        )
    if np.isinf(responses).any():
        raise InputError("Responses hold infinite values; give numbers, or NaN where a stimulus was not shown.")
    splits = tuple(brainscore_splits(kernel.n) if splits is None else splits)
    q = responses.shape[1]
    names = np.zeros(q, int) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    predictions = [np.full((len(test), q), np.nan) for _, test in splits]
    chosen = np.full((len(splits), q), np.nan)
    notices: dict[str, None] = {}
    for rows, mine in complete_blocks(responses, names if method == "pls" else np.zeros(q, int)):
        if len(rows) < kernel.n:
            notices[f"{len(mine)} neuroids lack responses to {kernel.n - len(rows)} of {kernel.n} stimuli"] = None
        here, kept = within(splits, rows, kernel.n)
        usable = [number for number, (train, test) in enumerate(here) if len(train) > 2 and len(test)]
        if not usable:
            continue
        part, y = kernel.of(rows), responses[np.ix_(rows, mine)]
        chances = [here[number] for number in usable]
        if method == "pls":
            found, told = pls_predictions(part, y, chances, components)
            notices.update(dict.fromkeys(told))
        elif method == "ridge":
            found = ridge_predictions(part, y, chances)
        elif method == "ridgecv":
            found, selected = ridge_cv_predictions(part, y, chances, names[mine], np.asarray(penalties))
            chosen[np.ix_(np.array(usable), mine)] = selected
        else:
            found = _best_single_feature(part, y, chances)
        for number, prediction in zip(usable, found, strict=True):
            predictions[number][np.ix_(kept[number], mine)] = prediction
    scores = [_scored(found, responses[test]) for found, (_, test) in zip(predictions, splits, strict=True)]
    r, r2 = (np.stack(values) for values in zip(*scores, strict=True))
    if undefined := int(np.isnan(r).all(axis=0).sum()):
        notices[f"{undefined} of {q} neuroids have no correlation (constant responses or predictions)"] = None
    return Predictivity(
        method,
        splits,
        tuple(predictions),
        responses,
        r,
        r2,
        chosen if method == "ridgecv" else None,
        tuple(notices),
    )


def reverse_predictivity(features: np.ndarray, responses: np.ndarray, **options: Any) -> Predictivity:
    """How well responses predict features: Brain-Score's `reverse_pls` for method `pls`.

    Options are those of `predictivity`; the columns of the result are features.
    """
    return predictivity(responses, features, **options)


def complete_blocks(responses: np.ndarray, names: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, neuroids) such that neuroids of one group that miss the same stimuli stand together, in first order."""
    known = np.isfinite(responses)
    found: dict[tuple[int, bytes], list[int]] = {}
    for neuroid, name in enumerate(names):
        found.setdefault((int(name), known[:, neuroid].tobytes()), []).append(neuroid)
    blocks = [(np.flatnonzero(known[:, mine[0]]), np.array(mine)) for mine in found.values()]
    return [(rows, mine) for rows, mine in blocks if len(rows)]


def within(splits: Sequence[Split], rows: np.ndarray, n: int) -> tuple[list[Split], list[np.ndarray]]:
    """The splits among `rows`, numbered within them, and which of each split's test stimuli are left."""
    place = np.full(n, -1)
    place[rows] = np.arange(len(rows))
    here, kept = [], []
    for train, test in splits:
        kept.append(np.flatnonzero(place[test] >= 0))
        here.append((place[train][place[train] >= 0], place[test][kept[-1]]))
    return here, kept


def _best_single_feature(kernel: LinearKernel, y: np.ndarray, splits: Sequence[Split]) -> list[np.ndarray]:
    """Each neuroid's prediction is the feature that correlates best with it over the training stimuli (Brain-Score's
    `SingleRegression`), [n_test, neuroid] a split."""
    found = []
    for train, test in splits:
        if kernel.sparse:
            r = correlations(kernel.features, y, train).T
            best = np.argmax(np.where(np.isnan(r), -np.inf, r), axis=1)
            columns = kernel.features[:, best].toarray().astype(np.float64)
            found.append((columns - columns.mean(axis=0))[test])
            continue
        x = kernel.centred[train]
        x = x - x.mean(axis=0)
        target = y[train] - y[train].mean(axis=0)
        size = np.linalg.norm(x, axis=0)
        # Constant but for rounding: such a feature predicts nothing.
        dead = size <= 1e-10 * np.linalg.norm(kernel.centred[train], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where(dead, -np.inf, (target.T @ x) / size)
        found.append(kernel.centred[test][:, np.argmax(r, axis=1)])
    return found


# ------------------------------------------------------------------------------------------------------- scores


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson r of each column, [k]; NaN where either is constant, as `scipy.stats.pearsonr`."""
    constant = (a == a[:1]).all(axis=0) | (b == b[:1]).all(axis=0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(axis=0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))
    return np.where(constant, np.nan, np.clip(r, -1, 1))


def _scored(prediction: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(r, R2) of each neuroid over the test stimuli that it has, [neuroid] twice."""
    q = response.shape[1]
    r, r2 = np.full(q, np.nan), np.full(q, np.nan)
    for rows, mine in complete_blocks(prediction + response, np.zeros(q, int)):
        if len(rows) < 2:
            continue
        a, b = prediction[np.ix_(rows, mine)], response[np.ix_(rows, mine)]
        r[mine] = pearson(a, b)
        total = ((b - b.mean(axis=0)) ** 2).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            r2[mine] = np.where((b == b[:1]).all(axis=0), np.nan, 1 - ((b - a) ** 2).sum(axis=0) / total)
    return r, r2


def _weighted_pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson r of each column under each row of weights, [draw, neuroid]; pairs with NaN do not count."""
    known = np.isfinite(a + b)
    a, b = np.where(known, a, 0), np.where(known, b, 0)
    count = weights @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (np.where(known, v - v.sum(axis=0) / known.sum(axis=0), 0) for v in (a, b))
        ma, mb = weights @ a / count, weights @ b / count
        covariance = weights @ (a * b) / count - ma * mb
        variances = (weights @ (a * a) / count - ma**2) * (weights @ (b * b) / count - mb**2)
        return np.where(variances > 0, covariance / np.sqrt(np.abs(variances)), np.nan)


def nanmedian(values: np.ndarray) -> np.ndarray:
    """Median over the last axis of what is known; NaN, without a warning, where nothing is."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=-1)


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is known; NaN, without a warning, where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
