"""How many dimensions a population's responses fill: participation ratio, cross-validated spectra, live latents.

Responses are arrays [n_stim, d] (units, neuroids or latents). Every measure here depends on n and d: compare regions
and sites at matched numbers (`matched`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]


def spectrum(responses: NDArray) -> Array:
    """Eigenvalues of the covariance over stimuli, descending, float64 [min(n, d)] (some may be 0).

    Raises InputError for fewer than two stimuli and for values that are not finite.
    """
    x = _checked(responses)
    x = x - x.mean(axis=0)
    gram = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    return np.maximum(np.linalg.eigvalsh(gram)[::-1], 0) / (len(x) - 1)


def participation_ratio(responses: NDArray) -> float:
    """(sum l)^2 / sum l^2 of the covariance's eigenvalues l: d for a round cloud, 1 for a line.

    Gao et al. 2017; biased down to at most n - 1. NaN for responses without variance.
    """
    values = spectrum(responses)
    total = (values**2).sum()
    return float(values.sum() ** 2 / total) if total > 0 else float("nan")


@dataclass(frozen=True)
class CrossValidatedSpectrum:
    """Variance that two repeats share along each principal component, and the power law through it.

    `shared` [rank] is an unbiased estimate of the signal's eigenvalues, and can be negative; `alpha` the exponent of
    shared ~ rank^-alpha over the ranks fitted, and `fitted` how many of those ranks were positive and took part.
    """

    shared: Array
    alpha: float
    fitted: int


def cvpca(repeats: NDArray, ranks: tuple[int, int] = (10, 500), seed: int = 0) -> CrossValidatedSpectrum:
    """Cross-validated PCA (Stringer et al. 2019, Methods, "Cross-validated PCA") of responses [2, n_stim, d].

    Components are those of one repeat; its scores times the other's, averaged over stimuli, leave out what is noise in
    each. Both directions are averaged. alpha is the least-squares slope of log shared on log rank, each rank weighted
    by 1 / rank (as theirs), over `ranks` (first and last, as far as there are so many). `seed` draws the order of
    repeats of single stimuli, so that no drift between repeats enters.

    Raises InputError for anything but two repeats. alpha is NaN where fewer than three ranks can be fitted.
    """
    if repeats.ndim != 3 or len(repeats) != 2:
        raise InputError(f"cvPCA takes two repeats [2, n_stim, d], not {list(repeats.shape)}; average halves of more.")
    first, second = (_checked(part) for part in repeats)
    swap = np.random.default_rng(seed).random(len(first)) < 0.5
    first, second = np.where(swap[:, None], second, first), np.where(swap[:, None], first, second)
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    shared = np.mean([_shared(first, second), _shared(second, first)], axis=0)
    rank = np.arange(1, len(shared) + 1)
    chosen = (rank >= ranks[0]) & (rank <= ranks[1]) & (shared > 0)
    if chosen.sum() < 3:
        return CrossValidatedSpectrum(shared, float("nan"), int(chosen.sum()))
    slope = np.polyfit(np.log(rank[chosen]), np.log(shared[chosen]), 1, w=np.sqrt(1 / rank[chosen]))[0]
    return CrossValidatedSpectrum(shared, float(-slope), int(chosen.sum()))


def _shared(first: Array, second: Array) -> Array:
    """Covariance of the two repeats' scores on the first one's components, [min(n - 1, d)]."""
    rank = min(len(first) - 1, first.shape[1])
    _, _, axes = np.linalg.svd(first, full_matrices=False)
    axes = axes[:rank]
    return ((first @ axes.T) * (second @ axes.T)).sum(axis=0) / len(first)


def effective_latents(latents: NDArray) -> float:
    """Effective number of live latents of a sparse code: (sum e)^2 / sum e^2 of their energies e = mean z^2.

    `latents` is [n, m], n stimuli or tokens. The number of latents that share the code's energy, to be set against the
    intrinsic dimension of the stream that they describe. 0 where no latent is ever active.
    """
    energy = (np.asarray(latents, np.float64) ** 2).mean(axis=0)
    total = (energy**2).sum()
    return float(energy.sum() ** 2 / total) if total > 0 else 0.0


def matched(parts: Sequence[NDArray], seed: int, n: int | None = None, d: int | None = None) -> list[NDArray]:
    """The same number of stimuli (the same rows) and of units (drawn from each) of several [n_stim, d_i] arrays.

    By default as many as the smallest part has. Raises InputError where a part has fewer stimuli or units than asked
    for, or where parts differ in their stimuli's number (rows are stimuli, the same in every part).
    """
    counts = sorted({len(part) for part in parts})
    if len(counts) != 1:
        raise InputError(f"Parts have {counts} stimuli; give the same stimuli, in the same rows, of each.")
    most, smallest = counts[0], min(part.shape[1] for part in parts)
    n, d = n or most, d or smallest
    if n > most or d > smallest:
        raise InputError(
            f"{n} stimuli and {d} units were asked for, and there are {most} and {smallest}; ask for fewer."
        )
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(most, n, replace=False))
    return [part[rows][:, np.sort(rng.choice(part.shape[1], d, replace=False))] for part in parts]


def _checked(responses: NDArray) -> Array:
    x = np.asarray(responses, np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise InputError(
            f"Responses of shape {list(np.shape(responses))} are no finite array [n_stim, d] of two stimuli or more; "
            "leave out what is undefined."
        )
    return x
