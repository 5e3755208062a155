"""A bank of Gabor filters as a pure function of grey images: quadrature responses, rectified phases, energy.

Conventions are those of the drawn stimuli: an orientation is that of the bars, in degrees anticlockwise from
horizontal; spatial frequencies are cycles an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError, did_you_mean

Array = NDArray[np.float32]
CHANNELS = ("0", "90", "180", "270", "energy")
"""Names of the last but two axis of `gabor_features`: four rectified phases in degrees, then energy."""
# Half-amplitude bandwidth of one octave: (2^1 - 1) / (2^1 + 1) = 1/3 of the centre frequency, sqrt(2 ln 2) sigma.
RELATIVE_SIGMA = 1 / 3 / np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class GaborBank:
    """Orientations (evenly spaced over 180 degrees) and centre frequencies of a bank.

    Each filter is a Gaussian on one side of the frequency plane (round, one octave wide, 37 degrees of orientation
    at half amplitude), so that its real and imaginary parts are the even and the odd Gabor (Daugman 1985).
    """

    orientations: int = 8
    frequencies: tuple[float, ...] = (1, 2, 4, 8, 16, 32)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Orientations in degrees, float64 [orientation]."""
        return np.arange(self.orientations) * 180 / self.orientations


def luminance(image: NDArray[np.uint8], size: int) -> Array:
    """One uint8 RGB image [height, width, 3] as grey values in [0, 1], float32 [size, size] (Rec. 601 weights)."""
    from PIL import Image

    grey = Image.fromarray(image).convert("L")
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, np.float32) / 255


def gabor_responses(images: Array, bank: GaborBank) -> Iterator[NDArray[np.complex64]]:
    """Complex responses z of every filter, one frequency of the bank after the other: complex64 [n, orientation, s, s].

    Re z is the even filter's response and Im z the odd one's; |z| = c for a grating of amplitude c (value
    c cos(2 pi f a + phase)) at the filter's orientation and frequency, anywhere in the image. The mean grey is
    ignored. Images wrap around at their borders.

    Responses are sampled at the centres of s x s cells of the image, s at least 5 a cycle: they are band-limited below
    s / 2, so low frequencies cost little and nothing is lost.

    `images` is [n, size, size], grey in [0, 1]. Raises InputError if they are not square, or are too small for the
    highest frequency, of which 4/3 must stay below the Nyquist limit.
    """
    spectrum = _spectrum(images, bank)
    for frequency in bank.frequencies:
        samples = _samples(5 * frequency)
        if samples == 6 * frequency:  # a grating's rectified response would meet its own sixth harmonic: +-9%
            samples += 16
        out = np.empty((len(images), bank.orientations, samples, samples), np.complex64)
        for number, angle in enumerate(bank.angles):
            out[:, number] = _filtered(spectrum, frequency, angle, samples, (0, 0))
        yield out


def gabor_features(
    images: Array, bank: GaborBank, grid: int = 4, channels: Sequence[str] = CHANNELS, batch: int = 8
) -> Array:
    """Rectified phases and energy of every filter, averaged in the cells of a position grid.

    Phase p is max(0, Re(z e^{-ip})): the half-rectified response of the Gabor of that phase (simple cells); energy is
    |z|^2, the sum of the squared even and odd responses (complex cells, Adelson & Bergen 1985).

    `images` is [n, size, size], grey in [0, 1]; `grid` a power of two up to 16; `batch` images are worked on at a time
    (few, so that they stay in the processor's cache). Returns float32
    [n, orientation, frequency, channel, grid, grid]; rows of the grid run down.

    Raises InputError as `gabor_responses` does, for a grid of another size and for an unknown channel.
    """
    if grid not in (1, 2, 4, 8, 16):
        raise InputError(f"The position grid is {grid} wide; give 1, 2, 4, 8 or 16.")
    if unknown := [channel for channel in channels if channel not in CHANNELS]:
        raise InputError(f"There is no Gabor channel {unknown[0]!r}; {did_you_mean(unknown[0], CHANNELS)}.")
    shape = (len(images), bank.orientations, len(bank.frequencies), len(channels), grid, grid)
    out = np.empty(shape, np.float32)
    energy_alone = all(channel == "energy" for channel in channels)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        responses = _envelopes(images[part], bank) if energy_alone else gabor_responses(images[part], bank)
        for number, z in enumerate(responses):
            for place, channel in enumerate(channels):
                out[part, :, number, place] = _pooled(_channel(z, channel), grid)
    return out


def _envelopes(images: Array, bank: GaborBank) -> Iterator[NDArray[np.complex64]]:
    """As `gabor_responses`, but only |z| is right, and sampled less densely: the carrier is taken off.

    |z|^2 holds the differences of frequencies within the band, up to 1.7 f (six sigma), so 3.5 samples a cycle do.
    """
    spectrum = _spectrum(images, bank)
    for frequency in bank.frequencies:
        samples = _samples(3.5 * frequency)
        out = np.empty((len(images), bank.orientations, samples, samples), np.complex64)
        for number, angle in enumerate(bank.angles):
            x0, y0 = _centre(frequency, angle)
            out[:, number] = _filtered(spectrum, frequency, angle, samples, (round(x0), round(y0)))
        yield out


def _spectrum(images: Array, bank: GaborBank) -> NDArray[np.complex64]:
    """Fourier coefficients of the images, complex64 [n, row frequency, column frequency], after checks."""
    from scipy import fft

    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(f"Gabor filters take grey square images [n, size, size], not {images.shape}; crop or resize.")
    size = images.shape[1]
    if max(bank.frequencies) * 4 / 3 > size / 2:
        raise InputError(
            f"Images of {size} pixels cannot carry {max(bank.frequencies):g} cycles with a band of one octave; use "
            f"frequencies up to {3 * size / 8:g}, or larger images."
        )
    return fft.fft2(images.astype(np.float32, copy=False), norm="forward")


def _samples(least: float) -> int:
    """The multiple of 16 at or above `least`: every position grid divides it."""
    return 16 * max(1, int(np.ceil(least / 16)))


def _centre(frequency: float, angle: float) -> tuple[float, float]:
    """The wave vector across bars of this orientation, x to the right and y up."""
    theta = np.deg2rad(angle)
    return -frequency * np.sin(theta), frequency * np.cos(theta)


def _filtered(
    spectrum: NDArray[np.complex64], frequency: float, angle: float, samples: int, around: tuple[int, int]
) -> NDArray[np.complex64]:
    """One filter's response from the samples x samples frequencies around `around` (x, y): its carrier is taken off.

    The gain is 2 at the filter's centre (a grating of amplitude c then gives |z| = c), and 0 for the mean and at and
    beyond the images' Nyquist limit.
    """
    from scipy import fft

    size = spectrum.shape[-1]
    offsets = np.fft.fftfreq(samples, 1 / samples).astype(int)
    fx, rows = offsets + around[0], offsets - around[1]  # rows run down, y runs up
    x0, y0 = _centre(frequency, angle)
    scale = -1 / (2 * (RELATIVE_SIGMA * frequency) ** 2)
    # Pixels and samples both stand at the centres of their cells, which differ by a fraction of the image.
    shift = 2j * np.pi * (0.5 / samples - 0.5 / size)
    down, right = np.exp(scale * (-rows - y0) ** 2 + shift * rows), np.exp(scale * (fx - x0) ** 2 + shift * fx)
    gain = 2 * down[:, None] * right[None, :]
    gain[np.abs(rows) >= size / 2] = 0
    gain[:, np.abs(fx) >= size / 2] = 0
    gain[np.ix_(rows == 0, fx == 0)] = 0
    band = spectrum[:, rows[:, None] % size, fx[None, :] % size] * gain.astype(np.complex64)
    return fft.ifft2(band, norm="forward", overwrite_x=True)


def _channel(z: NDArray[np.complex64], channel: str) -> Array:
    if channel == "energy":
        return z.real**2 + z.imag**2
    # The four phases are multiples of 90 degrees, so each is a sign and a part of z.
    signed = {"0": z.real, "90": z.imag, "180": -z.real, "270": -z.imag}[channel]
    return np.maximum(signed, 0)


def _pooled(maps: Array, grid: int) -> Array:
    """Means over the cells of a grid: [..., s, s] to [..., grid, grid]."""
    samples = maps.shape[-1]
    cells = np.repeat(np.eye(grid, dtype=np.float32), samples // grid, axis=0) / np.float32(samples // grid)
    return cells.T @ (maps @ cells)
