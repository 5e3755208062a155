"""The stacked picture of what bands of features explain: parts add up to the total, and none is invented."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.patches import Rectangle

from comparisons.report.exhibits.variance_parts import LOWEST, stacked, variance_parts


def results(parts: dict[str, float], *, simulated: bool = False, **about: str) -> list[dict[str, Any]]:
    """Of one region: what early and late explain alone, what they share, and the whole."""
    of = {f"unique R2 of {band}": parts[band] for band in parts if band != "shared"}
    shares = {"R2 of all bands": sum(parts.values()), **of, "shared R2": parts["shared"], "R2 of early alone": 0.9}
    named = {"model": "net", "role": "trained", "recordings": "brain", **about, "simulated": simulated}
    return [{**named, "measure": name, "estimate": value, "interval": None} for name, value in shares.items()]


def drawn(axes: Any) -> list[tuple[float, float]]:
    """(bottom, top) of every bar that is seen."""
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle) and not (patch.get_gid() or "")]
    return [(box.get_y(), box.get_y() + box.get_height()) for box in boxes]


def test_parts_stand_on_each_other_up_to_the_whole() -> None:
    found = [
        *results({"early": 0.1, "late": 0.4, "shared": 0.1}, region="IT"),
        *results({"early": 0.3, "late": 0.1, "shared": 0.2}, region="V1"),
    ]
    (picture,) = variance_parts(found)
    (axes,) = picture.figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["V1", "IT"], "areas stand from early to late"
    expected = [(0.0, 0.3), (0.3, 0.5), (0.5, 0.6), (0.0, 0.1), (0.1, 0.2), (0.2, 0.6)]
    assert drawn(axes) == [pytest.approx(span) for span in expected]
    wholes = [tuple(point) for bar in axes.containers for line in [getattr(bar, "lines", [None])[0]]
              if line is not None for point in line.get_xydata()]  # fmt: skip
    assert wholes == [pytest.approx((0, 0.6)), pytest.approx((1, 0.6))]
    assert picture.words.startswith("net: V1 only early 0.30, shared 0.20, only late 0.10; IT")
    assert picture.name == "banded-brain"


def test_what_is_below_zero_is_stacked_downwards_and_cut_at_the_frame() -> None:
    assert stacked([0.2, -0.1, 0.3, -0.2]) == [
        pytest.approx(span) for span in ((0.0, 0.2), (-0.1, 0.0), (0.2, 0.5), (-0.3, -0.1))
    ]
    (picture,) = variance_parts(results({"early": -5.0, "late": 0.4, "shared": 0.1}, region="V1"))
    low, high = picture.figure.axes[0].get_ylim()
    assert LOWEST - 0.2 < low < LOWEST
    assert high > 0.5


def test_models_stand_beside_each_other_on_one_scale_and_simulated_recordings_are_stamped() -> None:
    parts = {"early": 0.3, "late": 0.1, "shared": 0.2}
    found = [
        *results(parts, region="V1", simulated=True),
        *results({name: value / 3 for name, value in parts.items()}, region="V1", role="untrained", simulated=True),
        *results(parts, region="V1", recordings="other"),
    ]
    ours, other = variance_parts(found)
    trained, untrained = ours.figure.axes
    assert trained.get_ylim() == untrained.get_ylim()
    assert ours.simulated
    assert not other.simulated
    assert all(any("SIMULATED" in text.get_text() for text in axes.texts) for axes in (trained, untrained))


def test_a_region_without_a_number_has_a_gap_and_nothing_gives_no_picture() -> None:
    assert list(variance_parts([])) == []
    found = [
        *results({"early": 0.3, "late": 0.1, "shared": 0.2}, region="V1"),
        *results({"early": 0.3, "late": 0.1, "shared": 0.2}, region="V2", role="untrained"),
    ]
    (picture,) = variance_parts(found)
    first, second = picture.figure.axes
    assert len(drawn(first)) == len(drawn(second)) == 3
    assert "V2" not in picture.words.split("; net")[0]
