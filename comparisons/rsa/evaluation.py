"""Representational similarity analysis: how well model RDMs fit a region's RDMs, with ceilings and intervals.

The numbers are rsatoolbox's: fixed evaluation for the estimate and the noise ceiling (Nili et al. 2014), the dual
bootstrap over stimuli and subjects for the variance (Schuett et al. 2023, eLife 82566). They are computed exactly and
for all draws together (`linear_scores`, `rank_scores`, `tau_scores`), and every draw comes from a seed or is passed in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bridge.errors import InputError, did_you_mean
from comparisons.rsa import linear_scores, partial_scores, rank_scores, tau_scores
from comparisons.rsa.bootstrap import Draws, Resampling
from comparisons.rsa.inference import RSA, Scores, infer
from comparisons.rsa.linear_scores import stimuli_of

MEASURES = (*rank_scores.MEASURES, *linear_scores.MEASURES, *tau_scores.MEASURES)


def evaluate(
    models: np.ndarray,
    region: np.ndarray,
    *,
    measure: str = "spearman",
    draws: int = 1000,
    seed: int = 0,
    on_draw: Callable[[], None] | None = None,
    resampling: Resampling | None = None,
    replay: Draws | None = None,
    nuisance: np.ndarray | None = None,
    semipartial: bool = False,
    tau_ceilings: bool = False,
) -> RSA:
    """Compare model RDMs [m, pair] with a region's RDMs [s, pair]; both in the same order of stimuli.

    The default resamples stimuli and subjects ("dual"), or stimuli alone where there is one subject; `draws` 0 or
    "fixed" resamples nothing and takes the standard error over subjects. `replay` uses these draws instead of new ones
    from `seed`. `on_draw` is called once for every draw. Equal to `rsatoolbox.inference.eval_fixed` (estimate,
    ceilings), `eval_dual_bootstrap`, `eval_bootstrap_pattern` and `eval_bootstrap_rdm` (variances) on the same draws.

    Given `nuisance` RDMs [k, pair], the measure ("spearman", "corr" or "corr_cov") is the partial correlation given
    them, or the semi-partial one, which takes them out of the models alone (`partial_scores`).

    Noise ceilings are resampled with every draw; for "tau-a" only with `tau_ceilings`, because it takes a minute.

    Raises InputError when shapes do not fit, values are not finite, an RDM is constant, or there are too few stimuli or
    subjects for what is asked.
    """
    if measure not in MEASURES:
        raise InputError(f"{measure!r} is no measure of RSA; {did_you_mean(measure, MEASURES)}.")
    n = check_rdms(models, region)
    models, region = models.astype(np.float64, copy=False), region.astype(np.float64, copy=False)
    scores: Scores
    if nuisance is not None:
        check_rdms(nuisance, region, "nuisance")
        scores = partial_scores.PartialScores(models, region, nuisance.astype(np.float64), measure, semipartial)
    elif measure in rank_scores.MEASURES:
        scores = rank_scores.RankScores(models, region, measure)
    elif measure in tau_scores.MEASURES:
        scores = tau_scores.TauScores(models, region, measure, tau_ceilings)
    else:
        scores = linear_scores.LinearScores(models, region, measure)
    return infer(scores, n, len(region), draws, seed, on_draw, resampling, replay)


def check_rdms(models: np.ndarray, region: np.ndarray, what: str = "model") -> int:
    """The number of stimuli; raises InputError where the RDMs cannot be compared."""
    shapes = models.ndim == region.ndim == 2 and models.shape[1] == region.shape[1]
    if not shapes or not len(models) or not len(region):
        raise InputError(
            f"{what.capitalize()} RDMs of shape {models.shape} do not fit region RDMs of shape {region.shape}; "
            "expected [model, pair] and [subject, pair] over the same stimuli."
        )
    n = stimuli_of(models.shape[1])
    if n * (n - 1) // 2 != models.shape[1] or n < 3:
        raise InputError(
            f"RDMs of {models.shape[1]} pairs belong to no number of stimuli from three on; pass whole RDMs."
        )
    for whose, rdms in ((what, models), ("region", region)):
        if not np.isfinite(rdms).all():
            raise InputError(f"A {whose} RDM holds values that are not finite; leave those stimuli or sites out.")
        if len(constant := np.flatnonzero(np.ptp(rdms, axis=1) == 0)):
            raise InputError(
                f"{len(constant)} of {len(rdms)} {whose} RDMs are constant (the first is number {constant[0]}) and fit "
                "nothing; leave them out."
            )
    return n
