"""How long features last along a stream: Kaplan-Meier over depth, corrected for the seed ceiling, and Cox regression.

A feature is born at the first site where a dictionary has it and no earlier one did; it dies at the first later site
without a match, and is censored at the last. Ages are counted in sites. Two dictionaries of *one* site already disagree
(about 30% of features are shared between seeds in published work), so a missing match is no death by itself:

    S(a)   = prod_{b <= a} (1 - d_b / n_b)                   Kaplan & Meier 1958
    S_c(a) = prod_{b <= a} min(1, (1 - d_b / n_b) / c_b)     c_b: mean over those at risk of the rate at which a second
                                                             seed of the site they have reached finds the features of
                                                             the first, within the same stratum of simplicity

The correction is exact where finding a feature is a matter of chance anew at every site. Where the same features are
found again and again, later steps are divided by too little: S_c is then an upper bound, S a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.verdicts.evidence import TWO_SIDED
from probes.simplicity import COMPLEX_TO, SIMPLE_FROM

Array = NDArray[np.float64]
STRATA = ("simple", "between", "complex")
GROUPS = ("all", *STRATA, "not simple")
"""What is followed: everything, each stratum, and all that is not simple together, since the extremes alone are few."""
EVENTS_A_COVARIATE = 10
"""Deaths that a covariate of the Cox model needs at least (Peduzzi et al. 1995)."""


def stratum(simplicity: Array) -> NDArray[np.str_]:
    """simple (.5 or more), complex (.1 or less), between; undefined where the score is NaN."""
    return np.select(
        [np.isnan(simplicity), simplicity >= SIMPLE_FROM, simplicity <= COMPLEX_TO],
        ["undefined", "simple", "complex"],
        default="between",
    )


def members(labels: NDArray[np.str_], group: str) -> NDArray[np.bool_]:
    """Which features, by their strata, belong to one of `GROUPS`; those without a score to `all` alone."""
    if group == "all":
        return np.ones(len(labels), bool)
    return np.isin(labels, ("between", "complex")) if group == "not simple" else labels == group


@dataclass(frozen=True)
class Features:
    """The latents of one site's dictionary, [m] each."""

    alive: NDArray[np.bool_]
    simplicity: Array
    density: Array
    """Share of tokens at which a latent is active."""
    stability: Array
    """How well the latent is found by other seeds of the site, 0 to 1."""


@dataclass(frozen=True)
class Lives:
    """Features by their birth, [f] each, and at which of the K sites each was found, bool [f, K]."""

    birth: NDArray[np.intp]
    latent: NDArray[np.intp]
    found: NDArray[np.bool_]
    simplicity: Array
    density: Array
    stability: Array

    @property
    def duration(self) -> NDArray[np.intp]:
        """Sites from birth to the first without a match; to the last site for those that are censored."""
        sites = self.found.shape[1]
        after = np.arange(sites) > self.birth[:, None]
        missing = after & ~self.found
        first = np.where(missing.any(axis=1), missing.argmax(axis=1), sites - 1)
        return first - self.birth

    @property
    def died(self) -> NDArray[np.bool_]:
        """Whether a site without a match came before the end."""
        after = np.arange(self.found.shape[1]) > self.birth[:, None]
        return (after & ~self.found).any(axis=1)

    @property
    def last_match(self) -> NDArray[np.intp]:
        """Sites from birth to the last match of all, gaps or no gaps."""
        sites = self.found.shape[1]
        return sites - 1 - self.found[:, ::-1].argmax(axis=1) - self.birth

    def of(self, chosen: NDArray[np.bool_]) -> Lives:
        """Some of the features."""
        return Lives(*(value[chosen] for value in vars(self).values()))


def lives(sites: Sequence[Features], partners: Mapping[tuple[int, int], NDArray[np.intp]]) -> Lives:
    """Births and matches from the partners of every pair of sites: `partners[j, k]` [m_j], j < k, holds the latent of
    site k that is the match of each latent of site j (one to one), or -1.

    Only living latents are born. Raises InputError for fewer than two sites and for a missing pair.
    """
    count = len(sites)
    if count < 2:
        raise InputError(f"Features of {count} sites have no survival; give dictionaries of two sites or more.")
    if missing := [(j, k) for k in range(count) for j in range(k) if (j, k) not in partners]:
        raise InputError(f"The matches of sites {missing[0]} are missing; give those of every pair j < k.")
    born: list[tuple[NDArray, ...]] = []
    for k, own in enumerate(sites):
        known = np.zeros(len(own.alive), bool)
        for j in range(k):
            before = partners[j, k][sites[j].alive]
            known[before[before >= 0]] = True
        new = np.flatnonzero(own.alive & ~known)
        found = np.zeros((len(new), count), bool)
        found[:, k] = True
        for later in range(k + 1, count):
            found[:, later] = partners[k, later][new] >= 0
        born.append((np.full(len(new), k), new, found, own.simplicity[new], own.density[new], own.stability[new]))
    return Lives(*(np.concatenate(parts) for parts in zip(*born, strict=True)))


# ----------------------------------------------------------------------------------------------------- Kaplan-Meier


@dataclass(frozen=True)
class Ceiling:
    """Cross-seed match rates of one stratum, [K, K]: that of site k, by the measure that compares sites j and k, stands
    at [j, k]; and over how many latents each was taken, [K, K]."""

    rate: Array
    count: Array


@dataclass(frozen=True)
class SurvivalCurve:
    """Survival by age in sites, 1 .. A (age 0 is 1), [A] each; intervals [A, 2] are 95%."""

    ages: NDArray[np.intp]
    at_risk: NDArray[np.intp]
    deaths: NDArray[np.intp]
    survival: Array
    interval: Array
    ceiling: Array
    """c of the step to each age; NaN without ceilings."""
    corrected: Array
    corrected_interval: Array

    @property
    def half_life(self) -> float:
        """The first age by which half are gone; infinite if more are left at the end."""
        return _half(self.ages, self.survival)

    @property
    def corrected_half_life(self) -> float:
        """The same with the seed ceiling; NaN without one."""
        return float("nan") if np.isnan(self.corrected).any() else _half(self.ages, self.corrected)

    def as_json(self) -> dict[str, Any]:
        """Lists of numbers, None for NaN, and the half-lives (None: more than half are left at the end)."""
        listed = {name: _plain(value) for name, value in vars(self).items()}
        halves = {"half_life": self.half_life, "corrected_half_life": self.corrected_half_life}
        return {**listed, **{name: value if np.isfinite(value) else None for name, value in halves.items()}}


def _plain(values: NDArray) -> list[Any]:
    """Nested lists of numbers, None for NaN."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [None if value != value else value for value in values.tolist()]


def _half(ages: NDArray, survival: Array) -> float:
    gone = survival <= 0.5
    return float(ages[gone.argmax()]) if gone.any() else float("inf")


def kaplan_meier(features: Lives, ceiling: Ceiling | None = None) -> SurvivalCurve:
    """Survival of features over age, with Greenwood's variance on the log-log scale (as lifelines'), and, given the
    stratum's `ceiling`, the corrected one.

    Corrected intervals are normal in log S_c, with Greenwood's variance plus that of the rates, sum (1 - c) / (c N).
    Ages at which nobody is at risk are left out. Features born at the last site say nothing.
    """
    duration, died = features.duration, features.died
    oldest = int(duration.max(initial=0))
    ages = np.arange(1, oldest + 1)
    at_risk = (duration[:, None] >= ages).sum(axis=0)
    deaths = ((duration[:, None] == ages) & died[:, None]).sum(axis=0)
    stays = 1 - deaths / np.maximum(at_risk, 1)
    survival = np.cumprod(stays)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (at_risk * (at_risk - deaths)))
        logs = np.log(survival)
        width = TWO_SIDED * np.sqrt(variance) / logs
        limits = np.stack([np.exp(logs * np.exp(-width)), np.exp(logs * np.exp(width))], axis=1)
    limits = np.where((survival == 1)[:, None], 1.0, np.where((survival == 0)[:, None], np.nan, limits))
    limits.sort(axis=1)
    rate, spread = np.full(oldest, np.nan), np.zeros(oldest)
    if ceiling is not None:
        for index, age in enumerate(ages):
            births, counts = np.unique(features.birth[duration >= age], return_counts=True)
            share, own = counts / counts.sum(), ceiling.rate[births, births + age]
            rate[index] = share @ own
            with np.errstate(divide="ignore", invalid="ignore"):
                spread[index] = share**2 @ (own * (1 - own) / ceiling.count[births, births + age]) / rate[index] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(rate > 0, np.minimum(1, stays / rate), np.nan)
        corrected = np.cumprod(steps)
        half = TWO_SIDED * np.sqrt(variance + np.cumsum(spread))
        corrected_limits = np.stack([corrected * np.exp(-half), np.minimum(1, corrected * np.exp(half))], axis=1)
    return SurvivalCurve(ages, at_risk, deaths, survival, limits, rate, corrected, corrected_limits)


# --------------------------------------------------------------------------------------------------------------- Cox


@dataclass(frozen=True)
class Hazard:
    """Hazard ratio of Gabor simplicity 1 against 0, its 95% interval and p, and those of all covariates' log hazards.

    Below 1, simple features last longer than complex ones of the same birth, density and stability.
    """

    ratio: float
    interval: tuple[float, float]
    p: float
    coefficients: dict[str, float]
    n: int
    deaths: int


def cox(features: Lives) -> Hazard:
    """Cox regression (Efron's ties) of death on simplicity, log firing density and seed stability (lifelines'
    CoxPHFitter), each birth site with a baseline hazard of its own. Covariates that do not vary are left out.

    Raises InputError where there are too few deaths for the covariates, or simplicity does not vary.
    """
    import pandas as pd
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    usable = (features.duration > 0) & np.isfinite(features.simplicity) & (features.density > 0)
    part = features.of(usable)
    table = pd.DataFrame(
        {
            "simplicity": part.simplicity,
            "log_density": np.log(part.density),
            "stability": part.stability,
            "birth": part.birth,
            "duration": part.duration,
            "died": part.died,
        }
    )
    covariates = [name for name in ("simplicity", "log_density", "stability") if table[name].std() > 1e-9]
    if "simplicity" not in covariates or table["died"].sum() < EVENTS_A_COVARIATE * len(covariates):
        raise InputError(
            f"{int(table['died'].sum())} deaths of {len(table)} features are too few for a Cox regression on "
            f"simplicity and two more (it takes {EVENTS_A_COVARIATE} a covariate, and simplicity must vary); give "
            "larger dictionaries."
        )
    fitter = CoxPHFitter()
    try:
        fitter.fit(table[[*covariates, "birth", "duration", "died"]], "duration", "died", strata=["birth"])
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        raise InputError(f"The Cox regression did not converge ({str(error).splitlines()[0]}).") from error
    found = fitter.summary.loc["simplicity"]
    return Hazard(
        ratio=float(found["exp(coef)"]),
        interval=(float(found["exp(coef) lower 95%"]), float(found["exp(coef) upper 95%"])),
        p=float(found["p"]),
        coefficients={str(name): float(value) for name, value in fitter.params_.items()},
        n=len(table),
        deaths=int(table["died"].sum()),
    )
