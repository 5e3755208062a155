"""Representational similarity analysis: how well model RDMs fit a region's RDMs, with ceilings and intervals.

The numbers are rsatoolbox's: fixed evaluation for the estimate and the noise ceiling (Nili et al. 2014), the dual
bootstrap over stimuli and subjects for the variance (Schuett et al. 2023, eLife 82566). They are computed exactly and
for all draws together (`linear_scores`, `rank_scores`), and every draw comes from a seed or is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bridge.errors import InputError, did_you_mean
from comparisons import linear_scores, rank_scores, tau_scores
from comparisons.bootstrap import Draws, Resampled, Resampling, draw_counts
from comparisons.linear_scores import stimuli_of


class Scores(Protocol):
    """What a measure provides: scores of given models and subjects, on all stimuli and under draws."""

    def __init__(self, models: np.ndarray, region: np.ndarray, measure: str) -> None: ...

    @property
    def draws_at_once(self) -> int:
        """How many draws of stimuli to pass together."""
        ...

    def similarity(self) -> np.ndarray:
        """The measure between every model and subject on all stimuli, [m, s]."""
        ...

    def ceiling(self) -> tuple[float, float]:
        """Lower and upper noise ceiling on all stimuli and subjects."""
        ...

    def full(self, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [d, m] and ceilings [d, 2] on all stimuli, per draw of subjects [d, s]."""
        ...

    def under(self, counts: np.ndarray, multiplicities: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same per draw of stimuli, counts [d, n_stim], once for each of the multiplicities [d, s]."""
        ...


_SCORES: dict[str, type[Scores]] = {
    **dict.fromkeys(rank_scores.MEASURES, rank_scores.RankScores),
    **dict.fromkeys(linear_scores.MEASURES, linear_scores.LinearScores),
    **dict.fromkeys(tau_scores.MEASURES, tau_scores.TauScores),
}
MEASURES = tuple(_SCORES)


@dataclass(frozen=True)
class RSA:
    """One region against m models. Arrays are [m] unless said; NaN where a number does not exist (see `notes`)."""

    estimate: np.ndarray
    """Mean over subjects of the measure between a model's RDM and the subject's."""
    standard_error: np.ndarray
    dof: int
    ceiling: tuple[float, float] | None
    """Lower (leave one subject out) and upper noise ceiling; None for a single subject."""
    draws: int
    notes: tuple[str, ...]
    subjects: np.ndarray
    """The measure between each model's RDM and each subject's, [m, s]."""
    resampled: Resampled | None = None
    """What every draw gave; None without draws."""

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Confidence limits from the t distribution with `dof` degrees of freedom, [m, 2]."""
        from scipy.stats import t

        half = t.ppf(0.5 + level / 2, self.dof) * self.standard_error
        return np.stack([self.estimate - half, self.estimate + half], axis=1)

    def p(self) -> np.ndarray:
        """Two-sided p against zero, [m]."""
        return _two_sided(self.estimate, self.standard_error**2, self.dof)

    def p_differences(self) -> np.ndarray:
        """Two-sided p of the difference between every two models, [m, m]; 1 on the diagonal, NaN without a variance."""
        m = len(self.estimate)
        if self.resampled is not None:
            variance = self.resampled.difference_variance()
        elif self.subjects.shape[1] > 1:
            variance = (self.subjects[:, None] - self.subjects[None]).var(axis=-1, ddof=1) / self.subjects.shape[1]
        else:
            variance = np.full((m, m), np.nan)
        p = _two_sided(self.estimate[:, None] - self.estimate[None], variance, self.dof)
        np.fill_diagonal(p, 1)
        return p

    def p_ceiling(self) -> np.ndarray:
        """Two-sided p of the distance to the lower noise ceiling, [m]; NaN where there is no ceiling.

        Where the ceiling was not resampled it counts as a fixed number, as in `rsatoolbox`.
        """
        if self.ceiling is None:
            return np.full(len(self.estimate), np.nan)
        variance = self.standard_error**2
        if self.resampled is not None and np.isfinite(self.resampled.ceilings).any():
            variance = self.resampled.ceiling_variance()[:, 0]
        return _two_sided(self.estimate - self.ceiling[0], variance, self.dof)


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
) -> RSA:
    """Compare model RDMs [m, pair] with a region's RDMs [s, pair]; both in the same order of stimuli.

    The default resamples stimuli and subjects ("dual"), or stimuli alone where there is one subject; `draws` 0 or
    "fixed" resamples nothing and takes the standard error over subjects. `replay` uses these draws instead of new ones
    from `seed`. `on_draw` is called once for every draw. Equal to `rsatoolbox.inference.eval_fixed` (estimate,
    ceilings), `eval_dual_bootstrap`, `eval_bootstrap_pattern` and `eval_bootstrap_rdm` (variances) on the same draws.

    Raises InputError when shapes do not fit, values are not finite, an RDM is constant, or there are too few stimuli or
    subjects for what is asked.
    """
    n = _check(models, region, measure)
    n_subjects = len(region)
    kind = resampling or ("dual" if n_subjects > 1 else "stimuli")
    if replay is not None:
        replay.check(n, n_subjects)
        kind = replay.kind
    if n_subjects == 1 and kind in ("subjects", "dual"):
        raise InputError(
            f"Resampling {kind!r} needs several subjects and there is one RDM; resample 'stimuli', or leave it to the "
            "default."
        )
    if draws == 0 and replay is None:
        kind = "fixed"
    scores = _SCORES[measure](models.astype(np.float64, copy=False), region.astype(np.float64, copy=False), measure)
    by_subject = scores.similarity()
    ceiling: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    if n_subjects > 1:
        ceiling = scores.ceiling()
    else:
        notes = ("a single RDM: no noise ceiling, and the interval is over stimuli only",)
    estimate = by_subject.mean(axis=1)
    if kind == "fixed":
        error = np.full(len(models), np.nan)
        if n_subjects > 1:
            error = by_subject.std(axis=1, ddof=1) / np.sqrt(n_subjects)
        return RSA(estimate, error, n_subjects - 1, ceiling, 0, notes, by_subject)
    drawn = replay or Draws.make(kind, draws, n, n_subjects, seed)
    resampled = Resampled(kind, *_resample(scores, drawn, n, n_subjects, on_draw), n, n_subjects)
    left = int(resampled.usable.sum())
    if left < 2:
        raise InputError(
            f"{left} of {len(drawn)} draws of {n} stimuli hold three distinct ones; a bootstrap needs more stimuli or "
            "draws."
        )
    if left < len(drawn):
        notes += (f"{len(drawn) - left} of {len(drawn)} draws held fewer than three distinct stimuli: left out",)
    if n_subjects > 1 and not np.isfinite(resampled.ceilings).any():
        notes += (f"the noise ceiling of {measure} is that of all data and was not resampled",)
    error = np.sqrt(np.maximum(resampled.variance(), 0))
    dof = {"dual": min(n, n_subjects), "stimuli": n, "subjects": n_subjects}[kind] - 1
    return RSA(estimate, error, dof, ceiling, len(drawn), notes, by_subject, resampled)


def _resample(
    scores: Scores, drawn: Draws, n: int, n_subjects: int, on_draw: Callable[[], None] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluations [resampling, draw, m] and ceilings [resampling, draw, 2], in the order that `Resampled` wants."""
    chunk = scores.draws_at_once
    every = np.ones((len(drawn), n_subjects))
    multiplicity = every if drawn.subjects is None else draw_counts(drawn.subjects, n_subjects)
    if drawn.stimuli is None:
        parts = [[scores.full(multiplicity[at : at + chunk])] for at in _counted(len(drawn), chunk, on_draw)]
        return _joined(parts)
    counts = draw_counts(drawn.stimuli, n)
    several = [multiplicity, every] if drawn.kind == "dual" else [every]
    parts = []
    for at in _counted(len(drawn), chunk, on_draw):
        here = slice(at, at + chunk)
        part = scores.under(counts[here], [weights[here] for weights in several])
        if drawn.kind == "dual":
            part.insert(1, scores.full(multiplicity[here]))
        for evaluations, ceilings in part:
            evaluations[(counts[here] > 0).sum(axis=1) < 3] = np.nan
            ceilings[(counts[here] > 0).sum(axis=1) < 3] = np.nan
        parts.append(part)
    return _joined(parts)


def _counted(n: int, chunk: int, on_draw: Callable[[], None] | None) -> Iterator[int]:
    """The starts of chunks of n draws; calls `on_draw` for every draw that is done."""
    for at in range(0, n, chunk):
        yield at
        if on_draw is not None:
            for _ in range(min(chunk, n - at)):
                on_draw()


def _joined(parts: list[list[tuple[np.ndarray, np.ndarray]]]) -> tuple[np.ndarray, np.ndarray]:
    """Chunks of draws, each a list over resamplings of (evaluations, ceilings): two arrays [resampling, draw, ...]."""
    both = zip(*(zip(*part, strict=True) for part in parts), strict=True)
    evaluations, ceilings = (np.concatenate([np.stack(chunk) for chunk in side], axis=1) for side in both)
    return evaluations, ceilings


def _check(models: np.ndarray, region: np.ndarray, measure: str) -> int:
    """The number of stimuli; raises InputError where the RDMs cannot be compared."""
    if measure not in MEASURES:
        raise InputError(f"{measure!r} is no measure of RSA; {did_you_mean(measure, MEASURES)}.")
    shapes = models.ndim == region.ndim == 2 and models.shape[1] == region.shape[1]
    if not shapes or not len(models) or not len(region):
        raise InputError(
            f"Model RDMs of shape {models.shape} do not fit region RDMs of shape {region.shape}; expected [model, "
            "pair] and [subject, pair] over the same stimuli."
        )
    n = stimuli_of(models.shape[1])
    if n * (n - 1) // 2 != models.shape[1] or n < 3:
        raise InputError(
            f"RDMs of {models.shape[1]} pairs belong to no number of stimuli from three on; pass whole RDMs."
        )
    for what, rdms in (("model", models), ("region", region)):
        if not np.isfinite(rdms).all():
            raise InputError(f"A {what} RDM holds values that are not finite; leave those stimuli or sites out.")
        if len(constant := np.flatnonzero(np.ptp(rdms, axis=1) == 0)):
            raise InputError(
                f"{len(constant)} of {len(rdms)} {what} RDMs are constant (the first is number {constant[0]}) and fit "
                "nothing; leave them out."
            )
    return n


def _two_sided(difference: np.ndarray, variance: np.ndarray, dof: int) -> np.ndarray:
    """Two-sided p of a difference given its variance; the variance is at least the rounding of 1, as in rsatoolbox."""
    from scipy.stats import t

    return 2 * t.sf(np.abs(difference) / np.sqrt(np.maximum(variance, np.finfo(np.float64).eps)), dof)
