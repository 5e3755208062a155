"""The network rule of P2."""

from __future__ import annotations

import pytest

from comparisons.variability.transport import Transported
from comparisons.verdicts.variability import network_variability, over_seeds, with_masks


def seeds(level: float, n: int = 5, spread: float = 0.02) -> list[dict[str, Transported]]:
    """n networks with three stages whose t lies around a level."""
    return [
        {f"blocks.{k}": Transported(level + spread * (seed - (n - 1) / 2), 0.01, 1.0, 1.0) for k in range(3)}
        for seed in range(n)
    ]


@pytest.mark.parametrize(
    ("trained", "plain", "answer", "why"),
    [
        (seeds(0.93), seeds(0.0), "SUPPORTED", "by architecture"),
        (seeds(0.93), [], "INCONCLUSIVE", "no plain twin"),
        (seeds(0.93), seeds(0.3), "INCONCLUSIVE", "not shown to be below"),
        (seeds(0.93, 4), seeds(0.0), "INCONCLUSIVE", "at least 5 seeds"),
        (seeds(0.0), [], "REFUTED", "less than 0.1"),
        (seeds(0.3), seeds(0.0), "INCONCLUSIVE", "neither above"),
        (seeds(0.55, spread=0.1), seeds(0.0), "INCONCLUSIVE", "neither above"),
        ([], [], "NOT TESTABLE", "no two stages"),
    ],
)
def test_the_rule(trained, plain, answer: str, why: str) -> None:
    verdict = network_variability("net", trained, plain, seeds(1.0, 2))
    assert verdict.answer == answer
    assert why in " ".join(verdict.reasons)


def test_every_stage_must_be_passed_on() -> None:
    trained = seeds(0.9)
    for one in trained:
        one["blocks.1"] = Transported(0.4, 0.01, 1.0, 1.0)
    assert network_variability("net", trained, seeds(0.0)).answer == "INCONCLUSIVE"


def test_intervals_are_students_over_seeds() -> None:
    from scipy.stats import t

    mean, low, high = over_seeds([Transported(value, 0.001, 1, 1) for value in (0.7, 0.8, 0.9)])
    assert mean == pytest.approx(0.8)
    assert high - mean == pytest.approx(t.ppf(0.975, 2) * 0.1 / 3**0.5)
    assert low == pytest.approx(2 * mean - high)
    assert over_seeds([Transported(0.5, 0.1, 1, 1)])[1] == pytest.approx(0.5 - 0.196)


def test_untrained_copies_are_shown_and_change_nothing() -> None:
    alone = network_variability("net", seeds(0.93), seeds(0.0))
    beside = network_variability("net", seeds(0.93), seeds(0.0), seeds(1.0))
    assert alone.answer == beside.answer == "SUPPORTED"
    assert beside.numbers["t untrained, first"] == pytest.approx(1.0)


def test_masks_are_a_reason_and_change_no_answer() -> None:
    verdict = network_variability("net", seeds(0.3))
    told = with_masks(verdict, [(0.55, 0.6), (0.25, 0.26)])
    assert told.answer == verdict.answer
    assert "lets 0.26 to 0.60 through; t is 0.92 to 0.96 of that" in told.reasons[-1]
    assert with_masks(verdict, []) == verdict
