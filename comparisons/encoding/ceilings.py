"""Ceilings of encoding: how well a perfect model could do, given how far the recordings agree with themselves.

Three kinds: split halves with Spearman-Brown (Brain-Score's `internal_consistency`), estimators of r2 that take trial
noise out (Pospisil & Bair 2021; Schoppe et al. 2016), and how well other subjects predict one (leave one out).
Trials are [rep, n, neuroid], NaN where a repetition was not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bridge.errors import InputError, did_you_mean
from comparisons.encoding.evaluation import Predictivity, nanmean, nanmedian, pearson, predictivity
from comparisons.encoding.gram import LinearKernel

NORMALISATIONS = ("r^2/c", "(r/c)^2")
"""Brain-Score's ceiled score: since December 2025, and before."""


def normalised(r: np.ndarray | float, ceiling: np.ndarray | float, form: str = "r^2/c") -> np.ndarray:
    """A correlation r relative to a split-half reliability `ceiling` c, as Brain-Score states it.

    "r^2/c" (`brainscore_vision.benchmark_helpers.neural_common.explained_variance`, since December 2025): c bounds the
    explained variance. "(r/c)^2" (before): lower or higher by the factor c; scores of old leaderboards need it.
    Raises InputError for another form.
    """
    if form not in NORMALISATIONS:
        raise InputError(f"{form!r} is no normalisation; {did_you_mean(form, NORMALISATIONS)}.")
    r, c = np.asarray(r, dtype=np.float64), np.asarray(ceiling, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return r**2 / c if form == "r^2/c" else (r / c) ** 2


def internal_consistency(trials: np.ndarray, *, splits: int = 10, seed: int = 1) -> np.ndarray:
    """Spearman-Brown corrected correlation of the mean responses of two halves of the repetitions, [split, neuroid].

    Brain-Score's ceiling is `ceiling_score` of it: halves are drawn by scikit-learn's ShuffleSplit with seed 1.
    A stimulus that a half lacks does not count for that neuroid. NaN where a neuroid is constant. Raises InputError
    for fewer than two repetitions.
    """
    from sklearn.model_selection import ShuffleSplit

    check_trials(trials)
    if len(trials) < 2:
        raise InputError(f"A split-half ceiling needs at least 2 repetitions; these recordings have {len(trials)}.")
    drawn = ShuffleSplit(n_splits=splits, train_size=0.5, random_state=seed).split(np.zeros(len(trials)))
    found = []
    for halves in drawn:
        first, second = (nanmean(trials[rows].astype(np.float64)) for rows in halves)
        r = known_pearson(first, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(2 * r / (1 + r))
    return np.stack(found)


def ceiling_score(per_split: np.ndarray) -> float:
    """Median over neuroids, mean over splits, of [split, neuroid]: Brain-Score's aggregate."""
    return float(nanmean(nanmedian(per_split)))


def noise_corrected_r2(prediction: np.ndarray, trials: np.ndarray, estimator: str = "pospisil-bair") -> np.ndarray:
    """Share of each neuroid's explainable variance that a prediction [n, neuroid] explains up to scale, [neuroid].

    With v, y the centred prediction and mean response, m stimuli, and the noise variance of y from the trials
    e = s2 * mean(1 / repetitions), s2 pooled over stimuli:

        pospisil-bair   ((v'y)^2 / v'v - e) / (y'y - (m - 1) e)       (their r2_ER, unbiased in both terms)
        schoppe          (v'y)^2 / v'v      / (y'y - (m - 1) e)       (their CC_norm squared; biased up by noise)

    Repetitions may differ in number between stimuli. NaN where there is no stimulus with two repetitions, or no
    variance beyond noise. The first may fall below 0 and rise above 1: clipping it would bias a mean.
    Pospisil & Bair 2021 (PLoS Comput Biol 17, e1009212); Schoppe et al. 2016 (Front Comput Neurosci 10, 10).
    """
    if estimator not in ("pospisil-bair", "schoppe"):
        raise InputError(f"{estimator!r} is no estimator; {did_you_mean(estimator, ('pospisil-bair', 'schoppe'))}.")
    check_trials(trials)
    if prediction.shape != trials.shape[1:]:
        raise InputError(
            f"Predictions have shape {prediction.shape} and trials {trials.shape}; expected the same n, q."
        )
    trials = np.asarray(trials, dtype=np.float64)
    reps = np.isfinite(trials).sum(axis=0)
    mean = nanmean(trials)
    known = np.isfinite(mean) & np.isfinite(prediction)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(np.isfinite(trials), (trials - mean) ** 2, 0).sum(axis=(0, 1), where=known)
        variance = squares / np.maximum(reps - 1, 0).sum(axis=0, where=known)
        m = known.sum(axis=0)
        noise = variance * np.where(known, 1 / reps, 0).sum(axis=0) / m
        v, y = (np.where(known, x - x.sum(axis=0, where=known) / m, 0) for x in (prediction, mean))
        explained = (v * y).sum(axis=0) ** 2 / (v**2).sum(axis=0)
        explainable = (y**2).sum(axis=0) - (m - 1) * noise
        if estimator == "pospisil-bair":
            explained = explained - noise
        return np.where(explainable > 0, explained / explainable, np.nan)


def leave_one_subject_out(responses: np.ndarray, subjects: Sequence[Any], **options: Any) -> dict[Any, Predictivity]:
    """How well the neuroids of all other subjects predict those of each subject, by the same maps as a model's.

    `responses` [n, neuroid] are of stimuli that all subjects saw; options are those of `predictivity`. A model that
    is as good as another brain reaches this. Raises InputError for one subject, or missing responses.
    """
    names = np.asarray(subjects)
    if len(unique := list(dict.fromkeys(subjects))) < 2:
        raise InputError(f"There is one subject ({unique[0]!r}); leaving one out needs two at least.")
    if not np.isfinite(responses).all():
        raise InputError("Responses hold NaN; leaving one subject out needs stimuli that all subjects saw.")
    return {
        name: predictivity(LinearKernel(responses[:, names != name]), responses[:, names == name], **options)
        for name in unique
    }


def known_pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson r of each column over the rows where both are known, [k]."""
    missing = ~np.isfinite(a + b)
    if not missing.any():
        return pearson(a, b)
    found = np.full(a.shape[1], np.nan)
    for column, gone in enumerate(missing.T):
        if (~gone).any():
            found[column] = pearson(a[~gone, column, None], b[~gone, column, None])[0]
    return found


def check_trials(trials: np.ndarray) -> None:
    """Raise InputError unless trials are [rep, stimulus, neuroid]."""
    if np.ndim(trials) != 3 or 0 in np.shape(trials):
        raise InputError(f"Trials have shape {np.shape(trials)}; expected [repetition, stimulus, neuroid].")
