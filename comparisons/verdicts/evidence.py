"""What the rules stand on: estimates with errors, Bayes factors against an interval null, and equivalence tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.errors import InputError

PRIOR = 0.1
"""Scale of the half-normal prior on an effect. Fixed before any data were opened."""
TWO_SIDED = 1.959963984540054
"""Standard errors on either side of a 95% interval."""
ONE_SIDED = 1.6448536269514722
"""Standard errors below a one-sided 95% bound."""
STRONG = 10.0
"""The Bayes factor that a verdict asks for."""


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, taken to be normal."""

    value: float
    se: float

    @property
    def lower(self) -> float:
        """Lower end of the two-sided 95% interval."""
        return self.value - TWO_SIDED * self.se

    @property
    def upper(self) -> float:
        """Upper end of the two-sided 95% interval."""
        return self.value + TWO_SIDED * self.se

    @property
    def upper_one_sided(self) -> float:
        """The one-sided 95% upper bound."""
        return self.value + ONE_SIDED * self.se

    @property
    def known(self) -> bool:
        """Whether both are numbers and the error is not negative."""
        return bool(np.isfinite(self.value) and np.isfinite(self.se) and self.se >= 0)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.lower:.3f}, {self.upper:.3f}]"


def bayes_factor(estimate: Estimate, margin: float, prior: float = PRIOR) -> float:
    """Evidence for effect >= margin against the interval null effect < margin, under effect >= 0.

    (posterior odds of effect >= margin) / (prior odds of it), with effect ~ half-normal(prior) and
    estimate ~ N(effect, se^2): an encompassing prior (Morey & Rouder 2011, Psychol. Methods 16, eq. 3). An effect below
    0 is not in question (an explained share): estimates below 0 speak for the null. With se = 0 it is infinite or 0.
    Raises InputError for a margin or prior that is not positive, and for an estimate that is not a number.
    """
    from scipy.special import log_ndtr

    if not (margin > 0 and prior > 0 and estimate.known):
        raise InputError(
            f"A Bayes factor needs an estimate with its error and a positive margin and prior; it was given "
            f"{estimate.value:g} +- {estimate.se:g}, margin {margin:g}, prior {prior:g}."
        )
    if estimate.se == 0:
        return float("inf") if estimate.value >= margin else 0.0
    spread = (prior**-2 + estimate.se**-2) ** -0.5
    centre = spread**2 * estimate.value / estimate.se**2

    def log_odds(mean: float, sd: float) -> float:
        above, positive = log_ndtr((mean - margin) / sd), log_ndtr(mean / sd)
        # log(positive - above): the mass between 0 and the margin.
        between = positive + np.log(-np.expm1(above - positive))
        return float(above - between)

    with np.errstate(divide="ignore", over="ignore"):
        return float(np.exp(log_odds(centre, spread) - log_odds(0.0, prior)))


def equivalent(estimate: Estimate, margin: float) -> bool:
    """Two one-sided tests at 5%: |effect| < margin (the 90% interval lies within the margins; Schuirmann 1987)."""
    return estimate.known and abs(estimate.value) + ONE_SIDED * estimate.se < margin


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson 1927). Raises InputError without trials."""
    from scipy.stats import norm

    if not 0 <= successes <= trials or trials < 1:
        raise InputError(f"A rate needs 0 <= successes <= trials and a trial; it was given {successes} of {trials}.")
    z = float(norm.ppf((1 + level) / 2))
    rate, spread = successes / trials, z**2 / trials
    half = z * np.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    middle = rate + spread / 2
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return max(0.0, float(low)), min(1.0, float(high))
