"""Local stimuli at nine places: Gabor patches, edges and bars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.stimuli.procedural.canvas import (
    GREY,
    POSITIONS,
    Canvas,
    Family,
    Image,
    Row,
    Setting,
    coverage,
    disc_window,
    rotated,
)
from bridge.stimuli.procedural.gratings import ORIENTATIONS, wave

GABOR_ORIENTATIONS = tuple(22.5 * number for number in range(8))
RADIUS = 0.14
"""Radius of the disc in which an edge is seen, in parts of the image's width."""
BAR = (0.2, 0.04)
"""Length and width of a bar, in parts of the image's width."""


def gabor_rows(setting: Setting) -> Iterator[Row]:
    """8 orientations x 3 spatial frequencies x 9 places x 2 phases (even, odd)."""
    levels = _gabor_levels(setting)
    for orientation in GABOR_ORIENTATIONS:
        for level in levels:
            for place, (x, y) in enumerate(POSITIONS):
                for phase in (0, 90):
                    yield {
                        "stimulus_id": f"gabor-o{orientation:05.1f}-sf{setting.cycles[level]:g}-at{place}-p{phase:03d}",
                        "orientation": orientation,
                        "sf": setting.cycles[level] / setting.degrees,
                        "cycles": setting.cycles[level],
                        "phase": phase,
                        "contrast": 1.0,
                        "radius": _sigma(setting.cycles[level]) * setting.degrees,
                        "x": x * setting.degrees,
                        "y": y * setting.degrees,
                    }


def _gabor_levels(setting: Setting) -> list[int]:
    """The three highest spatial frequencies: of lower ones, too few cycles fit into a patch."""
    return list(range(len(setting.cycles)))[-3:]


def _sigma(cycles: float) -> float:
    """The Gaussian's standard deviation in parts of the width: half a cycle, at most a twelfth."""
    return min(0.5 / cycles, 1 / 12)


def draw_gabor(row: Row, canvas: Canvas, seed: int) -> Image:
    """A Gabor patch: the wave times a round Gaussian whose standard deviation stands as `radius`."""
    x, y = canvas.grid
    x, y = x - np.float32(row["x"]), y - np.float32(row["y"])
    scale = np.float32(-0.5 / row["radius"] ** 2)
    envelope = np.exp(scale * x * x) * np.exp(scale * y * y)
    return GREY + GREY * wave(x, y, row["orientation"], row["sf"], row["phase"]) * envelope


def _local_rows(kind: str, radius: float) -> Iterator[Row]:
    for orientation in ORIENTATIONS:
        for place, (x, y) in enumerate(POSITIONS):
            for polarity in (1, -1):
                yield {
                    "stimulus_id": f"{kind}-o{orientation:03d}-at{place}-{'light' if polarity > 0 else 'dark'}",
                    "orientation": orientation,
                    "contrast": 1.0,
                    "radius": radius,
                    "x": x,
                    "y": y,
                    "polarity": polarity,
                }


def _in_degrees(rows: Iterator[Row], degrees: float) -> Iterator[Row]:
    for row in rows:
        yield {**row, **{name: row[name] * degrees for name in ("radius", "x", "y")}}


def edge_rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x 9 places x 2 polarities (light above or below the edge, in its own frame)."""
    return _in_degrees(_local_rows("edge", RADIUS), setting.degrees)


def bar_rows(setting: Setting) -> Iterator[Row]:
    """12 orientations x 9 places x 2 polarities (light or dark bar); `radius` is half the bar's length."""
    return _in_degrees(_local_rows("bar", BAR[0] / 2), setting.degrees)


def draw_edge(row: Row, canvas: Canvas, seed: int) -> Image:
    """A step in a disc: +1 on one side, -1 on the other, one pixel of antialiasing, soft outer border."""
    x, y = canvas.grid
    x, y = x - np.float32(row["x"]), y - np.float32(row["y"])
    _, across = rotated(x, y, row["orientation"])
    step = 2 * coverage(-across, canvas.pixel) - 1
    return GREY + np.float32(row["polarity"] * 0.5) * step * disc_window(x, y, row["radius"], row["radius"] / 2)


def draw_bar(row: Row, canvas: Canvas, seed: int) -> Image:
    """A uniform bar on grey."""
    x, y = canvas.grid
    along, across = rotated(x - np.float32(row["x"]), y - np.float32(row["y"]), row["orientation"])
    half = row["radius"] * BAR[1] / BAR[0]
    inside = coverage(np.abs(across) - np.float32(half), canvas.pixel)
    inside = inside * coverage(np.abs(along) - np.float32(row["radius"]), canvas.pixel)
    return GREY + np.float32(row["polarity"] * 0.5) * inside


def _last_place(row: Row, setting: Setting) -> bool:
    """The place at the lower right, so that a test can ask for generalisation to a place never shown."""
    x, y = POSITIONS[-1]
    return bool(row["x"] == x * setting.degrees and row["y"] == y * setting.degrees)


_LOCAL = ("orientation", "x", "y", "polarity")
FAMILIES = {
    "gabors": Family(gabor_rows, draw_gabor, ("orientation", "cycles", "x", "y", "phase"), _last_place),
    "edges": Family(edge_rows, draw_edge, _LOCAL, _last_place),
    "bars": Family(bar_rows, draw_bar, _LOCAL, _last_place),
}
