"""Objects on unrelated 1/f backgrounds, at three levels of variation (after Majaj et al. 2015, Hong et al. 2016).

Each image has a background of its own, so the background tells nothing of the object. Position, size, tilt, turn and
tone are balanced within every exemplar and level, so that neither identity and nuisances nor two nuisances correlate
(exactly so where each level has a multiple of 8 images, as with 20, 40, ... images an exemplar).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bridge.stimuli.procedural.canvas import GREY, Canvas, Family, Image, Row, Setting, coverage, generator
from bridge.stimuli.procedural.objects import CATEGORIES, parts

LEVELS = {0: 0.2, 3: 0.4, 6: 0.4}
"""Variation level: its share of the images (640 of 5,760 at level 0 in Majaj et al.; here a fifth)."""
NUISANCES = ("x", "y", "size", "rotation", "turn", "tone")
HALF_SIZE = 0.29
"""Half-extent of an object at its middle size, in parts of the image's width."""
TRAVEL, ZOOM, TILT, TURN = 0.2, 1.4, 90.0, 55.0
"""At level 6: travel each way (parts of the width), largest and smallest size as a factor, tilt and turn (degrees)."""
BACKGROUND_RMS = 0.13


def balanced_nuisances(count: int, *keys: int | str) -> NDArray[np.float64]:
    """`count` settings of the six nuisances in (-1, 1), [count, 6], the last of which is the tone.

    Images come in blocks of 8. A block has one random magnitude a nuisance, and the signs of a two-level orthogonal
    array of strength 2 (the columns of an 8 x 8 Hadamard matrix, in random order and polarity): over a block every
    nuisance has mean 0, and any functions of two of them are uncorrelated. The tone alternates, so that it is even
    in blocks cut short as well.
    """
    run = np.arange(8)
    bits = [1 - 2 * (run >> place & 1) for place in range(3)]
    tone, others = bits[0], [bits[1], bits[2], bits[0] * bits[1], bits[0] * bits[2], bits[1] * bits[2]]
    others.append(bits[0] * bits[1] * bits[2])
    blocks = []
    for block in range(-(-count // 8)):
        rng = generator(*keys, block)
        signs = np.stack([*(others[column] for column in rng.permutation(6)[:5]), tone], axis=1)
        blocks.append(signs * rng.choice((-1, 1), 6) * rng.random(6))
    return np.concatenate(blocks)[:count] if blocks else np.zeros((0, 6))


def rows(setting: Setting) -> Iterator[Row]:
    """8 categories x exemplars x levels; `images_per_exemplar` are shared out between the levels as `LEVELS` says."""
    counts = {level: round(setting.images_per_exemplar * share) for level, share in LEVELS.items()}
    counts[6] = setting.images_per_exemplar - counts[0] - counts[3]
    for category in CATEGORIES:
        for exemplar in range(setting.exemplars):
            for level, count in counts.items():
                settings = balanced_nuisances(count, setting.seed, "scene", category, exemplar, level)
                for number, (*pose, tone) in enumerate(settings):
                    x, y, size, rotation, turn = np.array(pose) * (level / 6) + 0.0  # no -0.0 in the table
                    yield {
                        "stimulus_id": f"scene-{category}-e{exemplar}-v{level}-i{number:03d}",
                        "category": category,
                        "exemplar": exemplar,
                        "level": level,
                        "x": x * TRAVEL * setting.degrees,
                        "y": y * TRAVEL * setting.degrees,
                        "size": 2 * HALF_SIZE * ZOOM**size * setting.degrees,
                        "rotation": rotation * TILT,
                        "turn": turn * TURN,
                        "tone": 0.5 + np.copysign(0.22 + 0.18 * abs(tone), tone),
                        "background": number,
                    }


@lru_cache(maxsize=4)
def _amplitude(size: int) -> NDArray[np.float32]:
    """1/f over the half plane of the real Fourier transform, zero at f = 0."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    f[0, 0] = np.inf
    return (1 / f).astype(np.float32)


def noise(size: int, rng: np.random.Generator) -> Image:
    """A field of random phases with a 1/f amplitude spectrum, mean 0 and standard deviation 1: [size, size]."""
    from scipy import fft

    amplitude = _amplitude(size)
    angle = rng.random(amplitude.shape, dtype=np.float32) * np.float32(2 * np.pi)
    field = fft.irfft2(amplitude * (np.cos(angle) + np.complex64(1j) * np.sin(angle)), s=(size, size))
    return (field / field.std()).astype(np.float32)


def paint(image: Image, category: str, exemplar: int, row: Row, canvas: Canvas) -> None:
    """Paint an object over `image`, in place, at the row's position, size, tilt, turn and tone."""
    x, y = canvas.grid
    half = row["size"] / 2
    reach = 1.25 * half
    columns = np.flatnonzero(np.abs(x[0] - row["x"]) < reach)
    lines = np.flatnonzero(np.abs(y[:, 0] - row["y"]) < reach)
    if not len(columns) or not len(lines):
        return
    where = slice(lines[0], lines[-1] + 1), slice(columns[0], columns[-1] + 1)
    p = (x[:, where[1]] - np.float32(row["x"])) / np.float32(half)
    q = (y[where[0]] - np.float32(row["y"])) / np.float32(half)
    tilt, turn = np.deg2rad(row["rotation"]), np.deg2rad(row["turn"])
    u = np.float32(np.cos(tilt)) * p + np.float32(np.sin(tilt)) * q
    v = np.float32(np.cos(tilt)) * q - np.float32(np.sin(tilt)) * p
    # A turn about the upright axis foreshortens the width; the side that turns towards the viewer looms.
    loom = 1 + np.float32(0.3 * np.sin(turn)) * u
    u, v = u * np.float32(1 / np.cos(turn)), v * loom
    pixel = canvas.pixel / half
    target = image[where]
    tone = row["tone"]
    away = 1.0 if tone < 0.5 else -1.0
    for part in parts(category, exemplar):
        distance = part.distance(u, v)
        inside = coverage(distance, pixel)
        # Rounded by its depth, and lit from above, in the object's own frame.
        shade = np.float32(0.16) * np.clip(distance * np.float32(-5), 0, 1) + np.float32(0.1) * v - np.float32(0.1)
        value = np.float32(tone + away * part.tone) + shade
        target += inside * (value - target)


def draw(row: Row, canvas: Canvas, seed: int) -> Image:
    """The object on its background; the mean is brought back to 0.5."""
    rng = generator(seed, "background", row["stimulus_id"])
    image = canvas.displaced(GREY + np.float32(BACKGROUND_RMS) * noise(canvas.size, rng)).copy()
    paint(image, row["category"], row["exemplar"], row, canvas)
    return image + (GREY - image.mean())


def _last_exemplar(row: Row, setting: Setting) -> bool:
    return bool(setting.exemplars > 1 and row["exemplar"] == setting.exemplars - 1)


FAMILIES = {"scenes": Family(rows, draw, ("category", "exemplar", "level", *NUISANCES), _last_exemplar)}
