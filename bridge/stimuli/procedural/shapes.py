"""Closed contours from Fourier descriptors (Zahn and Roskies 1972): shape x size x place x rotation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bridge.stimuli.procedural.canvas import (
    GREY,
    POSITIONS,
    Canvas,
    Family,
    Image,
    Row,
    Setting,
    coverage,
    generator,
)

SHAPES = 8
SIZES = (0.075, 0.105, 0.15)
"""Radius of the circle of equal area, in parts of the image's width."""
ROTATIONS = (0, 90, 180, 270)
HARMONICS = np.arange(2, 7)


@lru_cache(maxsize=64)
def contour(shape: int) -> NDArray[np.float32]:
    """The radius of a contour at 721 angles from 0 to 360 degrees, for unit area of the circle of radius 1: [721].

    R(t) = 1 + sum_n a_n cos(n t + p_n), n = 2 ... 6, with amplitudes that fall as 1/n; one harmonic dominates in each
    shape, so that the shapes differ clearly.
    """
    rng = generator("contour", shape)
    amplitude = rng.uniform(0.15, 0.5, len(HARMONICS)) / HARMONICS
    amplitude[shape % len(HARMONICS)] += 0.28
    angles = np.linspace(0, 2 * np.pi, 721)
    radius = 1 + amplitude @ np.cos(HARMONICS[:, None] * angles + rng.uniform(0, 2 * np.pi, (len(HARMONICS), 1)))
    radius = np.maximum(radius, 0.25)
    return np.asarray(radius / np.sqrt(np.mean(radius[:-1] ** 2)), dtype=np.float32)


def rows(setting: Setting) -> Iterator[Row]:
    """8 shapes x 3 sizes x 9 places x 4 rotations, filled light or dark on grey.

    The polarity is the parity of the other levels: balanced against each of them without doubling the set.
    """
    for shape in range(SHAPES):
        for number, size in enumerate(SIZES):
            for place, (x, y) in enumerate(POSITIONS):
                for turn, rotation in enumerate(ROTATIONS):
                    yield {
                        "stimulus_id": f"shape-{shape}-z{number}-at{place}-r{rotation:03d}",
                        "shape": shape,
                        "size": 2 * size * setting.degrees,
                        "x": x * setting.degrees,
                        "y": y * setting.degrees,
                        "rotation": rotation,
                        "polarity": 1 if (shape + number + place + turn) % 2 == 0 else -1,
                    }


def draw(row: Row, canvas: Canvas, seed: int) -> Image:
    """A filled contour, 0.5 +- 0.35."""
    x, y = canvas.grid
    x, y = x - np.float32(row["x"]), y - np.float32(row["y"])
    unit = row["size"] / 2
    table = contour(row["shape"])
    r = np.sqrt(x * x + y * y)
    angle = np.arctan2(y, x) * np.float32(180 / np.pi) - np.float32(row["rotation"])
    index = (angle % 360 * 2).astype(np.intp)
    radius = table[index]
    # The distance along the radius, shortened by the contour's slope, is the distance to it, to first order.
    slope = np.gradient(table, np.float32(np.pi / 360))[index] / radius
    distance = (r - np.float32(unit) * radius) / np.sqrt(1 + slope * slope)
    return GREY + np.float32(0.35 * row["polarity"]) * coverage(distance, canvas.pixel)


FAMILIES = {
    "shapes": Family(
        rows,
        draw,
        ("shape", "size", "x", "y", "rotation", "polarity"),
        lambda row, setting: row["size"] == 2 * SIZES[1] * setting.degrees,
    )
}
