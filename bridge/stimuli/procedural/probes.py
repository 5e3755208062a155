"""Blanks, and the probe set: ten stimuli of the other families, thirty presentations each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from bridge.stimuli.procedural import gratings, patches, scenes, shapes, textures
from bridge.stimuli.procedural.canvas import Canvas, Family, Image, Row, Setting

LUMINANCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
REPEATS = 30
_SOURCES = {**gratings.FAMILIES, **patches.FAMILIES, **textures.FAMILIES, **shapes.FAMILIES, **scenes.FAMILIES}
_CHOSEN = (
    ("gratings", 0.1),
    ("gratings", 0.6),
    ("gabors", 0.45),
    ("edges", 0.3),
    ("bars", 0.7),
    ("textures", 0.4),
    ("textures", 0.87),
    ("shapes", 0.35),
    ("scenes", 0.3),
    ("scenes", 0.55),
)
"""Family, and how far down its table."""


def blank_rows(setting: Setting) -> Iterator[Row]:
    """Nine uniform fields; the one of 0.5 is the background of all other stimuli."""
    for luminance in LUMINANCES:
        yield {"stimulus_id": f"blank-l{round(100 * luminance):03d}", "luminance": luminance, "contrast": 0.0}


def draw_blank(row: Row, canvas: Canvas, seed: int) -> Image:
    """A uniform field."""
    return np.full((canvas.size, canvas.size), row["luminance"], dtype=np.float32)


def probe_rows(setting: Setting) -> Iterator[Row]:
    """Ten stimuli x 30 repeats: rows of one `probe` show the same pixels, and `shows` is the id of the original."""
    for probe, (family, place) in enumerate(_CHOSEN):
        table = list(_SOURCES[family].rows(setting))
        original = next(islice(table, int(place * len(table)), None))
        for repeat in range(REPEATS):
            yield {
                **original,
                "stimulus_id": f"probe-{probe}-r{repeat:02d}",
                "probe": probe,
                "repeat": repeat,
                "shows": original["stimulus_id"],
                "shows_family": family,
            }


def draw_probe(row: Row, canvas: Canvas, seed: int) -> Image:
    """The original."""
    return _SOURCES[row["shows_family"]].draw({**row, "stimulus_id": row["shows"]}, canvas, seed)


FAMILIES = {
    "blanks": Family(blank_rows, draw_blank, ("luminance",), lambda row, setting: False),
    "probes": Family(probe_rows, draw_probe, ("probe",), lambda row, setting: False),
}
