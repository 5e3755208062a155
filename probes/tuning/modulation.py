"""Mean (F0) and first harmonic (F1) of the response to a drifting grating's phases, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from probes.tuning.grid import GratingGrid

Array = NDArray[np.float64]
Component = Literal["mean", "f1", "larger"]


@dataclass(frozen=True)
class Harmonics:
    """Of each condition: the mean over phases, the first harmonic's amplitude, and its phase (degrees in [0, 360), the
    stimulus phase at which it peaks). Each [feature, orientation, frequency]."""

    mean: Array
    f1: Array
    peak: Array


def harmonics(grid: GratingGrid) -> Harmonics:
    """F0 and F1 of every condition: F1 = (2/P) |sum_p r_p e^{-i p}|, the amplitude of a sinusoid of that phase.

    Equal to `2 |fft(r)[1]| / P` (Skottun et al. 1991; `ringach2002_properties` of Brain-Score).
    """
    radians = np.deg2rad(grid.phases)
    waves = np.stack([np.full_like(radians, 0.5), np.cos(radians), np.sin(radians)], axis=1) * (2 / len(radians))
    mean, even, odd = np.moveaxis(grid.responses @ waves, -1, 0)
    return Harmonics(mean, np.hypot(even, odd), np.rad2deg(np.arctan2(odd, even)) % 360)


def modulation_ratio(mean: Array, f1: Array) -> Array:
    """F1 / F0, same shape: above 1 for simple cells, below 1 for complex ones (Skottun et al. 1991).

    Golden values with 12 phases: a half-wave rectified sinusoid 1.55 to 1.61 by where its peak falls between phases
    (pi / 2 in the limit), an energy cell 0, a response to one phase alone 2. Infinite where F0 is not positive but F1
    is: a linear unit (or a pre-activation), whose mean is that of its bias. NaN where both are 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = f1 / mean
    silent = (np.abs(mean) <= 1e-12) & (f1 <= 1e-12)
    return np.where(silent, np.nan, np.where(mean <= 0, np.inf, ratio))


@dataclass(frozen=True)
class Preferred:
    """The condition to which each feature responds most, and its curves through it.

    `uses_f1` says which component the curves are of; `orientation` and `frequency` are indices of levels. The curves
    are of that component: `over_orientation` [feature, orientation] at the preferred frequency, `over_frequency`
    [feature, frequency] at the preferred orientation.
    """

    uses_f1: NDArray[np.bool_]
    orientation: NDArray[np.intp]
    frequency: NDArray[np.intp]
    over_orientation: Array
    over_frequency: Array

    def at(self, values: Array) -> Array:
        """The values [feature, orientation, frequency] at each feature's preferred condition, [feature]."""
        return values[np.arange(len(values)), self.orientation, self.frequency]


def preferred_condition(found: Harmonics, baseline: Array | None = None, component: Component = "larger") -> Preferred:
    """The condition with the largest component: the mean, F1, or whichever is larger anywhere, feature by feature.

    `larger` is the physiologists' choice (mean for complex cells, F1 for simple ones; `cavanaugh2002_properties` and
    `devalois1982b_properties` of Brain-Score): a linear unit's mean over phases says nothing. `baseline` [feature],
    the response to a blank, is subtracted from means.
    """
    mean = found.mean if baseline is None else found.mean - baseline[:, None, None]
    features = np.arange(len(mean))
    flat = (len(mean), -1)
    if component == "larger":
        uses_f1 = found.f1.reshape(flat).max(axis=1) > mean.reshape(flat).max(axis=1)
    else:
        uses_f1 = np.full(len(mean), component == "f1")
    chosen = np.where(uses_f1[:, None, None], found.f1, mean)
    orientation, frequency = np.unravel_index(chosen.reshape(flat).argmax(axis=1), chosen.shape[1:])
    return Preferred(uses_f1, orientation, frequency, chosen[features, :, frequency], chosen[features, orientation, :])
