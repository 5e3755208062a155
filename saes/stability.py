"""How alike two dictionaries are as wholes: seeds of one site, or a learned dictionary and the planted one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bridge.errors import InputError
from saes.nearest import assignment, nearest
from saes.sides import Directions


@dataclass(frozen=True)
class Stability:
    """Decoder directions of two dictionaries, assigned one to one."""

    cosines: np.ndarray
    """Of each direction of the smaller dictionary with its partner, float64 [min(m_a, m_b)]; 0 without one."""
    threshold: float

    @property
    def mean(self) -> float:
        """Mean cosine; NaN for an empty dictionary."""
        return float(self.cosines.mean()) if len(self.cosines) else float("nan")

    @property
    def share(self) -> float:
        """Share of directions whose cosine lies above the threshold; NaN for an empty dictionary."""
        return float((self.cosines > self.threshold).mean()) if len(self.cosines) else float("nan")


def seed_stability(
    a: np.ndarray | torch.Tensor,
    b: np.ndarray | torch.Tensor,
    *,
    alive_a: np.ndarray | None = None,
    alive_b: np.ndarray | None = None,
    threshold: float = 0.7,
) -> Stability:
    """The optimal assignment of two dictionaries' decoder directions, [m_a, d] and [m_b, d], and its cosines.

    After Paulo & Belrose 2025 (arXiv 2501.16615), who found about 30% of features shared between seeds. Directions that
    are zero, or not `alive_*` (bool), do not count; above 4,096 latents see `saes.nearest.assignment`. It says how
    alike the directions are, not whether chance would do as well: `saes.matching` does.

    Raises InputError for different widths.
    """
    one, two = _sides(a, b, alive_a, alive_b)
    cosines = np.zeros(min(one.alive.sum(), two.alive.sum()))
    pairs = assignment(one, two)
    cosines[: len(pairs[0])] = one.scores(two, *pairs)
    return Stability(cosines, threshold)


def mean_max_cosine(true: np.ndarray | torch.Tensor, learned: np.ndarray | torch.Tensor) -> tuple[float, np.ndarray]:
    """How well planted directions [m, d] are recovered by learned ones [s, d]: for each the largest cosine to any
    learned direction, float64 [m], and their mean (Sharkey et al. 2022). Zero directions count as 0.

    Raises InputError for different widths and for no directions.
    """
    one, two = _sides(true, learned, None, None)
    if not len(one) or not len(two):
        raise InputError(f"{len(one)} true and {len(two)} learned directions were given; give at least one of each.")
    found = nearest(one, two).score_a
    return float(found.mean()), found


def _sides(
    a: np.ndarray | torch.Tensor, b: np.ndarray | torch.Tensor, alive_a: np.ndarray | None, alive_b: np.ndarray | None
) -> tuple[Directions, Directions]:
    one, two = Directions(a, alive_a), Directions(b, alive_b)
    if one.unit.shape[1] != two.unit.shape[1]:
        raise InputError(
            f"Directions of width {one.unit.shape[1]} and {two.unit.shape[1]} are of different bases; give "
            "dictionaries of one site."
        )
    return one, two
