"""How much of the variance of neuroids each band of features explains alone: unique, shared and pooled shares.

All follow from the squared errors of held-out predictions (`banded.banded_ridge`). Intervals resample those errors over
stimuli and neuroids; nothing is fitted again, so that no stimulus is both fitted and predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bridge.errors import InputError
from comparisons.encoding.ceilings import check_trials
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.pls import Split
from comparisons.statistics import bootstrap_counts

LEAST_RELIABLE = 0.2
"""Neuroids whose signal variance is below this share of the variance of their mean response are left out of phi."""


@dataclass(frozen=True)
class Banded:
    """What maps from every needed set of bands say of the stimuli left out.

    A model is named by its bands, in the order of `bands`; `()` predicts the training set's mean. Test stimuli of all
    splits stand below each other: row t is stimulus `rows[t]`. Missing responses are NaN throughout.
    """

    bands: tuple[str, ...]
    splits: tuple[Split, ...]
    rows: np.ndarray
    responses: np.ndarray
    """What was to be predicted, [t, neuroid]."""
    predictions: Mapping[tuple[str, ...], np.ndarray]
    """Of every model, [t, neuroid]."""
    parts: np.ndarray
    """What each band adds to the full model's prediction, [band, t, neuroid]; the rest is the training mean."""
    ratios: np.ndarray
    """The full model's ratios, [split, neuroid, band]."""
    penalties: np.ndarray
    """The full model's penalty, [split, neuroid], in the units of the kernel (a, not a / n)."""
    notices: tuple[str, ...]

    def of(self, neuroids: np.ndarray) -> Banded:
        """The same for some neuroids (numbers or a mask), such as those of one region."""
        return replace(
            self,
            responses=self.responses[:, neuroids],
            predictions={model: found[:, neuroids] for model, found in self.predictions.items()},
            parts=self.parts[:, :, neuroids],
            ratios=self.ratios[:, neuroids],
            penalties=self.penalties[:, neuroids],
        )

    def errors(self, *names: str) -> np.ndarray:
        """Squared errors of the model of these bands, [t, neuroid]. Raises InputError for one that was not fitted."""
        model = tuple(band for band in self.bands if band in names)
        if set(names) - set(self.bands) or model not in self.predictions:
            told = "; ".join(" + ".join(each) or "(mean)" for each in self.predictions)
            raise InputError(f"There is no model of the bands {', '.join(names)}; those fitted are: {told}.")
        return (self.responses - self.predictions[model]) ** 2

    def mse(self, *names: str) -> np.ndarray:
        """Mean squared error over all test stimuli, [neuroid]."""
        return nanmean(self.errors(*names))

    def r2(self, *names: str) -> np.ndarray:
        """1 - MSE / MSE of the training mean, [neuroid]: at most 0 in expectation where nothing can be predicted. NaN
        where a neuroid is constant."""
        return gain(self.mse(), self.mse(*names), self.mse())

    def unique(self, band: str) -> np.ndarray:
        """R2 of all bands less R2 of all others, [neuroid]: what no other band can say."""
        others = (name for name in self.bands if name != band)
        return gain(self.mse(*others), self.mse(*self.bands), self.mse())

    def shared(self) -> np.ndarray:
        """R2 of all bands less every band's unique part, [neuroid]: what two bands or more can say."""
        return self.r2(*self.bands) - sum(self.unique(band) for band in self.bands)

    def product_measure(self) -> np.ndarray:
        """Each band's part of the full model's R2, which they add up to, [band, neuroid].

        Equal to `himalaya.scoring.r2_score_split` of the responses less the training mean. A part may be negative, and
        is no unique variance: bands that are correlated share it between them.
        """
        mean = self.responses - self.predictions[()]
        known = np.isfinite(mean)
        total = np.where(known, mean**2, 0).sum(axis=0)
        whole = self.parts.sum(axis=0)
        explained = np.where(known, 2 * mean * self.parts - self.parts * whole, 0).sum(axis=1)
        return np.divide(explained, total, out=np.full_like(explained, np.nan), where=total > 0)


def gain(worse: np.ndarray, better: np.ndarray, total: np.ndarray) -> np.ndarray:
    """(worse - better) / total of mean squared errors; NaN where there is no variance."""
    return np.divide(worse - better, total, out=np.full(np.shape(total), np.nan), where=total > 0)


@dataclass(frozen=True)
class UniqueShare:
    """phi of one band, pooled over neuroids."""

    estimate: float
    draws: np.ndarray
    """phi of every draw of stimuli and neuroids."""
    kept: np.ndarray
    """The neuroids that are reliable enough, bool [neuroid]."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval; NaN without draws."""
        return percentiles(self.draws, level)


def unique_share(
    banded: Banded,
    band: str,
    trials: np.ndarray,
    *,
    least: float = LEAST_RELIABLE,
    draws: int = 1000,
    seed: int = 0,
) -> UniqueShare:
    """phi = sum_i [MSE_i(without the band) - MSE_i(all bands)] / sum_i sigma2_sig,i over the neuroids i that are kept.

    `trials` [rep, n, neuroid] are the repetitions behind the responses; sigma2_sig is `signal_variance` over the
    stimuli that some split left out. Each draw resamples stimuli and neuroids, in both sums together. Raises InputError
    for one repetition, trials that do not fit, or where no neuroid is reliable.
    """
    check_trials(trials)
    n, q = trials.shape[1:]
    if q != banded.responses.shape[1] or banded.rows.max() >= n:
        raise InputError(
            f"Trials have shape {trials.shape}, and the responses that were predicted {banded.responses.shape[1]} "
            f"neuroids and {banded.rows.max() + 1} stimuli or more; give the trials behind those responses."
        )
    used = np.bincount(banded.rows, minlength=n) > 0
    others = tuple(name for name in banded.bands if name != band)
    repeated = _Repeated.of(trials)
    signal, total = repeated.signal_and_total(used[None].astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = (signal[0] / total[0] >= least) & np.isfinite(banded.mse())
    if not kept.any():
        raise InputError(
            f"None of {q} neuroids has a signal variance of {least:g} of its mean response's; more repetitions "
            "or other neuroids are needed."
        )
    gained = (banded.errors(*others) - banded.errors(*banded.bands))[:, kept]
    repeated = repeated.at(kept)

    def phi(stimuli: np.ndarray, neuroids: np.ndarray) -> np.ndarray:
        top = _weighted_mean(gained, stimuli[:, banded.rows])
        bottom = repeated.signal_and_total(stimuli * used)[0]
        known = np.isfinite(top) & np.isfinite(bottom)
        top, bottom = (np.where(known, values, 0) for values in (top, bottom))
        return (top * neuroids).sum(axis=1) / (bottom * neuroids).sum(axis=1)

    estimate = float(phi(np.ones((1, n)), np.ones((1, int(kept.sum()))))[0])
    found = [phi(*weights) for weights in two_factor_draws(n, int(kept.sum()), draws, seed)]
    return UniqueShare(estimate, np.concatenate(found) if found else np.zeros(0), kept)


def signal_variance(trials: np.ndarray) -> np.ndarray:
    """Var(mean over repetitions) - mean over stimuli of Var_rep / R of trials [rep, n, neuroid], [neuroid].

    Unbiased; may fall below 0. Repetitions may differ in number between stimuli (NaN); a stimulus with one has no noise
    variance, and the others stand for it. NaN where no stimulus has two.
    """
    check_trials(trials)
    return _Repeated.of(trials).signal_and_total(np.ones((1, trials.shape[1])))[0][0]


def two_factor_draws(
    stimuli: int, neuroids: int, draws: int, seed: int, at_once: int = 100
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of (counts of stimuli [d, stimuli], counts of neuroids [d, neuroids]) of a bootstrap over both."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        yield bootstrap_counts(rng, stimuli, size), bootstrap_counts(rng, neuroids, size)


def share_draws(banded: Banded, n: int, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Mean over neuroids of R2, of each band's unique part and of what is shared, under draws over stimuli and
    neuroids, [draw] each: keys `R2`, `unique <band>`, `shared`. `n` is the number of all stimuli."""
    models = [(), banded.bands, *(tuple(b for b in banded.bands if b != left_out) for left_out in banded.bands)]
    errors = [banded.errors(*model) for model in models]
    found: dict[str, list[np.ndarray]] = {}
    for stimuli, counts in two_factor_draws(n, errors[0].shape[1], draws, seed):
        weights = stimuli[:, banded.rows]
        mean, whole, *others = (_weighted_mean(values, weights) for values in errors)
        unique = [gain(other, whole, mean) for other in others]
        shares = {"R2": gain(mean, whole, mean)}
        shares.update({f"unique {band}": value for band, value in zip(banded.bands, unique, strict=True)})
        shares["shared"] = shares["R2"] - sum(unique)
        for name, value in shares.items():
            known = np.isfinite(value)
            with np.errstate(invalid="ignore"):
                mean_value = (np.where(known, value, 0) * counts).sum(axis=1) / (known * counts).sum(axis=1)
            found.setdefault(name, []).append(mean_value)
    return {name: np.concatenate(values) for name, values in found.items()}


def percentiles(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the values that are numbers; NaN where there are fewer than two."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of values [t, q] under weights [d, t], [d, q]; NaN values do not count."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, values, 0)) / (weights @ known)


@dataclass(frozen=True)
class _Repeated:
    """What the variances of mean responses are made of, computed once for all draws of stimuli, [n, q] each.

    `known` and `repeated` are 1 where a stimulus was shown at all and more than once, else 0; `values` are centred mean
    responses and `noise` the variance of a mean that its repetitions leave, 0 where they are not known.
    """

    values: np.ndarray
    noise: np.ndarray
    known: np.ndarray
    repeated: np.ndarray

    @classmethod
    def of(cls, trials: np.ndarray) -> _Repeated:
        trials = np.asarray(trials, dtype=np.float64)
        shown = np.isfinite(trials)
        reps = shown.sum(axis=0)
        mean = nanmean(trials)
        known = np.isfinite(mean)
        deviations = trials - mean
        deviations[~shown] = 0
        spread = np.einsum("rnq,rnq->nq", deviations, deviations)
        repeated = known & (reps > 1)
        noise = np.where(repeated, spread / np.maximum(reps - 1, 1) / np.maximum(reps, 1), 0)
        values = np.where(known, mean - nanmean(mean), 0)
        return cls(values, noise, known.astype(np.float64), repeated.astype(np.float64))

    def at(self, neuroids: np.ndarray) -> _Repeated:
        """The same for some neuroids (numbers or a mask)."""
        return _Repeated(*(part[:, neuroids] for part in (self.values, self.noise, self.known, self.repeated)))

    def signal_and_total(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(signal variance, variance of the mean response) under stimulus weights [d, n], [d, q]."""
        count = weights @ self.known
        with np.errstate(invalid="ignore", divide="ignore"):
            first = weights @ self.values / count
            total = (weights @ self.values**2 / count - first**2) * count / (count - 1)
            return total - (weights @ self.noise) / (weights @ self.repeated), total
