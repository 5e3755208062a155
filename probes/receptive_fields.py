"""Where in the image a feature looks, and for what: gradients, responses to noise, and their size.

Maps are [feature, height, width] of grey images; coordinates are those of `probes.gabor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from probes.features import Floats

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]


def noise_images(count: int, size: int, seed: int, contrast: float = 0.25) -> NDArray[np.float32]:
    """White Gaussian noise around mid-grey, clipped to [0, 1], float32 [count, size, size]."""
    noise = np.random.default_rng(seed).standard_normal((count, size, size), dtype=np.float32)
    return np.clip(np.float32(0.5) + np.float32(contrast) * noise, 0, 1)


@dataclass(frozen=True)
class NoiseMaps:
    """Spike-triggered averages of all responses and of two random halves, each [feature, height, width], and the
    correlation of the halves [feature] (NaN for features that are constant or not finite)."""

    whole: Array
    halves: tuple[Array, Array]
    reliability: Array


def noise_maps(images: Floats, responses: Floats, seed: int = 0) -> NoiseMaps:
    """The linear receptive field of each feature: the mean of (image - mean image) weighted by (response - mean).

    For white noise [n, height, width] and responses [n, feature], it is proportional to the filter of a linear-
    nonlinear feature (Chichilnisky 2001); scaled here to the slope of the response on each pixel. Raises InputError
    where their numbers differ.
    """
    if len(images) != len(responses) or len(images) < 4:
        raise InputError(f"{len(images)} images came with {len(responses)} responses; give four or more of each.")
    order = np.random.default_rng(seed).permutation(len(images))
    half = len(images) // 2
    parts = [np.arange(len(images)), np.sort(order[:half]), np.sort(order[half:])]
    flat = images.reshape(len(images), -1)
    whole, one, two = (_slopes(flat[part], responses[part]).reshape(-1, *images.shape[1:]) for part in parts)
    from probes.gabor import correlation

    return NoiseMaps(whole, (one, two), correlation(one.reshape(len(one), -1), two.reshape(len(two), -1)))


def _slopes(images: Floats, responses: Floats) -> Array:
    centred = images - images.mean(axis=0)
    found = (responses - responses.mean(axis=0)).T @ centred / len(images)
    return (found / centred.var()).astype(np.float64)


def mean_gradients(respond: Callable[[Tensor], Tensor], images: Tensor, batch: int = 32) -> Array:
    """Mean over images of the derivative of each feature by each pixel, [feature, channel, height, width].

    `respond` takes images [batch, channel, height, width] to features [batch, feature] at one place, by operations
    that torch can differentiate (Erhan et al. 2009; for a linear feature the mean is its filter). One backward pass a
    feature and batch: for more than a few hundred features `noise_maps` is cheaper.
    """
    import torch

    total: Tensor | None = None
    for start in range(0, len(images), batch):
        part = images[start : start + batch].clone().requires_grad_(True)
        with torch.enable_grad():
            features = respond(part)
            found = [
                torch.autograd.grad(features[:, number].sum(), part, retain_graph=True)[0].sum(0)
                for number in range(features.shape[1])
            ]
        summed = torch.stack(found).double()
        total = summed if total is None else total + summed
    if total is None:
        raise InputError("No images were given to take gradients at; give at least one.")
    return (total / len(images)).cpu().numpy()


@dataclass(frozen=True)
class FieldSize:
    """Where a map's energy lies, [feature] each: its centre, its radius (standard deviation of place, averaged over the
    two axes) and the side of the smallest centred square that holds a share of it. All in parts of the map's width."""

    x: Array
    y: Array
    radius: Array
    square: Array


def field_size(maps: NDArray, share: float = 0.95, noise: Array | float = 0.0) -> FieldSize:
    """The effective size of receptive fields [feature, s, s] from their energy, the squared map (Luo et al. 2016).

    `noise` (one value, or [feature]) is the energy of noise in each pixel; it is subtracted, and pixels below three
    times as much do not count. NaN for maps without energy.
    """
    energy = np.asarray(maps, np.float64) ** 2
    floor = np.broadcast_to(np.asarray(noise, np.float64), len(energy))[:, None, None]
    energy = np.where(energy > 3 * floor, energy - floor, 0)
    total = energy.sum(axis=(1, 2))
    size = energy.shape[-1]
    axis = (np.arange(size) + 0.5) / size - 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = energy / total[:, None, None]
    x, y = (weight.sum(axis=1) * axis).sum(axis=1), -(weight.sum(axis=2) * axis).sum(axis=1)
    dx, dy = axis[None, None, :] - x[:, None, None], -axis[None, :, None] - y[:, None, None]
    radius = np.sqrt((weight * (dx**2 + dy**2)).sum(axis=(1, 2)) / 2)
    away = np.maximum(np.abs(dx), np.abs(dy)).reshape(len(energy), -1)
    order = np.argsort(away, axis=1)
    held = np.take_along_axis(weight.reshape(len(energy), -1), order, 1).cumsum(axis=1)
    reached = np.take_along_axis(away, order, 1)[
        np.arange(len(energy)), (held < share).sum(axis=1).clip(max=away.shape[1] - 1)
    ]
    square = np.where(total > 0, 2 * reached + 1 / size, np.nan)
    return FieldSize(x, y, radius, square)
