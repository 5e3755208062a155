"""How a training goes: its points, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from saes.architectures.base import Outcome
from saes.trainee import Trainee


@dataclass
class Point:
    """How a training stood: means over the steps since the point before."""

    step: int
    tokens: int
    fvu: float
    """Squared error as a share of the variance of the training tokens."""
    l0: float
    dead: float
    """Share of latents that are dead."""
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """What `train` tells while it runs."""

    step: int
    steps: int
    tokens_per_second: float
    points: dict[str, Point]
    warnings: list[str] = field(default_factory=list)
    """New ones, a sentence each."""


class Sums:
    """Sums over the steps since the last point."""

    def __init__(self) -> None:
        self.tokens, self.squares, self.active = 0, 0.0, 0.0
        self.parts: dict[str, float] = {}
        self.steps = 0

    def add(self, outcome: Outcome, tokens: int, variance: float) -> None:
        """Count a step on so many tokens, whose targets have this variance."""
        self.tokens += tokens
        self.steps += 1
        self.squares += float(outcome.share) * tokens / variance
        self.active += outcome.l0 * tokens
        for name, value in outcome.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value

    def point(self, step: int, trainee: Trainee) -> Point:
        """The means over the steps counted."""
        dead = len(trainee.dead) / trainee.latents
        parts = {name: value / self.steps for name, value in self.parts.items()}
        return Point(step, self.tokens, self.squares / self.tokens, self.active / self.tokens, dead, parts)


class Watch:
    """Looks at the points of one training and says, once each, what will not mend itself."""

    def __init__(self, name: str):
        self.name, self.said = name, set[str]()
        self.level, self.best = float("nan"), float("inf")
        """Unexplained variance, smoothed (points of short trainings are single steps), and its least value."""

    def look(self, point: Point, done: float) -> list[str]:
        """Sentences that have not been said before. `done` is the share of the training, 0 to 1."""
        found = {}
        self.level = point.fvu if math.isnan(self.level) else 0.8 * self.level + 0.2 * point.fvu
        if done >= 0.3 and point.fvu > 0.9:
            found["stalled"] = (
                f"{self.name} leaves {point.fvu:.0%} of the variance unexplained after {done:.0%} of its training; "
                "raise k or the learning rate, or lower the penalty."
            )
        if done >= 0.3 and self.level > 1.3 * self.best:
            found["rising"] = (
                f"{self.name}'s unexplained variance has risen from {self.best:.3f} to {self.level:.3f}; lower the "
                "learning rate."
            )
        if done >= 0.3 and point.dead > 0.5:
            found["dying"] = (
                f"{point.dead:.0%} of {self.name}'s latents are dead after {done:.0%} of its training; take fewer "
                "latents, more tokens, or a larger aux_coefficient."
            )
        if done >= 0.3:  # penalties have their full weight by then
            self.best = min(self.best, self.level)
        unsaid = [text for what, text in found.items() if what not in self.said]
        self.said |= set(found)
        return unsaid
