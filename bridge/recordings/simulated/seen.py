"""What a simulated stream sees of its stimuli: whitened Gabor energies, and the factors that its truth speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from bridge.stimuli.stimulus_set import StimulusSet

Array = NDArray[np.float32]
Rows = NDArray[np.int_]
Target = tuple[Rows, NDArray[np.floating]]
"""(rows, values [row, d]): something that only these stimuli have."""
IMAGE_SIZE = 128
OBJECT = ("x", "y", "size")
KEPT = 4
"""Stimulus sets whose amplitudes are kept in memory."""
_AMPLITUDES: dict[str, Array] = {}


@dataclass(frozen=True)
class Seen:
    """`energies` [n, d] of unit variance; `targets` of oriented stimuli, apart for each spatial frequency; `objects`
    [n, 3], x, y and size of the object shown (mean 0, variance 1 over the stimuli; 0 where there is none)."""

    energies: Array
    targets: Sequence[Target] = ()
    objects: Array | None = None

    @property
    def factorial(self) -> NDArray[np.bool_]:
        """Which stimuli are oriented patterns whose factors are crossed; the others stand for natural ones."""
        rows = np.zeros(len(self.energies), bool)
        for own, _ in self.targets:
            rows[own] = True
        return rows

    def groups(self) -> dict[str, Rows]:
        """Rows of `natural` and `factorial` stimuli, where there are both and enough of each to regress on S."""
        factorial = self.factorial
        parts = {"natural": np.flatnonzero(~factorial), "factorial": np.flatnonzero(factorial)}
        least = 4 * self.energies.shape[1]
        return parts if all(len(rows) >= least for rows in parts.values()) else {}

    def at(self, rows: Rows) -> Seen:
        """The same of some of the stimuli, in the order of `rows`."""
        place = np.full(len(self.energies), -1)
        place[rows] = np.arange(len(rows))
        kept = [(place[own], values) for own, values in self.targets]
        targets = [(own[own >= 0], values[own >= 0]) for own, values in kept if (own >= 0).any()]
        return Seen(self.energies[rows], targets, None if self.objects is None else self.objects[rows])

    def balanced(self) -> Seen:
        """The same, with energies of mean 0 and variance 1 among natural stimuli and among oriented patterns each, as
        after adaptation to what is shown. Full-contrast patterns would else have most of all variance, and where half
        of it is simple, less than a fifth of that of natural stimuli would be."""
        energies = self.energies.copy()
        for rows in self.groups().values():
            spread = energies[rows].std(axis=0)
            energies[rows] = (energies[rows] - energies[rows].mean(axis=0)) / np.where(spread > 0, spread, 1)
        return replace(self, energies=energies)


def seen(stimuli: StimulusSet, dimensions: int) -> Seen:
    """What a stream with so many simple dimensions sees of the stimuli: energies along the components of natural ones,
    where there are enough of these and of oriented patterns to tell the two apart, else of all.

    Raises InputError for texts, and for stimuli too few or too alike.
    """
    return seen_in(amplitudes_of(stimuli), stimuli.table, dimensions)


def amplitudes_of(stimuli: StimulusSet) -> Array:
    """`gabor_amplitudes` of all images, [n, 512], kept for the last few sets that were asked for: several brains and
    comparisons of a run see the same images. Not to be written to."""
    key = stimuli.content_hash
    if key not in _AMPLITUDES:
        while len(_AMPLITUDES) >= KEPT:
            _AMPLITUDES.pop(next(iter(_AMPLITUDES)))
        _AMPLITUDES[key] = gabor_amplitudes(grey_images(stimuli))
        _AMPLITUDES[key].setflags(write=False)
    return _AMPLITUDES[key]


def seen_in(amplitudes: Array, table: pd.DataFrame, dimensions: int) -> Seen:
    """The same from the Gabor amplitudes [n, d] of the images and the table of their factors."""
    found = Seen(np.zeros((len(amplitudes), dimensions), np.float32), orientation_targets(table))
    energies = whitened(amplitudes, dimensions, found.groups().get("natural"))
    return replace(found, energies=energies, objects=object_factors(table)).balanced()


def grey_images(stimuli: StimulusSet) -> Array:
    """All images as grey values in [0, 1], float32 [n, 128, 128]."""
    from bridge.filters import luminance

    return np.stack([luminance(stimuli.image(index), IMAGE_SIZE) for index in range(len(stimuli))])


def whitened_energies(images: Array, dimensions: int, reference: Rows | None = None) -> Array:
    """`whitened` Gabor amplitudes of images [n, height, width]."""
    return whitened(gabor_amplitudes(images), dimensions, reference)


def gabor_amplitudes(images: Array) -> Array:
    """Square roots of Gabor energies at 8 orientations x (2, 4, 8, 16) cycles x a 4 x 4 grid, [n, 512]."""
    from bridge.filters import GaborBank, gabor_features

    bank = GaborBank(8, (2, 4, 8, 16))
    parts = [gabor_features(images[row : row + 128], bank, 4, ("energy",)) for row in range(0, len(images), 128)]
    return np.sqrt(np.concatenate(parts).reshape(len(images), -1))


def whitened(amplitudes: Array, dimensions: int, reference: Rows | None = None) -> Array:
    """The leading principal components of Gabor amplitudes [n, d], of mean 0 and variance 1: [n, dimensions].

    The components are those of the images given, or of those in the `reference` rows, over which they then have mean 0
    and variance 1: other images have others. Raises InputError for too few different images.
    """
    own = amplitudes if reference is None else amplitudes[reference]
    n, mean = len(own), own.mean(0)
    left, scale, right = np.linalg.svd((own - mean).astype(np.float64), full_matrices=False)
    if n < 4 * dimensions or scale[dimensions - 1] < max(1e-6 * scale[0], 1e-6 * np.sqrt(n)):
        raise InputError(
            f"{n} stimuli are too few, or too alike, for a simulated state of {dimensions} simple dimensions; give at "
            f"least {4 * dimensions} different ones, or lower simple_dimensions."
        )
    # Signs of singular vectors are arbitrary: fix them, so that libraries agree.
    signs = np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])[:dimensions]
    axes = (right[:dimensions].T * signs) * (np.sqrt(n) / scale[:dimensions])
    return ((amplitudes - mean) @ axes).astype(np.float32)


def orientation_targets(table: pd.DataFrame) -> list[Target]:
    """(cos 2 theta, sin 2 theta) of the oriented stimuli, apart for each family and spatial frequency in the table.

    Groups of fewer than 8 stimuli, or of fewer than 3 orientations, are left out.
    """
    if "orientation" not in table:
        return []
    orientation = table["orientation"].to_numpy(float)
    oriented = np.flatnonzero(np.isfinite(orientation))
    keys = [name for name in ("family", "cycles") if name in table]
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, *key in zip(oriented, *(table[name].iloc[oriented].astype(str) for name in keys), strict=True):
        groups.setdefault(tuple(key), []).append(row)
    found = []
    for rows in groups.values():
        angle = 2 * np.deg2rad(orientation[rows])
        if len(rows) >= 8 and len(np.unique(orientation[rows])) >= 3:
            found.append((np.array(rows), np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    return found


def object_factors(table: pd.DataFrame) -> Array | None:
    """x, y and size of the objects shown, [n, 3], mean 0 and variance 1 over those stimuli, 0 where none is; None where
    fewer than three stimuli show one or nothing varies. Oriented patterns have a place, too, and are no objects."""
    if any(name not in table for name in OBJECT):
        return None
    values = table[list(OBJECT)].to_numpy(float)
    shown = np.isfinite(values).all(axis=1)
    if "orientation" in table:
        shown &= ~np.isfinite(table["orientation"].to_numpy(float))
    if shown.sum() < 3 or (values[shown].std(axis=0) == 0).any():
        return None
    found = np.zeros(values.shape, np.float32)
    found[shown] = (values[shown] - values[shown].mean(axis=0)) / values[shown].std(axis=0)
    return found
