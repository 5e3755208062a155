"""The energy model of complex cells: a quadrature pair found from responses to noise, and what it predicts.

A complex cell's average response to a pixel is nothing, its response to pairs of pixels is not: the leading axes of
the response-weighted covariance of white noise are the pair whose squared outputs it sums (Rust et al. 2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from probes.features import Floats
from probes.gabor import GaborFit, correlation, fit_gabor, fit_quadrature_pair
from probes.receptive_fields import noise_maps

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyFit:
    """Of each feature: the quadrature pair and the single Gabor fitted to one half of the noise, and how well the two
    models predict the responses to the other half.

    `energy` is the correlation of the response with the sum of the pair's squared outputs, `linear` with the Gabor's
    output, `rectified` with its positive part, each [feature] (energy and rectified with the sign of the half fitted).
    `pairs` are the second-order kernel's leading axes, [feature, 2, s, s].
    """

    pair: GaborFit
    gabor: GaborFit
    pairs: Array
    energy: Array
    linear: Array
    rectified: Array

    @property
    def complex(self) -> NDArray[np.bool_]:
        """Whether the energy model predicts better than the linear and the rectified one."""
        return np.nan_to_num(self.energy, nan=-1) > np.fmax(self.linear, self.rectified)


def fit_energy(images: Floats, responses: Floats, seed: int = 0) -> EnergyFit:
    """Fit both models to white noise [n, s, s] and responses [n, feature], and score them on the half held out.

    Needs many more images than pixels (20 times as many recover a pair in noise of the signal's size). Features that
    are constant or not finite have NaN throughout. Raises InputError where numbers differ.
    """
    n, size = len(images), images.shape[-1]
    if n != len(responses) or n < 8:
        raise InputError(f"{n} images came with {len(responses)} responses; give eight or more of each.")
    order = np.random.default_rng(seed).permutation(n)
    fit, test = order[: n // 2], order[n // 2 :]
    flat = (images - images.mean(axis=0)).reshape(n, -1).astype(np.float64)
    alive = np.isfinite(responses).all(axis=0)
    values = np.where(alive, responses, 0).astype(np.float64)
    alive &= values.std(axis=0) > 0
    pairs = np.full((values.shape[1], 2, size * size), np.nan)
    for feature in np.flatnonzero(alive):
        weight = values[fit, feature] - values[fit, feature].mean()
        kernel = (flat[fit] * weight[:, None]).T @ flat[fit]
        strength, axes = np.linalg.eigh(kernel)
        # Both ends of the spectrum count: a suppressive pair has negative eigenvalues.
        top = axes[:, -2:] if strength[-2:].sum() >= -strength[:2].sum() else axes[:, :2]
        pairs[feature] = top.T
    pair = fit_quadrature_pair(pairs.reshape(-1, 2, size, size))
    maps = noise_maps(images[fit], values[fit]).whole
    maps[~alive] = np.nan
    gabor = fit_gabor(maps)
    outputs = np.einsum("np,fkp->fkn", flat, np.nan_to_num(pair.drawn(size)).reshape(len(pairs), 2, -1))
    squared = (outputs**2).sum(axis=1)
    linear = np.nan_to_num(gabor.drawn(size)).reshape(len(pairs), -1) @ flat.T
    found = []
    for model in (squared, linear, np.maximum(linear, 0)):
        sign = np.sign(correlation(model[:, fit], values[fit].T))
        found.append(sign * correlation(model[:, test], values[test].T))
    energy, straight, rectified = (np.where(alive, score, np.nan) for score in found)
    return EnergyFit(pair, gabor, pairs.reshape(-1, 2, size, size), energy, straight, rectified)
