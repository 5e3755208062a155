"""Gratings on 1/f backgrounds: what is read of an orientation on some backgrounds can be tested on others.

A background is one field of noise, the same for all gratings on it; a grating is added at half contrast in its disc.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.stimuli.procedural.canvas import GREY, Canvas, Family, Image, Row, Setting, disc_window, generator
from bridge.stimuli.procedural.gratings import ORIENTATIONS, PHASES_4, RADIUS, wave
from bridge.stimuli.procedural.scenes import BACKGROUND_RMS, noise

BACKGROUNDS = 6
CONTRAST = 0.5


def rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x 6 backgrounds x 4 phases at the middle spatial frequency."""
    cycles = setting.cycles[len(setting.cycles) // 2]
    for orientation in ORIENTATIONS:
        for background in range(BACKGROUNDS):
            for phase in PHASES_4:
                yield {
                    "stimulus_id": f"background{background}-o{orientation:03d}-sf{cycles:g}-p{phase:03d}",
                    "orientation": orientation,
                    "sf": cycles / setting.degrees,
                    "cycles": cycles,
                    "phase": phase,
                    "contrast": CONTRAST,
                    "radius": RADIUS * setting.degrees,
                    "background": background,
                    "x": 0.0,
                    "y": 0.0,
                }


def draw(row: Row, canvas: Canvas, seed: int) -> Image:
    """The grating of a row on its background."""
    x, y = canvas.grid
    field = canvas.displaced(noise(canvas.size, generator(seed, "grating background", row["background"])))
    pattern = wave(x, y, row["orientation"], row["sf"], row["phase"])
    pattern = pattern * disc_window(x, y, row["radius"], canvas.degrees / 32) * np.float32(row["contrast"])
    return GREY + np.float32(BACKGROUND_RMS) * field + GREY * pattern


FAMILIES = {
    "backgrounds": Family(
        rows, draw, ("orientation", "background", "phase"), lambda row, setting: row["background"] == BACKGROUNDS - 1
    )
}
