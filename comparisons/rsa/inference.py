"""From scores under draws to estimates, noise ceilings, standard errors and tests.

Whatever can be scored for models and subjects under draws of stimuli and subjects (`Scores`) gets the same inference:
the estimate on all data, the bootstrap's corrected variance, and t tests against zero, each other and the ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bridge.errors import InputError
from comparisons.rsa.bootstrap import Draws, Resampled, Resampling, draw_counts


class Scores(Protocol):
    """What a measure provides: scores of given models and subjects, on all stimuli and under draws."""

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
        """Two-sided p against zero, [m]: a t test on the bootstrap's variance, as in `rsatoolbox`.

        Asymptotic: with thirty stimuli it rejects at 5 to 8%. `permutation.permute_stimuli` is exact.
        """
        return _two_sided(self.estimate, self.standard_error**2, self.dof)

    def p_differences(self) -> np.ndarray:
        """Two-sided p of the difference between every two models, [m, m]; 1 on the diagonal, NaN without a variance.

        A t test on the bootstrap's variance, over stimuli and subjects as resampled: asymptotic, as `p`.
        """
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

    def p_differences_over_subjects(self) -> np.ndarray:
        """The same by sign flips of the subjects' differences, [m, m]: exact, but of these stimuli alone. NaN for one
        subject; with fewer than 6 it cannot fall below .05."""
        from comparisons.statistics import sign_flips

        if self.subjects.shape[1] < 2:
            return np.full((len(self.estimate),) * 2, np.nan)
        return sign_flips(self.subjects[:, None] - self.subjects[None])

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


def infer(
    scores: Scores,
    n: int,
    n_subjects: int,
    draws: int,
    seed: int,
    on_draw: Callable[[], None] | None = None,
    resampling: Resampling | None = None,
    replay: Draws | None = None,
) -> RSA:
    """Estimates, ceilings and standard errors of `scores` over n stimuli and n_subjects subjects.

    The arguments are those of `comparisons.rsa.evaluate`. Raises InputError when the draws do not fit, or there are too
    few stimuli or subjects for what is asked.
    """
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
    by_subject = scores.similarity()
    ceiling: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    if n_subjects > 1:
        ceiling = scores.ceiling()
    else:
        notes = ("a single RDM: no noise ceiling, and the interval is over stimuli only",)
    estimate = by_subject.mean(axis=1)
    if kind == "fixed":
        error = np.full(len(estimate), np.nan)
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
        notes += ("the noise ceiling is that of all data and was not resampled",)
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


def _two_sided(difference: np.ndarray, variance: np.ndarray, dof: int) -> np.ndarray:
    """Two-sided p of a difference given its variance; the variance is at least the rounding of 1, as in rsatoolbox."""
    from scipy.stats import t

    return 2 * t.sf(np.abs(difference) / np.sqrt(np.maximum(variance, np.finfo(np.float64).eps)), dof)
