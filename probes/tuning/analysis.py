"""The whole tuning analysis: every feature's selectivities, fits, tests and label from its responses to gratings."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.errors import InputError
from probes.features import ALIVE, SINGLE, Floats, feature_states
from probes.tuning import circular, fits, significance
from probes.tuning.grid import GratingGrid, grating_grid
from probes.tuning.modulation import Component, Preferred, harmonics, modulation_ratio, preferred_condition
from probes.tuning.series import frequency_peak, sparseness

Array = NDArray[np.float64]

UNRESPONSIVE, UNTUNED, SIMPLE, COMPLEX = "unresponsive", "untuned", "simple", "complex"


@dataclass(frozen=True)
class Tuning:
    """What gratings say of each feature; every field [feature].

    Numbers are NaN for features whose `state` is dead, constant or undefined. A single-stimulus feature has all
    numbers, and no permutation test can call it tuned.
    """

    state: NDArray[np.str_]
    """See `probes.features.feature_states`."""
    label: NDArray[np.str_]
    """simple or complex (tuned to orientation; F1/F0 above or below 1), untuned (it responds), unresponsive; or the
    state, where that is not `alive`."""
    uses_f1: NDArray[np.bool_]
    """Whether curves are of F1, not of the mean above baseline."""
    orientation: Array
    """Preferred orientation, degrees: of the von Mises fit where tuned, else the best one shown."""
    frequency: Array
    """Preferred of the frequencies shown."""
    phase: Array
    """Stimulus phase at which the response to the preferred condition peaks, degrees."""
    response: Array
    """Largest component above baseline."""
    circular_variance: Array
    """Of the curve over orientation, baseline included."""
    circular_variance_above: Array
    """The same of the curve above baseline, with negative values put to 0."""
    osi: Array
    osi_above: Array
    half_bandwidth: Array
    """Half width at 0.707 of the peak, degrees; NaN where the curve never falls so far."""
    kappa: Array
    """Concentration of the von Mises fit."""
    orientation_r2: Array
    """R2 of a von Mises curve fitted to every second phase, on the other phases (mean of both ways)."""
    frequency_peak: Array
    """Peak of the log-Gaussian fit."""
    frequency_bandwidth: Array
    """Full width at half height of that fit, octaves."""
    frequency_r2: Array
    """As `orientation_r2`."""
    frequency_bandwidth_707: Array
    """Width of a smoothed spline at 0.707 of its peak, octaves; NaN where it does not fall so far."""
    f1_f0: Array
    """F1 / (F0 above baseline) at the preferred condition; infinite where F0 is not above baseline."""
    sparseness: Array
    """Lifetime sparseness over all gratings (of rectified responses)."""
    active: Array
    """Share of gratings with a response above baseline."""
    p_orientation: Array
    p_frequency: Array
    p_phase: Array
    p_response: Array
    q_orientation: Array
    """p adjusted for the false discovery rate over all features."""
    q_frequency: Array
    q_phase: Array
    q_response: Array

    def rows(self) -> dict[str, NDArray]:
        """Field by field, for a table or a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def analyse_tuning(
    responses: Floats,
    orientation: ArrayLike,
    frequency: ArrayLike,
    phase: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    component: Component = "larger",
    permutations: int = 2000,
    level: float = 0.05,
    seed: int = 0,
) -> Tuning:
    """Analyse responses [n_stim, feature] to a full factorial of gratings with these factors [n_stim].

    `baseline` [feature] is the response to a blank; 0 where it is not given. `component` says of what the curves are
    (see `preferred_condition`). A feature is tuned to a factor if its permutation test has a false discovery rate
    below `level` over all features; it is responsive if it is tuned to any, or its mean response is off the baseline.

    Raises InputError for responses that are no factorial, and for baselines of another length.
    """
    state = feature_states(responses)
    # Features without finite responses take part as zeros, so that no NaN reaches a solver; they end as NaN.
    alive = np.isin(state, (ALIVE, SINGLE))
    clean = np.where(alive, responses, 0).astype(np.float64, copy=False)
    grid = grating_grid(clean, orientation, frequency, phase)
    blank = np.zeros(clean.shape[1]) if baseline is None else np.asarray(baseline, np.float64)
    if blank.shape != (clean.shape[1],):
        raise InputError(f"{clean.shape[1]} features came with baselines {list(blank.shape)}; give one each.")
    blank = np.where(alive & np.isfinite(blank), blank, 0)

    found = harmonics(grid)
    best = preferred_condition(found, blank, component)
    over_orientation, over_frequency = best.over_orientation, best.over_frequency
    raw = np.where(best.uses_f1[:, None], over_orientation, over_orientation + blank[:, None])
    above = np.maximum(over_orientation, 0)
    circle = fits.fit_von_mises(over_orientation, grid.orientations)
    octaves = fits.fit_log_gaussian(over_frequency, grid.frequencies)
    tests = significance.tuning_tests(grid, permutations, seed, found)
    flat = grid.responses.reshape(len(grid.responses), -1)
    p = {
        "orientation": tests.orientation,
        "frequency": tests.frequency,
        "phase": tests.phase,
        "response": significance.response_p(flat, blank),
    }
    p = {name: np.where(alive, values, np.nan) for name, values in p.items()}
    q = {name: significance.adjusted(values) for name, values in p.items()}
    tuned = {name: np.nan_to_num(values, nan=1) < level for name, values in q.items()}
    ratio = modulation_ratio(best.at(found.mean) - blank, best.at(found.f1))
    label = np.select(
        [~alive, ~np.any(list(tuned.values()), axis=0), ~tuned["orientation"], ratio > 1],
        [state, UNRESPONSIVE, UNTUNED, SIMPLE],
        default=COMPLEX,
    )
    label = np.where((state == SINGLE), SINGLE, label)
    von_mises_r2, frequency_r2 = _held_out(grid, blank, best)
    shown = grid.orientations[best.orientation]
    numbers = {
        "orientation": np.where(tuned["orientation"], circle.mu, shown),
        "frequency": grid.frequencies[best.frequency],
        "phase": best.at(found.peak),
        "response": over_orientation.max(axis=1),
        "circular_variance": circular.circular_variance(raw, grid.orientations),
        "circular_variance_above": circular.circular_variance(above, grid.orientations),
        "osi": circular.orientation_selectivity(raw),
        "osi_above": circular.orientation_selectivity(above),
        "half_bandwidth": circular.half_bandwidth(over_orientation, grid.orientations)[0],
        "kappa": circle.kappa,
        "orientation_r2": von_mises_r2,
        "frequency_peak": octaves.peak,
        "frequency_bandwidth": octaves.bandwidth,
        "frequency_r2": frequency_r2,
        "frequency_bandwidth_707": _bandwidth_707(over_frequency, grid.frequencies),
        "f1_f0": ratio,
        "sparseness": sparseness(np.maximum(flat, 0)),
        "active": (flat > blank[:, None]).mean(axis=1),
    }
    numbers = {name: np.where(alive, values, np.nan) for name, values in numbers.items()}
    return Tuning(
        state=state,
        label=label,
        uses_f1=best.uses_f1,
        **numbers,
        **{f"p_{name}": values for name, values in p.items()},
        **{f"q_{name}": values for name, values in q.items()},
    )


def _held_out(grid: GratingGrid, blank: Array, best: Preferred) -> tuple[Array, Array]:
    """Held-out R2 of the two fits: fitted to every second phase, scored on the others, and the other way round.

    The preferred condition is that of all phases; with fewer than four phases there is nothing to hold out: NaN.
    """
    nothing = np.full(len(blank), np.nan)
    if len(grid.phases) < 4 or len(grid.phases) % 2:
        return nothing, nothing
    halves = []
    for start in (0, 1):
        found = harmonics(grid.select_phases(slice(start, None, 2)))
        chosen = np.where(best.uses_f1[:, None, None], found.f1, found.mean - blank[:, None, None])
        features = np.arange(len(chosen))
        halves.append((chosen[features, :, best.frequency], chosen[features, best.orientation, :]))
    von_mises, log_gaussian = np.zeros(len(blank)), np.zeros(len(blank))
    for fitted, other in (halves, halves[::-1]):
        circle = fits.fit_von_mises(fitted[0], grid.orientations)
        von_mises += fits.held_out_r2(circle(grid.orientations), other[0]) / 2
        if len(grid.frequencies) > 3:
            octaves = fits.fit_log_gaussian(fitted[1], grid.frequencies)
            log_gaussian += fits.held_out_r2(octaves(grid.frequencies), other[1]) / 2
    return von_mises, log_gaussian if len(grid.frequencies) > 3 else nothing


def _bandwidth_707(curves: Array, frequencies: Array) -> Array:
    return frequency_peak(curves, frequencies)[1] if len(frequencies) > 3 else np.full(len(curves), np.nan)
