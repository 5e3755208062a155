"""Features of the images themselves, beside which a network's stand: pixels, a Gabor bank, and random ones.

They are separate contrasts, never subtracted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bridge.filters import GaborBank, gabor_features, luminance

if TYPE_CHECKING:
    from bridge.stimuli import StimulusSet

Baseline = Literal["pixels", "Gabor bank", "random projection", "random convolutions"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
BASELINE_SIZE = 32
"""Pixels of the images from which baselines are computed: enough for all gratings of the battery."""


def small_greys(stimuli: StimulusSet) -> NDArray[np.float32]:
    """The images as baselines see them, [n, 32, 32] in [0, 1]."""
    return np.stack([luminance(stimuli.image(row), BASELINE_SIZE) for row in range(len(stimuli))])


def baseline(name: str, greys: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Features [n, d] of grey images [n, size, size] by the name of a baseline.

    Gabor bank: 8 orientations x 5 frequencies x four rectified phases and energy in 4 x 4 cells. Random convolutions:
    the same with complex white noise for each filter's wave. Random projection: pixels on 1,024 random axes.
    """
    from probes.simplicity import random_responses

    flat = greys.reshape(len(greys), -1)
    bank = GaborBank(8, (1, 2, 4, 8, 12))
    if name == "pixels":
        return flat
    if name == "Gabor bank":
        return gabor_features(greys, bank, 4).reshape(len(greys), -1)
    if name == "random projection":
        axes = np.random.default_rng(seed).standard_normal((flat.shape[1], 1024), dtype=np.float32)
        return (flat - np.float32(0.5)) @ axes / np.float32(np.sqrt(flat.shape[1]))
    parts = []
    for start in range(0, len(greys), 64):
        cells = [in_cells(z) for z in random_responses(greys[start : start + 64] - np.float32(0.5), bank, seed)]
        parts.append(np.concatenate(cells, axis=1))
    return np.concatenate(parts)


def in_cells(z: NDArray[np.complex64], grid: int = 4) -> NDArray[np.float32]:
    """Rectified phases and energy of complex responses [n, filter, s, s], averaged in grid x grid cells, [n, p]."""
    side = z.shape[-1]
    average = np.repeat(np.eye(grid, dtype=np.float32), side // grid, axis=0) * np.float32(grid / side)
    channels = (np.maximum(part, 0) for part in (z.real, z.imag, -z.real, -z.imag))
    cells = [average.T @ (part @ average) for part in (*channels, z.real**2 + z.imag**2)]
    return np.stack(cells, axis=2).reshape(len(z), -1)
