"""Fifteen families of texture with strong higher-order structure, and their phase-randomised twins.

After Freeman et al. (2013): samples of a family share their statistics and differ in the draw; the twin keeps a
sample's amplitude spectrum and loses what phases carry. All textures wrap around at their borders, so that the twin's
spectrum is that of the texture itself. Mean 0.5 and the same RMS contrast for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bridge.stimuli.procedural.canvas import GREY, Canvas, Family, Image, Row, Setting, generator

SAMPLES = 15
RMS = 0.18
"""Standard deviation of pixel values: 2.8 of them reach black and white, so that Gaussian twins are hardly clipped."""

Rng = np.random.Generator


def _axes(size: int) -> tuple[Image, Image]:
    t = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return t[None, :], t[:, None]


def _step(distance: Image, width: float) -> Image:
    """0 to 1 across zero, smoothly over `width`: an antialiased border."""
    t = np.clip(distance * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def _band(size: int, rng: Rng, cycles: float, octaves: float = 0.5, orientation: float | None = None) -> Image:
    """Gaussian noise in a band around `cycles` an image (log-Gaussian, SD `octaves`), standard deviation 1."""
    from scipy import fft

    fy, fx = np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)[None, :]
    f = np.maximum(np.hypot(fx, fy), 1e-6)
    amplitude = np.exp(-0.5 * (np.log2(f / cycles) / octaves) ** 2)
    if orientation is not None:
        away = np.arctan2(fy, fx) - np.deg2rad(orientation)
        amplitude *= np.exp(3 * (np.cos(2 * away) - 1))
    angle = rng.random(f.shape) * (2 * np.pi)
    field = fft.irfft2((amplitude * np.exp(1j * angle)).astype(np.complex64), s=(size, size))
    return (field / field.std()).astype(np.float32)


def _cells(size: int, rng: Rng, count: int) -> tuple[Image, Image, NDArray[np.intp]]:
    """Distances to the nearest and second nearest of `count` random points on the torus, and which is nearest."""
    from scipy.spatial import cKDTree

    side = round(count**0.5)
    corner = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    points = ((corner + 0.5 + rng.uniform(-0.42, 0.42, corner.shape)) / side) % 1
    x, y = np.broadcast_arrays(*_axes(size))
    distance, nearest = cKDTree(points, boxsize=1).query(np.stack([x, y], axis=-1).reshape(-1, 2), k=2)
    near, second = distance.astype(np.float32).T.reshape(2, size, size)
    return near, second, nearest[:, 0].reshape(size, size)


def _window(size: int, rng: Rng, reach: float) -> tuple[tuple[NDArray[np.intp], ...], Image, Image]:
    """A random place on the torus: the indices of the pixels within `reach` of it, and their offsets dx, dy."""
    cx, cy = rng.random(2)
    extent = int(np.ceil(reach * size)) + 1
    offsets = np.arange(-extent, extent + 1)
    left, top = int(cx * size), int(cy * size)
    dx = ((left + offsets + 0.5) / size - cx).astype(np.float32)[None, :]
    dy = ((top + offsets + 0.5) / size - cy).astype(np.float32)[:, None]
    return np.ix_((top + offsets) % size, (left + offsets) % size), dx, dy


def _cracks(size: int, rng: Rng) -> Image:
    near, second, which = _cells(size, rng, 36)
    tone = rng.normal(0, 0.25, 36).astype(np.float32)[which]
    return (1 + tone) * _step(second - near - 0.012, 0.02)


def _pebbles(size: int, rng: Rng) -> Image:
    near, second, which = _cells(size, rng, 64)
    height = np.sqrt(np.clip((second - near) * 9, 0, 1))
    light = np.roll(height, 1, 0) - np.roll(height, -1, 0) + 0.6 * (np.roll(height, 1, 1) - np.roll(height, -1, 1))
    return height + 1.4 * light + rng.normal(0, 0.18, 64).astype(np.float32)[which]


def _mosaic(size: int, rng: Rng) -> Image:
    near, second, which = _cells(size, rng, 100)
    tone = rng.choice((-1.0, 0.0, 1.0), 100).astype(np.float32)[which]
    return tone * _step(second - near - 0.004, 0.012)


def _leaves(size: int, rng: Rng) -> Image:
    image = np.zeros((size, size), np.float32)
    for radius in np.clip(0.02 * (1 - rng.random(260)) ** -0.5, 0.02, 0.15):
        tone = rng.uniform(-1, 1)
        where, dx, dy = _window(size, rng, radius)
        inside = _step(np.float32(radius) - np.sqrt(dx * dx + dy * dy), 1.5 / size)
        image[where] += inside * (np.float32(tone) - dy * np.float32(0.3 / radius) - image[where])
    return image


def _blocks(size: int, rng: Rng) -> Image:
    image = np.zeros((size, size), np.float32)
    for _ in range(140):
        (p, q), tilt, tone = rng.uniform(0.03, 0.11, 2), rng.uniform(0, np.pi), rng.choice((-1, -0.4, 0.4, 1))
        c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        where, dx, dy = _window(size, rng, float(np.hypot(p, q)))
        inner = np.minimum(np.float32(p) - np.abs(c * dx + s * dy), np.float32(q) - np.abs(c * dy - s * dx))
        image[where] += _step(inner, 1.5 / size) * (np.float32(tone) - image[where])
    return image


def _bubbles(size: int, rng: Rng) -> Image:
    image = np.zeros((size, size), np.float32)
    for radius in rng.uniform(0.03, 0.1, 70):
        where, dx, dy = _window(size, rng, radius + 0.02)
        away = np.abs(np.sqrt(dx * dx + dy * dy) - np.float32(radius))
        image[where] += _step(np.float32(0.008) - away, 1.5 / size) * (1 - image[where])
    return image


def _bricks(size: int, rng: Rng) -> Image:
    x, y = _axes(size)
    x, y = x + rng.random(dtype=np.float32), y + rng.random(dtype=np.float32)
    course = np.floor(y * 10)
    u = x * 5 + 0.5 * (course % 2)
    tones = rng.normal(0, 0.3, (10, 5)).astype(np.float32)
    tone = tones[(course % 10).astype(np.intp), (np.floor(u) % 5).astype(np.intp)]
    side = np.minimum(0.5 - np.abs(u % 1 - 0.5), (0.5 - np.abs((y * 10) % 1 - 0.5)) / 2)
    return (1 + tone) * _step(side - 0.05, 0.08)


def _weave(size: int, rng: Rng) -> Image:
    x, y = _axes(size)
    u, v = (x + rng.random(dtype=np.float32)) * 8, (y + rng.random(dtype=np.float32)) * 8
    over = (np.floor(u) + np.floor(v)) % 2
    fu, fv = u % 1 - 0.5, v % 1 - 0.5
    strand = np.where(
        over > 0, np.cos(np.pi * fu) * (0.6 + 0.4 * np.abs(fv) * 2), np.cos(np.pi * fv) * (1 - np.abs(fu))
    )
    gap = np.where(over > 0, 0.5 - np.abs(fu), 0.5 - np.abs(fv))
    tones = rng.normal(0, 0.12, (8, 8)).astype(np.float32)
    tone = tones[(np.floor(v) % 8).astype(np.intp), (np.floor(u) % 8).astype(np.intp)]
    return ((strand + tone) * _step(gap - 0.06, 0.08)).astype(np.float32)


def _scales(size: int, rng: Rng) -> Image:
    x, y = _axes(size)
    x, y = x + rng.random(dtype=np.float32), y + rng.random(dtype=np.float32)
    image = np.zeros((size, size), np.float32)
    tones = rng.normal(0, 0.2, (12, 6)).astype(np.float32)
    v = y * 12
    for below in (0, 1):  # the row above lies over the row that begins here
        line = np.floor(v) - below
        u = x * 6 + 0.5 * (line % 2)
        r = np.sqrt(((u % 1 - 0.5) * 2) ** 2 + ((v - line) / 2) ** 2)
        tone = tones[(line % 12).astype(np.intp), (np.floor(u) % 6).astype(np.intp)]
        image += _step(1.0 - r, 0.08) * (0.3 + 0.9 * r**3 + tone - image)
    return image


def _stripes(size: int, rng: Rng) -> Image:
    x, y = _axes(size)
    warp = 0.9 * _band(size, rng, 3, 0.5)
    wave = np.sin(2 * np.pi * (9 * x + 4 * y).astype(np.float32) + 1.6 * warp + rng.uniform(0, 2 * np.pi))
    return np.tanh(3.5 * (wave - 0.25)).astype(np.float32)


def _spots(size: int, rng: Rng) -> Image:
    return np.tanh(4 * (_band(size, rng, 9, 0.25) - 1.0)).astype(np.float32)


def _labyrinth(size: int, rng: Rng) -> Image:
    return np.tanh(4 * _band(size, rng, 11, 0.15)).astype(np.float32)


def _marble(size: int, rng: Rng) -> Image:
    veins = sum(np.abs(_band(size, rng, cycles, 0.5)) / weight for cycles, weight in ((4, 1), (9, 2), (20, 4)))
    return np.minimum(np.asarray(veins, dtype=np.float32), 1.1)


def _straw(size: int, rng: Rng) -> Image:
    image = np.zeros((size, size), np.float32)
    for _ in range(150):
        angle, tone, half = rng.normal(0.6, 0.45), rng.choice((-1.0, 0.5, 1.0)), rng.uniform(0.08, 0.16)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        where, dx, dy = _window(size, rng, half)
        along, across = np.abs(c * dx - s * dy), np.abs(s * dx + c * dy)
        inside = _step(np.minimum(np.float32(half) - along, np.float32(0.009) - across), 1.5 / size)
        image[where] += inside * (np.float32(tone) * (1 - 40 * across) - image[where])
    return image


def _wood(size: int, rng: Rng) -> Image:
    ring = (1.3 * _band(size, rng, 2.5, 0.3, orientation=90)) % 1
    return (ring**2 * _step(1 - ring, 0.25) + 0.06 * _band(size, rng, 24, 0.5, orientation=90)).astype(np.float32)


MAKERS: dict[str, Callable[[int, Rng], Image]] = {
    "blocks": _blocks,
    "bricks": _bricks,
    "bubbles": _bubbles,
    "cracks": _cracks,
    "labyrinth": _labyrinth,
    "leaves": _leaves,
    "marble": _marble,
    "mosaic": _mosaic,
    "pebbles": _pebbles,
    "scales": _scales,
    "spots": _spots,
    "straw": _straw,
    "stripes": _stripes,
    "weave": _weave,
    "wood": _wood,
}
HELD_OUT = ("stripes", "weave", "wood")


def rows(setting: Setting) -> Iterator[Row]:
    """15 families x 15 samples x {naturalistic, phase-randomised}."""
    for texture in MAKERS:
        for sample in range(SAMPLES):
            for naturalistic in (1, 0):
                yield {
                    "stimulus_id": f"texture-{texture}-s{sample:02d}-{'naturalistic' if naturalistic else 'noise'}",
                    "texture": texture,
                    "sample": sample,
                    "naturalistic": naturalistic,
                }


@lru_cache(maxsize=4)
def naturalistic(texture: str, sample: int, size: int, seed: int) -> Image:
    """A sample of a family: mean 0.5, standard deviation about `RMS`, clipped to [0, 1]. [size, size]"""
    field = MAKERS[texture](size, generator(seed, "texture", texture, sample))
    return np.clip(GREY + np.float32(RMS) * (field - field.mean()) / field.std(), 0, 1)


def phase_randomised(image: Image, rng: Rng) -> Image:
    """An image of the same amplitude spectrum and mean, with the phases of white noise. Not clipped."""
    from scipy import fft

    phases = fft.rfft2(rng.standard_normal(image.shape, dtype=np.float32))
    spectrum = np.abs(fft.rfft2(image - image.mean())) * (phases / np.abs(phases))
    return (fft.irfft2(spectrum, s=image.shape) + image.mean()).astype(np.float32)


def draw(row: Row, canvas: Canvas, seed: int) -> Image:
    """A texture, or its twin."""
    image = naturalistic(row["texture"], row["sample"], canvas.size, seed)
    if not row["naturalistic"]:
        image = phase_randomised(image, generator(seed, "phases", row["texture"], row["sample"]))
    return canvas.displaced(image)


FAMILIES = {
    "textures": Family(
        rows, draw, ("texture", "sample", "naturalistic"), lambda row, setting: row["texture"] in HELD_OUT
    )
}
