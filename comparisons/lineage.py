"""A feature's history along the stream: at which sites it has a match, where it is born and where it is lost.

A match is a mutual nearest neighbour by the correlation of responses to the same stimuli, above the 99th percentile of
what shuffled stimuli give (`saes.matching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saes.matching import Matching, match_responses

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A site of the stream and the responses [n, m] of its features, the same stimuli at every place."""

    name: str
    depth: float
    responses: NDArray


@dataclass(frozen=True)
class History:
    """One feature along the stream, [site] each: depth, correlation with the most similar feature there (1 at its own
    site), and whether the two are each other's match. `chance` is the largest correlation that the null lets pass."""

    depth: Array
    r: Array
    matched: NDArray[np.bool_]
    own: int
    chance: float

    @property
    def born(self) -> float:
        """Depth of the first of the sites, without a gap up to its own, where it has a match."""
        gaps = np.flatnonzero(~self.matched[: self.own])
        return float(self.depth[gaps[-1] + 1 if len(gaps) else 0])

    @property
    def lost(self) -> float | None:
        """Depth of the first later site without a match; None where it is matched to the end."""
        gaps = np.flatnonzero(~self.matched[self.own :])
        return float(self.depth[self.own + gaps[0]]) if len(gaps) else None

    @property
    def last(self) -> float:
        """Depth of the last site with a match, gaps or not."""
        return float(self.depth[np.flatnonzero(self.matched)[-1]])

    def told(self) -> str:
        """Birth and loss in a few words."""
        lost = "kept to the end" if self.lost is None else f"lost at {self.lost:.2f}"
        return f"from {self.born:.2f}, {lost}"


class Lineages:
    """Histories of features along one stream, or along the codes of one dictionary's name. Matches are found once a
    pair of sites."""

    def __init__(self, places: Sequence[Place], seed: int = 0):
        """Places are put in the order of their depth. Responses that are not finite count as constant."""
        order = np.argsort([place.depth for place in places], kind="stable")
        self._places = [places[number] for number in order]
        self._values = [np.where(np.isfinite(p.responses).all(axis=0), p.responses, 0) for p in self._places]
        self._seed = seed
        self._found: dict[tuple[int, int], Matching] = {}

    def history(self, name: str, feature: int) -> History | None:
        """The history of a feature of the site `name`; None where it is constant or not finite."""
        own = next(number for number, place in enumerate(self._places) if place.name == name)
        x = self._values[own][:, feature].astype(np.float64)
        if x.std() == 0:
            return None
        x = (x - x.mean()) / np.linalg.norm(x - x.mean())
        r, matched, chance = np.ones(len(self._places)), np.ones(len(self._places), bool), 0.0
        for other, values in enumerate(self._values):
            if other == own:
                continue
            y = values - values.mean(axis=0)
            size = np.linalg.norm(y, axis=0)
            alive = size > 1e-9 * max(float(size.max(initial=0)), 1e-300)
            r[other] = float((x @ y[:, alive] / size[alive]).max(initial=0))
            found = self._matching(own, other)
            matched[other] = found.partners()[feature] >= 0
            chance = max(chance, found.threshold if np.isfinite(found.threshold) else 0.0)
        return History(np.array([p.depth for p in self._places]), r, matched, own, chance)

    def _matching(self, own: int, other: int) -> Matching:
        if (own, other) not in self._found:
            self._found[own, other] = match_responses(self._values[own], self._values[other], seed=self._seed)
        return self._found[own, other]
