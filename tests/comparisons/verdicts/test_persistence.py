"""The network rule of P1, and the naive one beside it."""

from __future__ import annotations

import numpy as np
import pytest

from comparisons.verdicts.evidence import Estimate
from comparisons.verdicts.persistence import SiteD, network_persistence


def curve(*values: float, se: float = 0.02) -> list[SiteD]:
    depths = np.linspace(1 / len(values), 1, len(values))
    return [
        SiteD(f"blocks.{number}.hook_resid_post", float(depth), Estimate(value, se))
        for number, (depth, value) in enumerate(zip(depths, values, strict=True))
    ]


@pytest.mark.parametrize(
    ("values", "se", "answer"),
    [
        ((0.9, 0.8, 0.8, 0.7, 0.6, 0.6), 0.02, "SUPPORTED"),
        ((0.9, 0.8, 0.5, 0.3, 0.1, 0.0), 0.02, "REFUTED"),
        ((0.9, 0.8, 0.8, 0.7, 0.6, -0.4), 0.02, "REFUTED"),  # R2 under generalisation goes below 0
        ((0.9, 0.8, 0.8, 0.7, 0.31, 0.6), 0.02, "INCONCLUSIVE"),  # weak at one site of the last third
        ((0.9, 0.8, 0.8, 0.7, 0.6, 0.6), 0.2, "INCONCLUSIVE"),
        ((0.1, 0.1, 0.1, 0.0, 0.0, 0.0), 0.02, "INCONCLUSIVE"),  # never there: it cannot be lost
        ((0.35, 0.3, 0.2, 0.1, 0.0, 0.0), 0.2, "INCONCLUSIVE"),
    ],
)
def test_the_rule(values: tuple[float, ...], se: float, answer: str) -> None:
    found = network_persistence("net", curve(*values, se=se))
    assert found.answer == answer
    assert found.subject == "net"
    assert found.numbers["D at the last site"] == values[-1]
    assert network_persistence("net", curve(*values, se=se)[::-1]) == found, "the order of sites plays no part"


def test_what_is_beside_never_enters_the_rule() -> None:
    alone, beside = (network_persistence("net", curve(0.9, 0.8, 0.7), beside=b) for b in ((), ("untrained: 0.99",)))
    assert (alone.answer, alone.numbers) == (beside.answer, beside.numbers)
    assert beside.reasons[-1] == "untrained: 0.99"


def test_what_cannot_be_tested_is_said() -> None:
    for few in ([], curve(0.9), [SiteD("a", 0.1, Estimate(0.9, 0.1)), SiteD("b", 0.5, Estimate(0.9, 0.1))]):
        found = network_persistence("net", few)
        assert found.answer == "NOT TESTABLE"
        assert not found.numbers
    unknown = [SiteD(one.site, one.depth, Estimate(float("nan"), float("nan"))) for one in curve(0.9, 0.8)]
    assert network_persistence("net", unknown).answer == "NOT TESTABLE"
    assert "reads texts" in network_persistence("gpt", [], missing="gpt reads texts").reasons[0]


def test_the_naive_rule_errs_where_this_one_does_not() -> None:
    """ "Significantly above 0 at the end" supports persistence of a trace that is a tenth of what was there."""
    trace = curve(0.9, 0.7, 0.5, 0.3, 0.15, 0.08)
    assert trace[-1].estimate.lower > 0
    assert network_persistence("net", trace).answer == "REFUTED"
