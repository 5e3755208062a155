"""The rule of P2 for recordings, at its edges."""

from __future__ import annotations

import pytest

from comparisons.variability.decoder_error import Bounded, Transport
from comparisons.verdicts.variability import by_transport


def transport(**ends: tuple[float, float]) -> Transport:
    """T, cal, rel, gain as (lower, upper) around a clear SUPPORTED."""
    given = {"t": (0.4, 0.6), "cal": (0.8, 1.1), "rel": (0.05, 0.1), "gain": (0.4, 0.5), **ends}
    values = {name: Bounded((low + high) / 2, low, high) for name, (low, high) in given.items()}
    return Transport("V1", "IT", **{"direct": None, **values})


@pytest.mark.parametrize(
    ("ends", "answer"),
    [
        ({}, "SUPPORTED"),
        ({"cal": (0.5, 1.1)}, "INCONCLUSIVE"),
        ({"cal": (0.51, 1.1)}, "SUPPORTED"),
        ({"cal": (0.1, 0.24)}, "REFUTED"),
        ({"cal": (0.1, 0.25)}, "INCONCLUSIVE"),
        ({"rel": (0.03, 0.1)}, "INCONCLUSIVE"),
        ({"rel": (float("nan"), 0.1)}, "INCONCLUSIVE"),
        ({"gain": (0.05, 0.5)}, "INCONCLUSIVE"),
        ({"gain": (-0.1, 0.04), "t": (-0.1, 0.04)}, "REFUTED"),
        ({"gain": (-0.1, 0.04), "t": (-0.1, 0.05)}, "INCONCLUSIVE"),
        ({"gain": (-0.1, 0.04), "t": (-0.1, 0.04), "rel": (0.02, 0.1)}, "INCONCLUSIVE"),
    ],
)
def test_the_rule(ends: dict[str, tuple[float, float]], answer: str) -> None:
    verdict = by_transport([transport(**ends)], "brain")
    assert verdict.answer == answer
    assert verdict.reasons
    assert all(value == value for value in verdict.numbers.values())


def test_a_direct_path_is_named_and_does_not_decide() -> None:
    verdict = by_transport([transport(cal=(0.1, 0.2), direct=(0.31, 0.9))], "brain", simulated=True)
    assert verdict.answer == "REFUTED"
    assert verdict.simulated
    assert "a bypass or common input" in verdict.reasons[-1]
    assert "bypass" not in " ".join(by_transport([transport(direct=(0.3, 0.9))], "brain").reasons)
