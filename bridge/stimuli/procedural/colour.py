"""Isoluminant colours: cone contrasts to sRGB pixel values.

The model. A pixel value v is undone by sRGB's transfer curve (IEC 61966-2-1); linear RGB goes to CIE XYZ by the sRGB
matrix (D65), and XYZ to cone excitations by Smith and Pokorny (1975), normalised so that L + M = Y (as in
MacLeod and Boynton 1979). Hence a change (dL, -dL, 0) and a change (0, 0, dS) leave the luminance Y as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.stimuli.procedural.canvas import GREY, Image

RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
XYZ_TO_LMS = np.array([[0.15514, 0.54312, -0.03286], [-0.15514, 0.45688, 0.03286], [0.0, 0.0, 0.01608]])
AXES = {"L-M": np.array([1.0, -1.0, 0.0]), "S": np.array([0.0, 0.0, 1.0])}
"""The two isoluminant cardinal directions in (L, M, S) (Derrington, Krauskopf and Lennie 1984)."""
GAMUT = 0.9
"""Full modulation reaches this part of the way to the border of the sRGB gamut."""


def linear(value: NDArray[Any]) -> NDArray[Any]:
    """sRGB pixel value in [0, 1] to linear light."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def encoded(light: NDArray[Any]) -> NDArray[Any]:
    """Linear light in [0, 1] to sRGB pixel value."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def direction(axis: str) -> NDArray[np.float64]:
    """Linear RGB change for modulation 1 along an axis, [3]: `GAMUT` of what fits around mid-grey both ways."""
    change = np.linalg.solve(XYZ_TO_LMS @ RGB_TO_XYZ, AXES[axis])
    grey = float(linear(np.array(GREY)))
    return change * (GAMUT * min(grey, 1 - grey) / np.abs(change).max())


def isoluminant(modulation: Image, axis: str) -> Image:
    """A modulation in [-1, 1], [size, size], as pixel values [size, size, 3] of constant luminance around mid-grey.

    The transfer curve is read from a table of 2,049 modulations: the pattern has one degree of freedom a pixel.
    """
    steps = np.linspace(-1, 1, 2049)
    table = encoded(float(linear(np.array(GREY))) + steps[:, None] * direction(axis)).astype(np.float32)
    return table[np.clip((modulation + 1) * 1024 + 0.5, 0, 2048).astype(np.intp)]
