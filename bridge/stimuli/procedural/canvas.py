"""What all drawn stimuli share: coordinates, antialiased edges, seeded draws, conversion to 8 bits.

Conventions. Coordinates are degrees of visual angle from the image's centre, x to the right, y up. An orientation
is that of the bars or of the edge itself, in degrees anticlockwise from horizontal, in [0, 180). Grey images
are linear in *pixel value* (gamma 1: the display is taken to be linearised, and a network sees pixel values anyway);
the background is 0.5 (128 of 255). Colour is treated in `colour.py`, where sRGB's own curve is undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""Pixel values in [0, 1]: [size, size], or [size, size, 3] for colour."""
Row = dict[str, Any]
"""One condition: `stimulus_id` and its factors."""

GREY = np.float32(0.5)


@dataclass(frozen=True)
class Canvas:
    """`size` x `size` pixels over `degrees` x `degrees`; the pattern is displaced by `shift` pixels (right, up)."""

    size: int
    degrees: float
    shift: tuple[int, int] = (0, 0)

    @property
    def pixel(self) -> float:
        """Width of a pixel, degrees."""
        return self.degrees / self.size

    @property
    def grid(self) -> tuple[Image, Image]:
        """x [1, size] and y [size, 1] of the pixels' centres, degrees; they broadcast to the image."""
        x, y = _axes(self.size, self.degrees)
        return x - np.float32(self.shift[0] * self.pixel), y - np.float32(self.shift[1] * self.pixel)

    def displaced(self, periodic: Image) -> Image:
        """A pattern that wraps around at its borders, displaced by `shift`."""
        right, up = self.shift
        return np.roll(periodic, (-up, right), axis=(0, 1)) if right or up else periodic


@lru_cache(maxsize=8)
def _axes(size: int, degrees: float) -> tuple[Image, Image]:
    x = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32) * np.float32(degrees)
    return x[None, :], -x[:, None]


@dataclass(frozen=True)
class Setting:
    """What the tables of conditions depend on."""

    degrees: float
    cycles: tuple[float, ...]
    seed: int
    exemplars: int
    images_per_exemplar: int
    phases: int = 12


@dataclass(frozen=True)
class Family:
    """A family of the battery.

    `rows(setting)` is its table of conditions and `draw(row, canvas, seed)` the image of one; `factors` are the
    columns that a balanced subset balances; `held_out` says which rows belong to the whole
    levels kept for tests.
    """

    rows: Callable[[Setting], Iterable[Row]]
    draw: Callable[[Row, Canvas, int], Image]
    factors: tuple[str, ...]
    held_out: Callable[[Row, Setting], bool]


def generator(*keys: int | str) -> np.random.Generator:
    """A random generator for these keys: independent of which others were made, and in which order."""
    words = hashlib.sha256(repr(keys).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.frombuffer(words[:16], dtype=np.uint32).tolist()))


def coverage(distance: Image, pixel: float) -> Image:
    """The share of each pixel inside a shape, from its centre's signed distance (negative inside): antialiasing."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / pixel), 0, 1)


def disc_window(x: Image, y: Image, radius: float, soft: float) -> Image:
    """1 within `radius`, falling to 0 over `soft` around it by a raised cosine."""
    r = np.sqrt(x * x + y * y)
    t = np.clip((np.float32(radius + soft / 2) - r) * np.float32(1 / soft), 0, 1)
    return t * t * (3 - 2 * t)


def rotated(x: Image, y: Image, orientation: float) -> tuple[Image, Image]:
    """Coordinates along and across a bar of this orientation, degrees."""
    angle = np.deg2rad(orientation)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """[0, 1] to uint8 [size, size, 3]; 0.5 becomes 128."""
    eight = (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return eight if eight.ndim == 3 else np.repeat(eight[:, :, None], 3, axis=2)


POSITIONS = tuple((x, y) for y in (0.25, 0.0, -0.25) for x in (-0.25, 0.0, 0.25))
"""Nine places (x, y), in parts of the image's width from its centre."""
