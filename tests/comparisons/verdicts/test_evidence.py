from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from bridge.errors import InputError
from comparisons.verdicts.evidence import Estimate, bayes_factor, equivalent, wilson


@pytest.mark.parametrize(("value", "se"), [(0.1, 0.02), (0.03, 0.02), (0.0, 0.01), (-0.05, 0.03), (0.3, 0.05)])
def test_the_bayes_factor_is_the_ratio_of_marginal_likelihoods(value: float, se: float) -> None:
    margin = 0.04

    def likelihood(low: float, high: float) -> float:
        def product(x: float) -> float:
            return stats.norm.pdf(value, x, se) * stats.halfnorm.pdf(x, scale=0.1)

        near = [min(max(value, low), high)]
        mass = stats.halfnorm.cdf(high, scale=0.1) - stats.halfnorm.cdf(low, scale=0.1)
        return integrate.quad(product, low, high, points=near, limit=200)[0] / mass

    expected = likelihood(margin, 1.5) / likelihood(0, margin)
    assert bayes_factor(Estimate(value, se), margin) == pytest.approx(expected, rel=1e-5)


def test_the_bayes_factor_far_away_and_without_error() -> None:
    assert bayes_factor(Estimate(0.5, 0.005), 0.04) > 1e10
    assert 0 <= bayes_factor(Estimate(-0.5, 0.005), 0.04) < 1e-6
    assert bayes_factor(Estimate(0.1, 0.0), 0.04) == float("inf")
    assert bayes_factor(Estimate(0.0, 0.0), 0.04) == 0
    assert bayes_factor(Estimate(0.1, 1e6), 0.04) == pytest.approx(1, abs=1e-3), "no data, no evidence"
    with pytest.raises(InputError, match="positive margin"):
        bayes_factor(Estimate(0.1, 0.1), 0.0)
    with pytest.raises(InputError, match="estimate with its error"):
        bayes_factor(Estimate(float("nan"), 0.1), 0.04)


def test_equivalence_is_the_90_percent_interval_within_the_margins() -> None:
    assert equivalent(Estimate(0.0, 0.02), 0.04)
    assert not equivalent(Estimate(0.0, 0.03), 0.04)
    assert not equivalent(Estimate(0.03, 0.01), 0.04)
    assert not equivalent(Estimate(float("nan"), 0.01), 0.04)


@pytest.mark.parametrize(("successes", "trials"), [(0, 40), (1, 40), (40, 40), (17, 200)])
def test_wilson_is_scipys(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert np.allclose(wilson(successes, trials), (expected.low, expected.high))
    with pytest.raises(InputError):
        wilson(3, 2)
