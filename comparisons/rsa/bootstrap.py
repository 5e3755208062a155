"""The bootstrap of an RSA: which stimuli and subjects each draw holds, and the variances that follow from the draws.

The dual bootstrap evaluates every draw three times: with stimuli and subjects resampled, with subjects alone, and with
stimuli alone. Resampling both overestimates the variance, because the noise is resampled twice; the correction takes
that out (Schuett et al. 2023, eLife 82566, eq. 7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bridge.errors import InputError

Resampling = Literal["fixed", "stimuli", "subjects", "dual"]
"""What the draws resample: nothing, stimuli, subjects, or both with the corrected variance."""


@dataclass(frozen=True)
class Draws:
    """Index draws with replacement: `stimuli` [draw, n_stim] and `subjects` [draw, n_subject]; None is not resampled.

    Stimuli are drawn first, so regions with different numbers of subjects share their stimulus draws under one seed.
    """

    stimuli: np.ndarray | None
    subjects: np.ndarray | None

    @classmethod
    def make(cls, kind: Resampling, draws: int, n_stimuli: int, n_subjects: int, seed: int) -> Draws:
        """`draws` draws from `np.random.default_rng(seed)`, each as large as the data."""
        rng = np.random.default_rng(seed)
        stimuli = rng.integers(0, n_stimuli, (draws, n_stimuli)) if kind in ("stimuli", "dual") else None
        subjects = rng.integers(0, n_subjects, (draws, n_subjects)) if kind in ("subjects", "dual") else None
        return cls(stimuli, subjects)

    def __len__(self) -> int:
        given = self.stimuli if self.stimuli is not None else self.subjects
        return 0 if given is None else len(given)

    @property
    def kind(self) -> Resampling:
        """What these draws resample."""
        if self.stimuli is None:
            return "fixed" if self.subjects is None else "subjects"
        return "stimuli" if self.subjects is None else "dual"

    def check(self, n_stimuli: int, n_subjects: int) -> None:
        """Raise InputError unless the draws are index draws from this many stimuli and subjects."""
        for what, drawn, n in (("stimuli", self.stimuli, n_stimuli), ("subjects", self.subjects, n_subjects)):
            if drawn is None:
                continue
            if drawn.shape != (len(self), n) or drawn.min() < 0 or drawn.max() >= n:
                raise InputError(
                    f"The draws of {what} have shape {drawn.shape}; expected [{len(self)}, {n}] with indices below "
                    f"{n}: make them for these data."
                )

    def save(self, path: Path) -> None:
        """Write the draws to an npz file, to be replayed with `load`."""
        arrays = {"stimuli": self.stimuli, "subjects": self.subjects}
        np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})

    @classmethod
    def load(cls, path: Path) -> Draws:
        """Read draws that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        return cls(held.get("stimuli"), held.get("subjects"))


def draw_counts(drawn: np.ndarray, n: int) -> np.ndarray:
    """How often each of n items is in each draw, float64 [draw, n], of index draws [draw, size]."""
    offset = np.arange(len(drawn))[:, None] * n
    return np.bincount((drawn + offset).ravel(), minlength=len(drawn) * n).reshape(len(drawn), n).astype(np.float64)


def corrected_variance(variances: np.ndarray, kind: Resampling, n_stimuli: int, n_subjects: int) -> np.ndarray:
    """Variance of an estimate from the variances [resampling, ...] of its bootstrap draws.

    For `dual` the first axis holds both, subjects, stimuli: with a = s / (s - 1) and b = n / (n - 1) for s subjects
    and n stimuli it is a v_subjects + b v_stimuli - a b (v_both - v_subjects - v_stimuli), never below either single
    term and never above v_both. Otherwise the first axis has length one and v is multiplied by a or b.
    Equal to `rsatoolbox.util.inference_util.extract_variances`.
    """
    stimuli, subjects = (n / (n - 1) if n > 1 else np.nan for n in (n_stimuli, n_subjects))
    if kind == "stimuli":
        return stimuli * variances[0]
    if kind == "subjects":
        return subjects * variances[0]
    both, of_subjects, of_stimuli = variances
    corrected = subjects * of_subjects + stimuli * of_stimuli - stimuli * subjects * (both - of_subjects - of_stimuli)
    return np.minimum(np.maximum(np.maximum(corrected, subjects * of_subjects), stimuli * of_stimuli), both)


@dataclass(frozen=True)
class Resampled:
    """What the draws gave: `evaluations` [resampling, draw, model] and `ceilings` [resampling, draw, 2].

    The first axis is both, subjects, stimuli for the dual bootstrap, else it has length one. A draw of fewer than three
    distinct stimuli is NaN. Ceilings (lower, upper) are NaN throughout for a single subject.
    """

    kind: Resampling
    evaluations: np.ndarray
    ceilings: np.ndarray
    n_stimuli: int
    n_subjects: int
    assignments: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """The evaluations and ceilings of each assignment to folds, whose means the two arrays above then are."""

    @property
    def usable(self) -> np.ndarray:
        """Which draws gave numbers, bool [draw]."""
        return np.isfinite(self.evaluations).all(axis=(0, 2))

    def variance(self) -> np.ndarray:
        """Corrected variance of every model's evaluation, [model]."""
        return self._of(lambda evaluations, ceilings: evaluations.var(axis=1, ddof=1))

    def difference_variance(self) -> np.ndarray:
        """Corrected variance of the difference between every two models, [model, model]; 0 on the diagonal."""

        def of_differences(evaluations: np.ndarray, ceilings: np.ndarray) -> np.ndarray:
            centred = evaluations - evaluations.mean(axis=1, keepdims=True)
            covariance = np.einsum("kdi,kdj->kij", centred, centred, optimize=True) / (centred.shape[1] - 1)
            own = np.einsum("kii->ki", covariance)
            return np.maximum(own[:, :, None] + own[:, None, :] - 2 * covariance, 0)

        return self._of(of_differences)

    def ceiling_variance(self) -> np.ndarray:
        """Corrected variance of evaluation minus lower and minus upper ceiling, [model, 2]."""
        return self._of(
            lambda evaluations, ceilings: (evaluations[..., None] - ceilings[:, :, None, :]).var(axis=1, ddof=1)
        )

    def _of(self, variance: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """A variance of evaluations and ceilings over draws, corrected.

        Of r assignments to folds, the variance is extrapolated to infinitely many: (r v_mean - v_single) / (r - 1),
        as in `rsatoolbox.inference.eval_dual_bootstrap`.
        """
        usable = self.usable
        raw = variance(self.evaluations[:, usable], self.ceilings[:, usable])
        if (r := len(self.assignments)) > 1:
            single = np.mean([variance(one[:, usable], other[:, usable]) for one, other in self.assignments], axis=0)
            raw = (r * raw - single) / (r - 1)
        return corrected_variance(raw, self.kind, self.n_stimuli, self.n_subjects)
