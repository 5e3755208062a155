"""Representational similarity analysis: how well model RDMs fit a region's RDMs, with ceilings and intervals.

The statistics are rsatoolbox's: fixed evaluation for the estimate and the noise ceiling (Nili et al. 2014), the dual
bootstrap over stimuli and subjects for the variance (Schuett et al. 2023, eLife 82566).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bridge.errors import InputError

MEASURES = ("spearman", "corr")


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

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Confidence limits from the t distribution with `dof` degrees of freedom, [m, 2]."""
        from scipy.stats import t

        half = t.ppf(0.5 + level / 2, self.dof) * self.standard_error
        return np.stack([self.estimate - half, self.estimate + half], axis=1)

    def p(self) -> np.ndarray:
        """Two-sided p against zero, [m]."""
        from scipy.stats import t

        return 2 * t.sf(np.abs(self.estimate) / self.standard_error, self.dof)


def evaluate(
    models: np.ndarray,
    region: np.ndarray,
    *,
    measure: str = "spearman",
    draws: int = 1000,
    seed: int = 0,
    on_draw: Callable[[], None] | None = None,
) -> RSA:
    """Compare model RDMs [m, pair] with a region's RDMs [subject, pair]; both in the same order of stimuli.

    `draws` 0 gives estimates without standard errors. With one subject only stimuli are resampled, and there is no
    ceiling. Equals `rsatoolbox.inference.eval_fixed`, `eval_dual_bootstrap` and `eval_bootstrap_pattern` with
    numpy's global generator seeded with `seed` (and given back as it was). `on_draw` is called after every draw.

    Raises InputError when the numbers of pairs differ or values are not finite.
    """
    import rsatoolbox.inference as inference
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    if models.ndim != 2 or region.ndim != 2 or models.shape[1] != region.shape[1]:
        raise InputError(
            f"Model RDMs of shape {models.shape} do not fit region RDMs of shape {region.shape}; expected [model, pair] "
            "and [subject, pair] over the same stimuli."
        )
    if not (np.isfinite(models).all() and np.isfinite(region).all()):
        raise InputError("An RDM holds values that are not finite; leave those stimuli or sites out.")
    fixed = [ModelFixed(str(index), rdm) for index, rdm in enumerate(models)]
    data = RDMs(region)
    with _quiet(on_draw), _seeded(seed):
        plain = inference.eval_fixed(fixed, data, method=measure)
        estimate = np.asarray(plain.evaluations)[0].mean(axis=-1)
        single = len(region) == 1
        notes: tuple[str, ...] = ()
        ceiling = None
        if single:
            notes = ("a single RDM: no noise ceiling, and the interval is over stimuli only",)
        else:
            lower, upper = (float(np.mean(bound)) for bound in plain.noise_ceiling)
            ceiling = (lower, upper)
        error = np.full(len(models), np.nan)
        dof = min(len(region), data.n_cond) - 1
        if draws and single:
            boot = inference.eval_bootstrap_pattern(fixed, data, method=measure, N=draws, boot_noise_ceil=False)
            error, dof = np.nanstd(boot.evaluations.reshape(draws, len(models)), axis=0, ddof=1), data.n_cond - 1
        elif draws:
            dual = inference.eval_dual_bootstrap(fixed, data, method=measure, N=draws)
            error, dof = np.sqrt(np.maximum(dual.model_var, 0)), dual.dof
    return RSA(estimate, error, dof, ceiling, draws, notes)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """rsatoolbox draws from numpy's global generator: seed it, and give it back as it was."""
    before = np.random.get_state()
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _quiet(on_draw: Callable[[], None] | None) -> Iterator[None]:
    """Put our progress in the place of rsatoolbox's own bars."""
    import rsatoolbox.inference.evaluate as module

    def counted(n: int) -> Iterator[int]:
        for index in range(n):
            yield index
            if on_draw is not None:
                on_draw()

    class Bars:
        trange = staticmethod(counted)

        @staticmethod
        def tqdm(values: Iterator[int], **_: object) -> Iterator[int]:
            return iter(values)

    original = module.tqdm
    module.tqdm = Bars
    try:
        yield
    finally:
        module.tqdm = original
