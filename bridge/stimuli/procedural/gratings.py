"""Sinusoidal gratings in a disc: the tuning set, and the contrast, size and colour series.

Value = 0.5 + 0.5 c cos(2 pi f a + phase) w(r): a is the coordinate across the bars, f the spatial frequency
(cycles a degree), c Michelson contrast, w a disc with a raised-cosine border.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.stimuli.procedural.canvas import GREY, Canvas, Family, Image, Row, Setting, disc_window
from bridge.stimuli.procedural.colour import AXES, isoluminant

ORIENTATIONS = tuple(range(0, 180, 15))
PHASES_4 = (0, 90, 180, 270)
CONTRASTS = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)
RADIUS = 0.46875
"""Radius of the disc, in parts of the image's width (3.75 of 8 degrees)."""
RADII = tuple(float(radius) for radius in np.round(np.geomspace(0.03125, RADIUS, 8), 5))


def wave(x: Image, y: Image, orientation: float, sf: float, phase: float) -> Image:
    """cos(2 pi sf across + phase), sf in cycles a degree, phase in degrees."""
    angle = np.deg2rad(orientation)
    # The phase of a plane wave is a sum of a function of x and one of y, so two short vectors of sines suffice.
    kx, ky = -2 * np.pi * sf * np.sin(angle), 2 * np.pi * sf * np.cos(angle)
    px, py = np.float32(kx) * x, np.float32(ky) * y + np.float32(np.deg2rad(phase))
    return np.cos(px) * np.cos(py) - np.sin(px) * np.sin(py)


def _row(prefix: str, setting: Setting, orientation: int, level: int, phase: int, **factors: float | str) -> Row:
    cycles = setting.cycles[level]
    return {
        "stimulus_id": f"{prefix}-o{orientation:03d}-sf{cycles:g}-p{phase:03d}",
        "orientation": orientation,
        "sf": cycles / setting.degrees,
        "cycles": cycles,
        "phase": phase,
        "contrast": 1.0,
        "radius": RADIUS * setting.degrees,
        "colour": "achromatic",
        "x": 0.0,
        "y": 0.0,
        **factors,
    }


def tuning_rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x all spatial frequencies x all phases (12 by default) at full contrast."""
    for orientation in ORIENTATIONS:
        for level in range(len(setting.cycles)):
            for phase in range(0, 360, 360 // setting.phases):
                yield _row("grating", setting, orientation, level, phase)


def contrast_rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x 6 contrasts x 4 phases at the middle spatial frequency."""
    middle = len(setting.cycles) // 2
    for orientation in ORIENTATIONS:
        for contrast in CONTRASTS:
            for phase in PHASES_4:
                row = _row("contrast", setting, orientation, middle, phase, contrast=contrast)
                yield {**row, "stimulus_id": f"{row['stimulus_id']}-c{contrast:g}"}


def size_rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x 8 radii x 4 phases at the middle spatial frequency."""
    middle = len(setting.cycles) // 2
    for orientation in ORIENTATIONS:
        for number, radius in enumerate(RADII):
            for phase in PHASES_4:
                row = _row("size", setting, orientation, middle, phase, radius=radius * setting.degrees)
                yield {**row, "stimulus_id": f"{row['stimulus_id']}-r{number}"}


def colour_rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x the 3 lowest spatial frequencies x 4 phases, isoluminant along L-M and along S.

    Contrast is 1 for the largest modulation shown (see `colour.GAMUT`), not a cone contrast.
    """
    for axis in AXES:
        for orientation in ORIENTATIONS:
            for level in range(min(3, len(setting.cycles))):
                for phase in PHASES_4:
                    row = _row("colour", setting, orientation, level, phase, colour=axis)
                    yield {**row, "stimulus_id": f"{row['stimulus_id']}-{axis.replace('-', '').lower()}"}


def draw(row: Row, canvas: Canvas, seed: int) -> Image:
    """The grating of a row; `seed` plays no part."""
    x, y = canvas.grid
    soft = min(canvas.degrees / 32, row["radius"])
    pattern = wave(x, y, row["orientation"], row["sf"], row["phase"]) * disc_window(x, y, row["radius"], soft)
    pattern *= np.float32(row["contrast"])
    return GREY + GREY * pattern if row["colour"] == "achromatic" else isoluminant(pattern, row["colour"])


def _held_out_sf(row: Row, setting: Setting) -> bool:
    """The last but one spatial frequency (the middle one of three)."""
    return bool(row["cycles"] == setting.cycles[max(0, len(setting.cycles) - 2)])


FAMILIES = {
    "gratings": Family(tuning_rows, draw, ("orientation", "cycles", "phase"), _held_out_sf),
    "contrasts": Family(
        contrast_rows, draw, ("orientation", "contrast", "phase"), lambda row, setting: row["contrast"] == CONTRASTS[3]
    ),
    "sizes": Family(
        size_rows,
        draw,
        ("orientation", "radius", "phase"),
        lambda row, setting: row["radius"] == RADII[4] * setting.degrees,
    ),
    "colours": Family(
        colour_rows,
        draw,
        ("orientation", "cycles", "phase", "colour"),
        lambda row, setting: row["cycles"] == setting.cycles[min(1, len(setting.cycles) - 1)],
    ),
}
