"""Gabor simplicity: how much of a feature is explained by oriented filters, their rectified phases and their energy.

The score of a feature is the cross-validated R2 with which its response at one place is predicted from a bank of
Gabors that fills its receptive field: 8 orientations x 6 spatial frequencies x {four rectified phases, energy} x a
grid of positions, brought to at most 2,000 principal components, by ridge regression. Two rectified phases make a
linear filter, four of them and the energy make simple and complex cells (Adelson & Bergen 1985; Jones & Palmer 1987).
The same score from random convolutions of the same sizes and positions stands beside it.

Give pre-activations where features are sparse codes: what survives TopK or a ReLU is rarely active, which lowers R2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.filters import RELATIVE_SIGMA, GaborBank, gabor_responses
from probes.ridge import PENALTIES, Design, ridge_scores

Array = NDArray[np.float32]
SIMPLE, COMPLEX, BETWEEN, UNDEFINED = "simple", "complex", "between", "undefined"
SIMPLE_FROM, COMPLEX_TO = 0.5, 0.1
COMPONENTS = 2000
MARGIN = 0.1
"""Part of a window, on each side, over which it fades to grey: filters wrap around at its borders."""


@dataclass(frozen=True)
class Simplicity:
    """Of each feature [feature]: R2 from Gabors, R2 from random convolutions, and the label by the first."""

    score: NDArray[np.float64]
    random: NDArray[np.float64]
    label: NDArray[np.str_]

    @property
    def advantage(self) -> NDArray[np.float64]:
        """What Gabors explain beyond random convolutions of the same sizes."""
        return self.score - self.random


def simplicity(
    features: NDArray, gabor: Design, random: Design | None = None, groups: NDArray | None = None
) -> Simplicity:
    """Scores of features [n, feature] from the designs of the same n windows (`gabor_design`, `random_design`).

    `groups` [n] name windows that must not tell of each other, such as those of one image. simple: a score of .5 or
    more; complex: .1 or less; the score itself is the measure. Features that are dead, constant or not finite are
    undefined, with NaN.
    """
    score = ridge_scores(gabor, features, PENALTIES, groups).r2
    other = ridge_scores(random, features, PENALTIES, groups).r2 if random is not None else np.full_like(score, np.nan)
    label = np.select(
        [np.isnan(score), score >= SIMPLE_FROM, score <= COMPLEX_TO], [UNDEFINED, SIMPLE, COMPLEX], default=BETWEEN
    )
    return Simplicity(score, other, label)


def window_bank(size: int) -> GaborBank:
    """The bank for windows of `size` pixels: six frequencies from 1 to 6 cycles a window, or as many as pixels carry.

    Raises InputError for windows of fewer than 8 pixels.
    """
    if size < 8:
        raise InputError(f"Windows of {size} pixels hold no Gabor; enlarge them to 8 pixels or more.")
    return GaborBank(8, tuple(float(f) for f in np.geomspace(1, min(6, 3 * size / 8), 6)))


def gabor_design(windows: Array, components: int = COMPONENTS, bank: GaborBank | None = None) -> Design:
    """The Gabor bank's principal components for grey windows [n, size, size] in [0, 1], each around its feature's
    place and somewhat larger than its receptive field (the outer tenth fades to grey).

    `bank` defaults to `window_bank(size)`. Raises what `window_bank` and `bridge.filters.gabor_responses` raise.
    """
    bank = bank or window_bank(windows.shape[-1])
    return _design(windows, bank, lambda images: gabor_responses(images, bank), components)


def random_design(windows: Array, components: int = COMPONENTS, seed: int = 0, bank: GaborBank | None = None) -> Design:
    """As `gabor_design`, with complex white noise under each filter's Gaussian envelope in place of its grating."""
    bank = bank or window_bank(windows.shape[-1])
    return _design(windows, bank, lambda images: random_responses(images, bank, seed), components)


def random_responses(images: Array, bank: GaborBank, seed: int = 0) -> Iterator[NDArray[np.complex64]]:
    """Complex responses of random filters, as many and as large as those of `bank`, frequency by frequency.

    complex64 [n, filter, size, size]. A filter is complex white noise (independent even and odd parts) times the
    Gaussian that the Gabor of its frequency has, without its mean.
    """
    from scipy import fft

    size = images.shape[-1]
    spectrum = fft.fft2(images)
    axis = np.fft.fftfreq(size) * 1.0  # in windows, 0 first
    rng = np.random.default_rng(seed)
    for frequency in bank.frequencies:
        sigma = 1 / (2 * np.pi * RELATIVE_SIGMA * frequency)
        envelope = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * sigma**2))
        out = np.empty((len(images), bank.orientations, size, size), np.complex64)
        for number in range(bank.orientations):
            noise = rng.standard_normal((2, size, size))
            kernel = (noise[0] + 1j * noise[1]) * envelope
            kernel -= kernel.sum() / envelope.sum() * envelope
            kernel /= np.sqrt((np.abs(kernel) ** 2).sum())
            out[:, number] = fft.ifft2(spectrum * fft.fft2(kernel).astype(np.complex64))
        yield out


Responses = Callable[[Array], Iterator[NDArray[np.complex64]]]


def _design(windows: Array, bank: GaborBank, responses: Responses, components: int, batch: int = 64) -> Design:
    if windows.ndim != 3 or windows.shape[1] != windows.shape[2] or len(windows) < 3:
        raise InputError(f"Windows have shape {list(windows.shape)}; give three or more grey square ones [n, s, s].")
    faded = faded_windows(windows)
    parts = []
    for start in range(0, len(faded), batch):
        found = responses(faded[start : start + batch])
        parts.append(
            np.concatenate([_channels(z, positions(f)) for z, f in zip(found, bank.frequencies, strict=True)], axis=1)
        )
    return principal_design(np.concatenate(parts), components)


def faded_windows(windows: Array) -> Array:
    """Windows minus mid-grey, fading to 0 over the outer `MARGIN` on each side, plus mid-grey again."""
    size = windows.shape[-1]
    from_border = np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / (MARGIN * size)
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.clip(from_border, 0, 1))).astype(np.float32)
    return (windows - np.float32(0.5)) * ramp[:, None] * ramp + np.float32(0.5)


def positions(frequency: float) -> int:
    """Positions a side for filters of this many cycles a window: 4, or 8 where those would leave gaps between them."""
    return 4 if frequency <= 3.5 else 8


def _channels(z: NDArray[np.complex64], grid: int) -> Array:
    """Four rectified phases and energy at the centres of a grid's cells, [n, filter x 5 x grid x grid].

    Responses are averaged over the two samples on either side of a centre along each axis.
    """
    samples = z.shape[-1]
    centres = (np.arange(grid) + 0.5) / grid * samples - 0.5
    weights = np.zeros((samples, grid), np.float32)
    low = np.floor(centres).astype(int)
    for place, (start, share) in enumerate(zip(low, centres - low, strict=True)):
        weights[start, place] += 1 - share
        weights[min(start + 1, samples - 1), place] += share
    at = weights.T @ (z @ weights)
    parts = [np.maximum(part, 0) for part in (at.real, at.imag, -at.real, -at.imag)]
    return np.stack([*parts, at.real**2 + at.imag**2], axis=2).reshape(len(z), -1)


def principal_design(columns: Array, components: int = COMPONENTS) -> Design:
    """The first principal components of standardised columns [n, p] as a design for ridge regression.

    Columns without variance are left out.
    """
    from scipy.linalg import eigh

    x = columns - columns.mean(axis=0)
    spread = x.std(axis=0)
    x = x[:, spread > 1e-7 * spread.max()]
    x /= x.std(axis=0)
    n, p = x.shape
    wide = p >= n
    gram = (x @ x.T if wide else x.T @ x).astype(np.float64)
    count = min(components, len(gram), n - 1)
    # Of few components, only those are computed; of most of them, all at once is faster.
    some = {"subset_by_index": [len(gram) - count, len(gram) - 1]} if 2 * count < len(gram) else {"driver": "evd"}
    values, vectors = (part[..., -count:] for part in eigh(gram, overwrite_a=True, **some))
    keep = values > 1e-6 * values[-1]
    values, vectors = values[keep], vectors[:, keep]
    if not wide:
        vectors = x @ (vectors / np.sqrt(values)).astype(np.float32)
    return Design(vectors.astype(np.float32), values.astype(np.float32), n)
