"""Decoder-error transport: does a trial's error about the stimulus in an early area arrive in a late one?

A stimulus variable s is decoded on single trials from each area, by decoders that learnt from *other stimuli* (those
that learnt from other trials of the same stimuli memorise them). e is the decoded s less its mean over the trials of
the stimulus. Area j is split into halves A and B, whose decoding noise is independent, so that Cov(e_jA, e_jB) is
that of j's state:

    T_jk  = [g_jB Cov(e_jA, e_k) + g_jA Cov(e_jB, e_k)] / 2 Cov(e_jA, e_jB)       g = slope of decoded s on s
    cal   = T_jk / g_k              1: what V1 got wrong, k gets wrong as well; 0: k's errors are its own
    rel_j = corr(e_jA, e_jB)        whether j has shared errors that could be transported

Several variables are pooled as sums of numerators and denominators. C1_jk, the direct path, is the coefficient of e_j
beside e_{k-1} for e_k, over g_k, by two-stage least squares: half A holds the regressors, half B the instruments, and
the reverse (ordinary regression finds that j helps beyond k-1 in every relay, because e_{k-1} is measured with error).

A gain that all neuroids share looks like a common error. So each e is first freed, by regression within stimuli, of G
and G x (mean decoded s), with G the log population rate of all *other* halves and areas.

Rates on seeds that nothing was chosen on (`ventral validate`, seed 2030; 461 neuroids, 120 stimuli of 500 to which C
was fitted, 20 trials, with the bypass 25), SUPPORTED / REFUTED / INCONCLUSIVE of 200, and how often C1 was reported:

    nhbt 0/199/1 (0)    nhbt + shared gain 0/197/3 (2)    own input 0/171/29 (0)
    residual 195/0/5 (1)    with shared gain 199/0/1 (0)    with editing 194/0/6 (2)    nonlinear recoding 200/0/0 (4)
    bypass over nhbt 198/0/2 (162)    common noise as large as own 8/0/192 (19)

C1 is reported where its lower end is above .3. Above .1, as first planned, it was reported in .05 to .10 of streams
without a bypass, most often where S is edited or recoded, and in 38 of 40 bypasses. It decides no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.encoding.banded import folds_of
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.unique_variance import LEAST_RELIABLE, signal_variance
from comparisons.statistics import bootstrap_counts

Array = NDArray[np.float64]
PENALTIES = np.logspace(0, 4, 13)
"""Ridge penalties over the number of training stimuli, for neuroids of unit trial variance."""
SPLITS = 4
"""Random divisions of the areas into halves, over which moments are averaged."""
FOLDS = 5
LEAST_STIMULI = 40
"""Fewer stimuli leave nothing to learn a decoder from and test it on others."""
LEAST_NEUROIDS = 10
"""Fewer neuroids make no two halves that decode."""


@dataclass(frozen=True)
class Bounded:
    """An estimate with its 95% percentile interval over draws of stimuli."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.lower:.3f}, {self.upper:.3f}]"


@dataclass(frozen=True)
class Transport:
    """What arrives in area `later` of the errors of area `earlier`."""

    earlier: str
    later: str
    t: Bounded
    cal: Bounded
    rel: Bounded
    gain: Bounded
    """g of the later area, its variables weighted as in T."""
    direct: Bounded | None
    """C1, where an area lies between."""


@dataclass(frozen=True)
class Moments:
    """Per stimulus: products of errors `errors` [n, population, population, variable] over trials (unbiased), mean
    decoded values `decoded` [n, population, variable], and the variables `values` [n, variable].

    Populations are A, B and whole of each area in turn.
    """

    regions: tuple[str, ...]
    errors: Array
    decoded: Array
    values: Array


def transports(
    trials: np.ndarray,
    regions: Sequence[str],
    values: np.ndarray,
    *,
    order: Sequence[str] | None = None,
    correct_gain: bool = True,
    splits: int = SPLITS,
    draws: int = 1000,
    seed: int = 0,
) -> list[Transport]:
    """T, cal, rel, g and C1 of every pair of areas, the longest distance first.

    `trials` [rep, n, neuroid] are simultaneous responses (NaN where a repetition was not shown), `regions` [neuroid]
    the areas, `order` those asked about from early to late (default: as they first appear), `values` [n, variable] the
    stimulus variables. Intervals resample stimuli, with no new fit. Neuroids that are not `reliable` are left out.
    Raises InputError for shapes that do not fit, one repetition, fewer than 40 stimuli, fewer than two areas, and areas
    of fewer than 10 reliable neuroids: nothing could be said there.
    """
    names = tuple(dict.fromkeys(regions)) if order is None else tuple(order)
    y, areas, s = checked(trials, regions, values, names)
    rng = np.random.default_rng(seed)
    made = [moments(y, areas, names, s, correct_gain=correct_gain, rng=rng) for _ in range(splits)]
    n = len(s)
    weights = np.concatenate([np.ones((1, n)), bootstrap_counts(rng, n, draws)])
    pairs = [(j, k) for j in range(len(names)) for k in range(j + 1, len(names))]
    pairs.sort(key=lambda pair: (pair[0] - pair[1], pair[0]))
    drawn = averaged([statistics(one, weights, pairs) for one in made])
    found = []
    for j, k in pairs:
        told = {
            name: bounded(drawn[name, j, k]) for name in ("t", "cal", "rel", "gain", "direct") if (name, j, k) in drawn
        }
        found.append(
            Transport(names[j], names[k], told["t"], told["cal"], told["rel"], told["gain"], told.get("direct"))
        )
    return found


def checked(
    trials: np.ndarray, regions: Sequence[str], values: np.ndarray, names: Sequence[str]
) -> tuple[Array, NDArray[np.str_], Array]:
    """(responses with a stable variance [rep, n, neuroid], their areas, variables of mean 0 and variance 1 [n, d])."""
    s = np.asarray(values, np.float64)
    s = s[:, None] if s.ndim == 1 else s
    areas = np.asarray(regions)
    if trials.ndim != 3 or trials.shape[1:] != (len(s), len(areas)):
        raise InputError(
            f"Trials of shape {list(trials.shape)} came with variables of {len(s)} stimuli and {len(areas)} names of "
            "areas; expected [rep, n, neuroid]."
        )
    if len(trials) < 2:
        raise InputError("There is one repetition of each stimulus, and variability is what differs between them.")
    if len(s) < LEAST_STIMULI:
        raise InputError(f"{len(s)} stimuli are too few to decode from others; {LEAST_STIMULI} or more are needed.")
    if len(names) < 2:
        raise InputError(f"There is one area ({', '.join(names)}), and what is transported is a question about two.")
    spread = s.std(axis=0)
    if not np.isfinite(s).all() or not (spread > 0).any():
        raise InputError("The stimulus variables hold values that are not numbers, or do not vary over these stimuli.")
    s = ((s - s.mean(axis=0)) / np.where(spread > 0, spread, 1))[:, spread > 0]
    y = stabilised(trials)
    kept = reliable(y)
    y, areas = y[:, :, kept], areas[kept]
    for name in names:
        if (count := int((areas == name).sum())) < LEAST_NEUROIDS:
            raise InputError(f"{name} has {count} reliable neuroids; two halves need {LEAST_NEUROIDS} or more.")
    return y, areas, s


def reliable(y: Array) -> NDArray[np.bool_]:
    """Neuroids [neuroid] of responses [rep, n, neuroid] whose signal variance is a fifth of their mean response's or
    more: an area of neuroids that do not respond to the stimuli tells nothing of them, and nothing of inheritance."""
    mean = nanmean(y)
    with np.errstate(invalid="ignore"):
        spread, size = np.nanvar(mean, axis=0, ddof=1), np.nanmax(np.abs(mean), axis=0)
        varies = spread > (1e-9 * size) ** 2
    return varies & (signal_variance(y) >= LEAST_RELIABLE * spread)


def stabilised(trials: np.ndarray) -> Array:
    """Square roots of counts and rates, whose variance then hardly depends on their mean; responses that are negative
    somewhere (normalised ones) as they are."""
    y = np.asarray(trials, np.float64)
    return np.sqrt(y) if np.nanmin(y) >= 0 else y


def moments(
    y: Array,
    areas: NDArray[np.str_],
    names: Sequence[str],
    s: Array,
    *,
    correct_gain: bool,
    rng: np.random.Generator,
) -> Moments:
    """Errors' moments for one random division of every area into halves."""
    complete = np.isfinite(y).all(axis=2)  # [rep, n]: trials that all areas have
    if (complete.sum(axis=0) < 2).any():
        raise InputError(
            f"{int((complete.sum(axis=0) < 2).sum())} of {y.shape[1]} stimuli have fewer than two trials in which all "
            "areas were recorded; leave those stimuli out."
        )
    populations = []
    for name in names:
        own = rng.permutation(np.flatnonzero(areas == name))
        populations += [np.sort(own[::2]), np.sort(own[1::2]), np.sort(own)]
    folds = folds_of(len(s), FOLDS, int(rng.integers(2**31)))
    decoded = np.stack([held_out(y[:, :, own], s, folds, complete) for own in populations])  # [p, rep, n, d]
    mean = np.einsum("prnd,rn->pnd", decoded, complete / complete.sum(axis=0))
    errors = np.where(complete[..., None], decoded - mean[:, None], 0)
    if correct_gain:
        counts = float(np.nanmin(y)) >= 0
        sums = np.stack([population_sum(y[:, :, own], complete, counts) for own in populations])
        total = sums[2::3].sum(axis=0)
        for number, own in enumerate(populations):
            others = sum(len(each) for each in populations[2::3]) - len(own)
            gain = population_gain(total - sums[number], others, complete, counts)
            errors[number] = free_of_gain(errors[number], gain, mean[number])
    by_stimulus = errors.transpose(2, 3, 0, 1)  # [n, d, p, rep]
    products = np.moveaxis(by_stimulus @ np.swapaxes(by_stimulus, 2, 3), 1, 3)
    products = products / (complete.sum(axis=0) - 1)[:, None, None, None]
    return Moments(tuple(names), products, np.swapaxes(mean, 0, 1), s)


def held_out(y: Array, s: Array, folds: Sequence[tuple[NDArray, NDArray]], complete: NDArray[np.bool_]) -> Array:
    """s decoded on every trial, [rep, n, d], by ridge regression of s on the mean responses to the other folds.

    Each neuroid is measured in standard deviations of its trials about their means. A penalty of 1 a stimulus is then
    the best for a linear reader of single trials with independent noise; less is not offered (what suits mean
    responses gives readers whose errors on single trials are mostly the neuroids' own noise), and more is chosen by
    exact leave-one-out, for all variables together: those that an area does not tell are decoded as their mean. (Chosen
    for each variable, it let chance in: where C and S are unrelated in the population, but not exactly so among the
    stimuli shown, a third of strict hierarchies was INCONCLUSIVE.)
    """
    count = complete.sum(axis=0)
    filled = np.where(complete[..., None], y, 0)
    means = filled.sum(axis=0) / count[:, None]
    spread = np.where(complete[..., None], (filled - means) ** 2, 0).sum(axis=0) / (count - 1)[:, None]
    out = np.empty((*y.shape[:2], s.shape[1]))
    for train, test in folds:
        noise = spread[train].mean(axis=0)
        unit = np.sqrt(np.where(noise > 0, noise, np.inf))
        centre, middle = means[train].mean(axis=0), s[train].mean(axis=0)
        weights = ridge((means[train] - centre) / unit, s[train] - middle) / unit[:, None]
        out[:, test] = (filled[:, test] - centre) @ weights + middle
    return out


def ridge(x: Array, y: Array) -> Array:
    """Weights [q, d] of centred y on centred x; one penalty for all columns, chosen by exact leave-one-out."""
    n = len(x)
    values, vectors = np.linalg.eigh(x @ x.T)
    values = np.maximum(values, 0)
    z = vectors.T @ y
    shrink = values / (values + n * PENALTIES[:, None])  # [penalty, component]
    residual = y - np.einsum("ic,pc,cd->pid", vectors, shrink, z, optimize=True)
    kept = 1 - shrink @ (vectors**2).T - 1 / n  # the mean is fitted, too
    best = ((residual / kept[..., None]) ** 2).sum(axis=(1, 2)).argmin()
    return x.T @ vectors @ (z / (values[:, None] + n * PENALTIES[best]))


def population_sum(y: Array, complete: NDArray[np.bool_], counts: bool) -> Array:
    """Summed response of a population on each trial, [rep, n]: of square roots of counts, the counts' sum."""
    filled = np.where(complete[..., None], y, 0)
    return np.einsum("rnq,rnq->rn", filled, filled) if counts else filled.sum(axis=2)


def population_gain(total: Array, size: int, complete: NDArray[np.bool_], counts: bool) -> Array:
    """G of each trial, [rep, n]: log of a population's summed response, less its mean over the stimulus's trials; of
    responses that may be negative, their mean over the population instead of the log."""
    gain = np.log(np.maximum(total, 0) + 0.5) if counts else total / max(size, 1)
    return np.where(complete, gain - (gain * complete).sum(axis=0) / complete.sum(axis=0), 0)


def free_of_gain(errors: Array, gain: Array, mean: Array) -> Array:
    """Errors [rep, n, d] less their regression on G [rep, n] and on G x (mean decoded s [n, d])."""
    regressors = np.stack([np.broadcast_to(gain[..., None], errors.shape), gain[..., None] * mean])  # [2, rep, n, d]
    square = np.einsum("arnd,brnd->dab", regressors, regressors)
    square += 1e-12 * (np.trace(square, axis1=1, axis2=2)[:, None, None] + 1e-300) * np.eye(2)
    slopes = np.linalg.solve(square, np.einsum("arnd,rnd->da", regressors, errors)[..., None])[..., 0]
    return errors - np.einsum("arnd,da->rnd", regressors, slopes)


def statistics(
    found: Moments, weights: Array, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[str, int, int], tuple[Array, Array]]:
    """Numerator and denominator of every statistic under stimulus weights [draw, n]: [draw] each, by (name, j, k)."""
    n, populations, _, d = found.errors.shape
    c = (weights @ found.errors.reshape(n, -1)).reshape(-1, populations, populations, d) / weights.sum(axis=1)[0]
    g = slopes(found, weights)  # [draw, population, d]
    out: dict[tuple[str, int, int], tuple[Array, Array]] = {}
    for j, k in pairs:
        a, b, whole = 3 * j, 3 * j + 1, 3 * k + 2
        between = c[:, a, b]
        carried = (g[:, b] * c[:, a, whole] + g[:, a] * c[:, b, whole]) / 2
        own = np.sqrt(np.maximum(c[:, a, a].sum(axis=1) * c[:, b, b].sum(axis=1), 0))
        expected = (between * g[:, whole]).sum(axis=1)
        out["t", j, k] = carried.sum(axis=1), between.sum(axis=1)
        out["cal", j, k] = carried.sum(axis=1), expected
        out["rel", j, k] = between.sum(axis=1), own
        out["gain", j, k] = expected, between.sum(axis=1)
        if k - j > 1:
            top, determinant = two_stage(c.sum(axis=3), 3 * (k - 1), a, whole)
            unit = (between * (g[:, a] + g[:, b]) / 2).sum(axis=1)
            out["direct", j, k] = top * unit, determinant * expected
    return out


def slopes(found: Moments, weights: Array) -> Array:
    """Slope of the mean decoded value on the true one over stimuli, [draw, population, d]."""
    total = weights.sum(axis=1)
    s, decoded = found.values, found.decoded
    n = len(s)
    mean_s = weights @ s / total[:, None]
    mean_decoded = (weights @ decoded.reshape(n, -1)).reshape(len(weights), *decoded.shape[1:]) / total[:, None, None]
    product = (weights @ (decoded * s[:, None]).reshape(n, -1)).reshape(mean_decoded.shape) / total[:, None, None]
    variance = weights @ s**2 / total[:, None] - mean_s**2
    return (product - mean_decoded * mean_s[:, None]) / np.maximum(variance, 1e-12)[:, None]


def two_stage(c: Array, middle: int, first: int, later: int) -> tuple[Array, Array]:
    """Coefficient of e_first beside e_middle for e_later by Cramer's rule, from moments [draw, population, population]:
    its numerator and its determinant, [draw] each.

    `middle` and `first` are the numbers of halves A; halves B stand behind them. Regressors in one half, instruments in
    the other, both ways, summed: a determinant alone may come close to 0 in a draw, and their sum does not.
    """
    top = determinant = np.zeros(len(c))
    for x, z in ((0, 1), (1, 0)):
        regressors, instruments = [middle + x, first + x], [middle + z, first + z]
        square = c[:, instruments][:, :, regressors]
        target = c[:, instruments][:, :, later]
        determinant = determinant + square[:, 0, 0] * square[:, 1, 1] - square[:, 0, 1] * square[:, 1, 0]
        top = top + square[:, 0, 0] * target[:, 1] - square[:, 1, 0] * target[:, 0]
    return top, determinant


def averaged(
    parts: Sequence[Mapping[tuple[str, int, int], tuple[Array, Array]]],
) -> dict[tuple[str, int, int], Array]:
    """Ratios of the sums of numerators and of denominators over divisions into halves, [draw]; NaN over 0."""
    out = {}
    for key in parts[0]:
        top, bottom = (np.sum([part[key][side] for part in parts], axis=0) for side in (0, 1))
        out[key] = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
    return out


def bounded(drawn: Array) -> Bounded:
    """The first value, and the middle 95% of the others; NaN where there are none."""
    others = drawn[1:][np.isfinite(drawn[1:])]
    if len(others) < 2:
        return Bounded(float(drawn[0]), float("nan"), float("nan"))
    low, high = np.quantile(others, [0.025, 0.975])
    return Bounded(float(drawn[0]), float(low), float(high))
