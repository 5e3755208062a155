"""Selectivity for orientation, from a curve of responses to evenly spaced orientations."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HANNING = (2 / 5, 1.0, 2 / 5)
"""Smoothing of curves before bandwidths are read off (Ringach et al. 2002; Brain-Score's `calc_bandwidth`)."""


def resultant(curves: Array, orientations: Array) -> NDArray[np.complex128]:
    """sum_o r_o e^{2 i theta_o}, complex [...], of curves [..., orientation] at degrees [orientation]."""
    return curves @ np.exp(2j * np.deg2rad(orientations))


def circular_variance(curves: Array, orientations: Array) -> Array:
    """1 - |sum r e^{2 i theta}| / sum |r|, [...]: 0 for one orientation alone, 1 for none preferred.

    Ringach et al. 2002, eq. 1; equal to Brain-Score's `calc_circular_variance`. A von Mises curve
    exp(kappa cos 2(theta - mu)) has 1 - I1(kappa) / I0(kappa). An additive baseline raises it: give curves with the
    baseline subtracted, too. NaN for a curve that is 0 throughout.
    """
    size = np.abs(curves).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - np.abs(resultant(curves, orientations)) / size


def mean_orientation(curves: Array, orientations: Array) -> Array:
    """Direction of the resultant, degrees in [0, 180), [...]; of no meaning where circular variance is near 1."""
    return np.rad2deg(np.angle(resultant(curves, orientations))) / 2 % 180


def orthogonal_ratio(curves: Array) -> Array:
    """Response at 90 degrees from the largest one over the largest, [...]; equal to Brain-Score's
    `calc_orthogonal_preferred_ratio`. Needs an even number of orientations. NaN where the largest is 0."""
    best = curves.argmax(axis=-1)[..., None]
    across = (best + curves.shape[-1] // 2) % curves.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.take_along_axis(curves, across, -1) / np.take_along_axis(curves, best, -1))[..., 0]


def orientation_selectivity(curves: Array) -> Array:
    """OSI = (preferred - orthogonal) / (preferred + orthogonal), [...]: 1 for no response across, 0 for the same one.

    NaN where the two cancel or are both 0.
    """
    best = curves.argmax(axis=-1)[..., None]
    across = (best + curves.shape[-1] // 2) % curves.shape[-1]
    top, low = np.take_along_axis(curves, best, -1)[..., 0], np.take_along_axis(curves, across, -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(top + low == 0, np.nan, (top - low) / (top + low))


def half_bandwidth(curves: Array, orientations: Array, level: float = 0.707) -> tuple[Array, Array]:
    """Half width at `level` of the peak, degrees, and the peak's orientation in [0, 180), each [feature].

    Curves [feature, orientation] are smoothed (`HANNING`), interpolated by a cubic spline and read off in steps of one
    degree: equal to Brain-Score's `calc_bandwidth(..., "hanning", level, "half")`. The width is NaN where the curve
    does not fall to that level on both sides within 180 degrees.
    """
    fine = curves @ _fine_orientations(tuple(orientations)).T
    peak = fine[:, 180:360].argmax(axis=1)
    steps = np.arange(fine.shape[1])
    place = (peak + 180)[:, None]
    below = fine <= level * np.take_along_axis(fine, place, 1)
    left = np.where(below & (steps < place), steps, -1).max(axis=1)
    right = np.where(below & (steps > place), steps, 10_000).min(axis=1)
    width = (right - left).astype(np.float64)
    width[(left < 0) | (right == 10_000) | (width > 180)] = np.nan
    return width / 2, peak.astype(np.float64)


@lru_cache(maxsize=8)
def _fine_orientations(orientations: tuple[float, ...]) -> Array:
    """The linear map from a curve to its smoothed spline at -180, -179, ..., 359 degrees, [540, orientation]."""
    from scipy.interpolate import UnivariateSpline

    angles = np.array(orientations)
    extended = np.concatenate([angles - 180, angles, angles + 180])
    kernel = np.array(HANNING) / sum(HANNING)
    columns = []
    for unit in np.eye(len(angles)):
        smooth = np.convolve(kernel, np.tile(unit, 3), mode="same")
        columns.append(UnivariateSpline(extended, smooth, s=0.0)(np.linspace(-180, 359, 540)))
    return np.stack(columns, axis=1)
