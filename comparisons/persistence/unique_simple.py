"""phi: the share of a region's signal variance that simple features explain and complex ones do not, with its traps.

    phi_k = sum_i [MSE_i(C) - MSE_i(S, C)] / sum_i sigma2_sig,i        over the reliable neuroids i of region k

from banded ridge of responses on a simple band S and a complex band C, nested cross-validation. Where C can be told
from S in part (kappa > .1) and part of C is missing, phi is above 0 though no neuroid reads S: S stands in for what is
missing. How far, is measured on C itself. Half of its features, M, are predicted from the other half H:

    rho = sum [MSE(M | H) - MSE(M | H, S)] / sum MSE(M | H)
    leak bound_k = q95(rho) sum_i (MSE_i(C) - noise_i) / sum_i sigma2_sig,i

The bound is two to three times too high where C is complete, and holds where up to three quarters of it are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.errors import InputError
from comparisons.encoding.banded import PENALTIES as FINE
from comparisons.encoding.banded import banded_ridge, folds_of
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.unique_variance import Banded, signal_variance, unique_share
from comparisons.verdicts.evidence import Estimate

SIMPLE, COMPLEX = "simple", "complex"
COUPLED = 0.1
"""kappa above which the leak bound counts."""
PENALTIES = FINE[::2]
"""Half a decade apart: the leave-one-out error hardly differs between neighbours, and it is most of the time."""
HALVES = 20
"""Random halves of C behind the 95% quantile of rho."""
LEAK_QUANTILE = 0.95
JOINT = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0], [1.0, 1.0]])
"""Ratios of S to H among which rho chooses: fewer than phi itself has, because 20 halves are fitted."""


@dataclass(frozen=True)
class Coupling:
    """How much of C can be told from S: `kappa` (cross-validated R2, pooled over features), and the leak ratios rho of
    random halves of C [half] (empty where kappa is small enough not to matter)."""

    kappa: float
    rho: np.ndarray

    @property
    def leak(self) -> float:
        """The 95% quantile of rho, not below 0; 0 where it need not be known."""
        return max(0.0, float(np.quantile(self.rho, LEAK_QUANTILE))) if len(self.rho) else 0.0


@dataclass(frozen=True)
class UniqueSimple:
    """One region's phi: `estimate` with the standard error of its draws, percentile `interval` and one-sided `upper`
    (95%), the leak bound that phi must exceed (0 without coupling), and how many neuroids were reliable."""

    region: str
    estimate: Estimate
    interval: tuple[float, float]
    upper: float
    leak_bound: float
    reliable: int
    neuroids: int


def unique_simple(
    simple: np.ndarray,
    complex_: np.ndarray,
    trials: np.ndarray,
    regions: Sequence[str],
    *,
    coupling: Coupling | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, UniqueSimple]:
    """phi of every region, from early to late as they first appear in `regions` [neuroid].

    `simple` [n, p_s] and `complex_` [n, p_c] are the bands, `trials` [rep, n, neuroid] the responses (NaN where a
    repetition was not shown). Intervals resample stimuli and neuroids (neuroids dominate), with no new fit. `coupling`
    is computed where it is not given. A region without a reliable neuroid is left out of what is returned.
    Raises InputError for shapes that do not fit and fewer than two repetitions.
    """
    names = np.asarray(regions)
    if trials.ndim != 3 or len(trials) < 2 or trials.shape[2] != len(names):
        raise InputError(
            f"Trials of shape {list(trials.shape)} came with {len(names)} region names; phi needs [rep, n, neuroid] "
            "with two repetitions or more, because signal and noise are told apart by them."
        )
    coupling = coupled(simple, complex_, seed=seed) if coupling is None else coupling
    mean = nanmean(trials)
    varying = np.nan_to_num(nanmean((mean - nanmean(mean)) ** 2)) > 0
    if not varying.any():
        return {}
    both = {SIMPLE: simple, COMPLEX: complex_}
    splits = folds_of(len(mean), seed=seed)
    fitted = banded_ridge(both, mean[:, varying], splits=splits, penalties=PENALTIES, choice="float32")
    found = {}
    for region in dict.fromkeys(regions):
        mine = names[varying] == region
        if not mine.any():
            continue
        own = trials[:, :, varying][:, :, mine]
        part = fitted.of(mine)
        try:
            share = unique_share(part, SIMPLE, own, draws=draws, seed=seed)
        except InputError:
            continue
        spread = float(np.std(share.draws, ddof=1)) if len(share.draws) > 1 else float("nan")
        found[region] = UniqueSimple(
            region,
            Estimate(share.estimate, spread),
            share.interval(),
            float(np.quantile(share.draws, 0.95)) if len(share.draws) else float("nan"),
            coupling.leak * unexplained(part, own, share.kept) if coupling.kappa > COUPLED else 0.0,
            int(share.kept.sum()),
            int((names == region).sum()),
        )
    return found


def unexplained(fitted: Banded, trials: np.ndarray, kept: np.ndarray) -> float:
    """1 - R2 of the complex band alone, noise-corrected: sum_i (MSE_i(C) - noise_i) / sum_i sigma2_sig,i, not below 0.

    noise_i is the variance of neuroid i's mean response that its trials leave: Var_rep / R.
    """
    kept_trials = trials[:, :, kept]
    signal = signal_variance(kept_trials)
    noise = nanmean(kept_trials).var(axis=0, ddof=1) - signal
    rest = fitted.mse(COMPLEX)[kept] - noise
    return max(0.0, float(rest.sum() / signal.sum()))


def coupled(simple: np.ndarray, complex_: np.ndarray, *, halves: int = HALVES, seed: int = 0) -> Coupling:
    """kappa of C from S, and rho of random halves of C where kappa is above .1.

    Features of C that do not vary are left out. Raises InputError for shapes that do not fit.
    """
    if simple.ndim != 2 or complex_.ndim != 2 or len(simple) != len(complex_):
        raise InputError(
            f"Bands of shape {list(simple.shape)} and {list(complex_.shape)} came; give [n, p] of the same stimuli."
        )
    spread = complex_.std(axis=0)
    live = spread > 1e-9 * max(spread.max(initial=0), 1e-300)
    c = (complex_[:, live] - complex_[:, live].mean(axis=0)) / spread[live]
    splits = folds_of(len(c), seed=seed)
    alone = banded_ridge({SIMPLE: simple}, c, splits=splits, penalties=PENALTIES)
    kappa = 1 - float(alone.mse(SIMPLE).sum() / alone.mse().sum())
    if kappa <= COUPLED or c.shape[1] < 2:
        return Coupling(kappa, np.zeros(0))
    rng = np.random.default_rng(seed)
    rho = []
    for _ in range(halves):
        order = rng.permutation(c.shape[1])
        kept, hidden = order[: c.shape[1] // 2], order[c.shape[1] // 2 :]
        both: Mapping[str, Any] = {SIMPLE: simple, COMPLEX: c[:, kept]}
        together = ["all"] * len(hidden)
        fitted = banded_ridge(both, c[:, hidden], splits=splits, ratios=JOINT, penalties=PENALTIES, groups=together)
        without, within = fitted.mse(COMPLEX).sum(), fitted.mse(SIMPLE, COMPLEX).sum()
        rho.append((without - within) / without)
    return Coupling(kappa, np.array(rho))
