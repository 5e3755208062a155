"""Parametric tuning curves, fitted to all features at once and scored on phases that were held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.least_squares import Model, levenberg_marquardt
from probes.tuning.circular import mean_orientation

Array = NDArray[np.float64]
LOG_KAPPA = (np.log(0.02), np.log(50.0))
OCTAVES = (0.15, 4.0)
"""Standard deviations that a frequency curve may have, octaves."""
HALF_HEIGHT = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class VonMises:
    """r(theta) = offset + amplitude exp(kappa (cos 2(theta - mu) - 1)), each field [feature]; mu in degrees."""

    mu: Array
    kappa: Array
    amplitude: Array
    offset: Array

    def __call__(self, orientations: Array) -> Array:
        """The curve at some orientations (degrees), [feature, orientation]."""
        bend = np.cos(2 * np.deg2rad(orientations[None, :] - self.mu[:, None])) - 1
        return self.offset[:, None] + self.amplitude[:, None] * np.exp(self.kappa[:, None] * bend)


def fit_von_mises(curves: Array, orientations: Array) -> VonMises:
    """Least-squares von Mises curves for [feature, orientation] (Swindale 1998, eq. 1, over 180 degrees).

    Amplitude is not negative; kappa lies in 0.02 to 50. NaN for curves that are not finite; an amplitude of 0 and an
    offset for flat ones, whose mu and kappa then mean nothing.
    """
    curves, scale = _scaled(curves)
    theta = np.deg2rad(orientations)
    start_mu = np.deg2rad(mean_orientation(np.nan_to_num(curves - curves.min(axis=1, keepdims=True)), orientations))
    starts = []
    for kappa in (0.5, 1.5, 4.0, 12.0):
        shape = np.exp(kappa * (np.cos(2 * (theta - start_mu[:, None])) - 1))
        amplitude, offset = _line(shape, curves)
        starts.append(np.stack([start_mu, np.full(len(curves), np.log(kappa)), amplitude, offset], axis=1))

    def model(p: Array) -> tuple[Array, Array]:
        away = 2 * (theta - p[:, :1])
        kappa = np.exp(p[:, 1:2])
        bend = np.cos(away) - 1
        bump = np.exp(kappa * bend)
        rise = p[:, 2:3] * bump
        slopes = np.stack([rise * kappa * 2 * np.sin(away), rise * kappa * bend, bump, np.ones_like(bump)], axis=-1)
        return rise + p[:, 3:4], slopes

    low = np.array([-np.inf, LOG_KAPPA[0], 0, -np.inf])
    high = np.array([np.inf, LOG_KAPPA[1], np.inf, np.inf])
    best = levenberg_marquardt(model, curves, _cheapest(model, curves, starts, low, high), low, high)[0]
    return VonMises(np.rad2deg(best[:, 0]) % 180, np.exp(best[:, 1]), best[:, 2] * scale, best[:, 3] * scale)


@dataclass(frozen=True)
class LogGaussian:
    """r(f) = amplitude exp(-(log2 f - log2 peak)^2 / (2 sd^2)), each field [feature]; sd in octaves."""

    peak: Array
    sd: Array
    amplitude: Array

    @property
    def bandwidth(self) -> Array:
        """Full width at half height, octaves (De Valois, Albrecht & Thorell 1982)."""
        return HALF_HEIGHT * self.sd

    def __call__(self, frequencies: Array) -> Array:
        """The curve at some frequencies, [feature, frequency]."""
        away = np.log2(frequencies[None, :]) - np.log2(self.peak[:, None])
        return self.amplitude[:, None] * np.exp(-(away**2) / (2 * self.sd[:, None] ** 2))


def fit_log_gaussian(curves: Array, frequencies: Array) -> LogGaussian:
    """Least-squares log-Gaussian curves for [feature, frequency], responses above baseline.

    Peaks lie within an octave of the frequencies shown; a peak at that bound, or beyond the lowest or highest
    frequency, says that the feature prefers what was not shown. NaN for curves that are not finite.
    """
    curves, scale = _scaled(curves)
    octave = np.log2(frequencies)
    top = octave[np.nan_to_num(curves, nan=-np.inf).argmax(axis=1)]
    starts = []
    for sd in (0.5, 1.0, 2.0):
        shape = np.exp(-((octave - top[:, None]) ** 2) / (2 * sd**2))
        amplitude = np.maximum((shape * curves).sum(axis=1) / (shape**2).sum(axis=1), 0)
        starts.append(np.stack([top, np.full(len(curves), np.log(sd)), amplitude], axis=1))

    def model(p: Array) -> tuple[Array, Array]:
        away, sd = octave - p[:, :1], np.exp(p[:, 1:2])
        bump = np.exp(-(away**2) / (2 * sd**2))
        rise = p[:, 2:3] * bump
        return rise, np.stack([rise * away / sd**2, rise * away**2 / sd**2, bump], axis=-1)

    low = np.array([octave[0] - 1, np.log(OCTAVES[0]), 0])
    high = np.array([octave[-1] + 1, np.log(OCTAVES[1]), np.inf])
    best = levenberg_marquardt(model, curves, _cheapest(model, curves, starts, low, high), low, high)[0]
    return LogGaussian(2.0 ** best[:, 0], np.exp(best[:, 1]), best[:, 2] * scale)


@dataclass(frozen=True)
class NakaRushton:
    """r(c) = amplitude c^n / (c^n + c50^n), each field [feature]: how responses above baseline grow with contrast."""

    c50: Array
    exponent: Array
    amplitude: Array

    def __call__(self, contrasts: Array) -> Array:
        """The curve at some contrasts, [feature, contrast]."""
        powered = contrasts[None, :] ** self.exponent[:, None]
        return self.amplitude[:, None] * powered / (powered + self.c50[:, None] ** self.exponent[:, None])


def fit_naka_rushton(curves: Array, contrasts: Array) -> NakaRushton:
    """Least-squares Naka-Rushton curves for [feature, contrast] (Albrecht & Hamilton 1982, eq. 1).

    c50 lies in 0.01 to 10 (a linear feature is at the upper bound: it does not saturate), n in 0.3 to 8. NaN for
    curves that are not finite.
    """
    curves, scale = _scaled(curves)
    known = np.log(contrasts)
    starts = []
    for half in (0.1, 0.3, 1.0):
        shape = contrasts**2 / (contrasts**2 + half**2)
        amplitude = np.maximum((shape * curves).sum(axis=1) / (shape**2).sum(), 0)
        starts.append(np.stack([*np.full((2, len(curves)), [[np.log(half)], [np.log(2.0)]]), amplitude], axis=1))

    def model(p: Array) -> tuple[Array, Array]:
        n = np.exp(p[:, 1:2])
        shape = 1 / (1 + np.exp(np.clip(-n * (known - p[:, :1]), -60, 60)))
        rise, bend = p[:, 2:3] * shape, shape * (1 - shape) * p[:, 2:3] * n
        return rise, np.stack([-bend, bend * (known - p[:, :1]), shape], axis=-1)

    low = np.array([np.log(0.01), np.log(0.3), 0])
    high = np.array([np.log(10.0), np.log(8.0), np.inf])
    best = levenberg_marquardt(model, curves, _cheapest(model, curves, starts, low, high), low, high)[0]
    return NakaRushton(np.exp(best[:, 0]), np.exp(best[:, 1]), best[:, 2] * scale)


def held_out_r2(predicted: Array, observed: Array) -> Array:
    """1 - squared error / variance of what was held out, [feature], of curves [feature, level]. NaN for flat curves.

    Can be negative: a curve fitted to noise predicts other noise worse than its mean does.
    """
    error = ((observed - predicted) ** 2).sum(axis=1)
    total = ((observed - observed.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - error / total, np.nan)


def _scaled(curves: Array) -> tuple[Array, Array]:
    """Curves divided by their largest absolute value, and that value (1 for curves of zeros)."""
    size = np.abs(curves).max(axis=1)
    size = np.where((size > 0) & np.isfinite(size), size, 1)
    return curves / size[:, None], size


def _line(shape: Array, curves: Array) -> tuple[Array, Array]:
    """Slope (not negative) and intercept of curves on shapes, row by row."""
    centred = shape - shape.mean(axis=1, keepdims=True)
    slope = np.maximum((centred * curves).sum(axis=1) / np.maximum((centred**2).sum(axis=1), 1e-300), 0)
    return slope, curves.mean(axis=1) - slope * shape.mean(axis=1)


def _cheapest(model: Model, curves: Array, starts: list[Array], low: Array, high: Array) -> Array:
    """After a few steps from every start, the best one of each feature."""
    tried = [levenberg_marquardt(model, curves, start, low, high, iterations=4) for start in starts]
    best = np.argmin([cost for _, cost in tried], axis=0)
    return np.stack([found for found, _ in tried])[best, np.arange(len(curves))]
