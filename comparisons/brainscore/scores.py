"""What a site reaches on a benchmark: the raw correlation, the ceiling, and both ways of dividing one by the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comparisons.encoding.ceilings import normalised


@dataclass(frozen=True)
class Scored:
    """One site's score."""

    r: float
    """Brain-Score's raw score: median r over neuroids, mean over splits; of RDMs their Spearman correlation."""
    ceiling: float
    """Split-half reliability c; NaN where there is none."""
    error: float | None = None
    """Standard error of r over splits, as Brain-Score states it (splits overlap: it is too small)."""
    per_neuroid: np.ndarray | None = None
    """r [split, neuroid], neuroids by id; None for RDMs."""
    ceiled: float | None = None
    """The benchmark's own score, where its own class gave it: r^2 / c for a NeuralBenchmark of 2.4."""
    notices: tuple[str, ...] = ()
    """What was clipped, left out or undefined, in words."""

    @property
    def r2_over_c(self) -> float:
        """r^2 / c: Brain-Score's normalisation since December 2025."""
        return float(normalised(self.r, self.ceiling, "r^2/c"))

    @property
    def r_over_c_squared(self) -> float:
        """(r / c)^2: its normalisation before, that of old leaderboards."""
        return float(normalised(self.r, self.ceiling, "(r/c)^2"))
