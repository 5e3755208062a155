"""Planted features: responses to the 720 gratings of the tuning set whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

ORIENTATIONS = np.arange(0, 180, 15.0)
FREQUENCIES = np.array([2.0, 3.0, 5.0, 8.0, 13.0])
PHASES = np.arange(0, 360, 30.0)


@dataclass
class Planted:
    """Gratings' factors [720] and planted responses to them."""

    orientation: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray
    responses: dict[str, np.ndarray] = field(default_factory=dict)

    def tuned(self, mu: np.ndarray, kappa: np.ndarray, peak: np.ndarray, sd: float = 0.8) -> np.ndarray:
        """von Mises over orientation times log-Gaussian over frequency, peak 1, [720, feature]."""
        bend = np.cos(2 * np.deg2rad(self.orientation[:, None] - mu)) - 1
        octaves = np.log2(self.frequency[:, None] / peak)
        return np.exp(kappa * bend) * np.exp(-(octaves**2) / (2 * sd**2))

    def drift(self, phase: np.ndarray) -> np.ndarray:
        """cos(stimulus phase - preferred phase), [720, feature]."""
        return np.cos(np.deg2rad(self.phase[:, None] - phase))


@pytest.fixture
def gratings() -> Planted:
    """All 720 gratings, in an order that is not that of the grid."""
    found = [axis.ravel() for axis in np.meshgrid(ORIENTATIONS, FREQUENCIES, PHASES, indexing="ij")]
    order = np.random.default_rng(11).permutation(len(found[0]))
    return Planted(*(axis[order] for axis in found))
