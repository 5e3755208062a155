"""Size, contrast and colour: what the series beside the tuning set say of each feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SUPPRESSED = 0.1
"""Suppression index above which a summation field is read off (Cavanaugh et al. 2002; Brain-Score)."""


@dataclass(frozen=True)
class SizeTuning:
    """Of each feature [feature]: how much large gratings suppress it, and the diameters at which its curve turns.

    `suppression` is (peak - largest size) / peak; `summation` the smallest diameter that reaches 95% of the peak,
    `surround` the smallest one beyond the peak that is down to 105% of the plateau. The diameters are NaN where
    suppression is at most `SUPPRESSED`, all three where the peak is not positive.
    """

    suppression: Array
    summation: Array
    surround: Array


def size_tuning(curves: Array, radii: Array) -> SizeTuning:
    """From responses above baseline [feature, radius] to gratings of ascending radius.

    Equal to Brain-Score's `calc_size_tuning` where the peak is positive (theirs gives a suppression of either sign for
    features that are only inhibited).
    """
    peak, plateau = curves.max(axis=1), curves[:, -1]
    diameter = 2 * np.asarray(radii, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        suppression = np.where(peak > 0, (peak - plateau) / peak, np.nan)
    reached = curves >= 0.95 * peak[:, None]
    beyond = np.arange(len(diameter)) > curves.argmax(axis=1)[:, None]
    fallen = beyond & (curves <= (plateau + 0.05 * np.abs(plateau))[:, None])
    known = (peak > 0) & (suppression > SUPPRESSED)
    return SizeTuning(
        suppression,
        np.where(known, diameter[reached.argmax(axis=1)], np.nan),
        np.where(known, diameter[fallen.argmax(axis=1)], np.nan),
    )


def colour_index(chromatic: Array, achromatic: Array) -> Array:
    """(C - A) / (C + A) of the largest responses above baseline to isoluminant and achromatic gratings, [feature].

    1 for features that answer to colour alone, -1 for those that answer to luminance alone. Contrasts differ between
    the two (isoluminant gratings are limited by the display's gamut), so the sign means little and the order of
    features does. Responses below baseline count as 0; NaN where neither evokes any.
    """
    c, a = np.maximum(chromatic, 0), np.maximum(achromatic, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(c + a > 0, (c - a) / (c + a), np.nan)


def frequency_peak(curves: Array, frequencies: Array, level: float = 0.707) -> tuple[Array, Array]:
    """Peak of a smoothed spline through a frequency curve, and its bandwidth at `level` of the peak in octaves.

    Curves [feature, frequency], at least four frequencies. Equal to Brain-Score's
    `calc_spatial_frequency_tuning(..., "smooth", level)`, whose ratio is 100 / 2^bandwidth. The bandwidth is NaN where
    the curve does not fall to the level on both sides within the range shown.
    """
    octave = np.log2(frequencies)
    fine_octave = np.linspace(octave[0], octave[-1], 100)
    fine = curves @ _smooth_spline(octave, fine_octave).T
    peak = fine.argmax(axis=1)[:, None]
    below = fine <= level * np.take_along_axis(fine, peak, 1)
    steps = np.arange(100)
    left = np.where(below & (steps < peak), steps, -1).max(axis=1)
    right = np.where(below & (steps > peak), steps, 100).min(axis=1)
    known = (left >= 0) & (right < 100)
    width = fine_octave[np.minimum(right, 99)] - fine_octave[np.maximum(left, 0)]
    return 2.0 ** fine_octave[peak[:, 0]], np.where(known, width, np.nan)


def _smooth_spline(octave: Array, fine: Array) -> Array:
    """The linear map from a curve to its smoothed spline (weights 1/5, 1, 1/5, ends repeated), [fine, frequency]."""
    from scipy.interpolate import UnivariateSpline

    columns = []
    for unit in np.eye(len(octave)):
        padded = np.concatenate([unit[:1], unit, unit[-1:]])
        smooth = (padded[:-2] / 5 + padded[1:-1] + padded[2:] / 5) / 1.4
        columns.append(UnivariateSpline(octave, smooth, s=0.0)(fine))
    return np.stack(columns, axis=1)


def sparseness(responses: Array) -> Array:
    """Lifetime sparseness (1 - (mean r)^2 / mean r^2) / (1 - 1/n) of responses [feature, n], [feature].

    Vinje & Gallant 2000; equal to Brain-Score's `calc_sparseness`. 0 for equal responses, 1 for a single one; NaN for
    features that never respond.
    """
    n = responses.shape[1]
    power = (responses**2).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, (1 - responses.mean(axis=1) ** 2 / power) / (1 - 1 / n), np.nan)


def texture_modulation(naturalistic: Array, noise: Array) -> Array:
    """Mean over families of (naturalistic - noise) / (naturalistic + noise), [feature], of [feature, family].

    Freeman et al. 2013; equal to Brain-Score's `calc_texture_modulation`. Families without any response do not count;
    NaN where none is left.
    """
    total = naturalistic + noise
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(total == 0, np.nan, (naturalistic - noise) / total)
    counted = np.isfinite(index)
    with np.errstate(invalid="ignore"):
        return np.where(counted, index, 0).sum(axis=1) / np.where(counted.any(axis=1), counted.sum(axis=1), np.nan)
