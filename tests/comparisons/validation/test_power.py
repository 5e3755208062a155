from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from bridge.recordings.simulated import SimulatedRecordings, Stream, record, seen
from bridge.stimuli import load
from comparisons.validation.power import PowerRow, power, reliability, scaled, shares
from comparisons.verdicts.evidence import wilson


@pytest.fixture(scope="module")
def stimuli():  # type: ignore[no-untyped-def]
    limit = {"textures": 60, "scenes": 80}
    return load({"kind": "battery", "name": "drawn", "families": list(limit), "limit": limit, "size": 32})


def test_a_simulated_data_set_is_scaled_to_its_own_reliability(stimuli) -> None:  # type: ignore[no-untyped-def]
    eyes = seen(stimuli, 8)
    spec = SimulatedRecordings(
        neuroids={"V1": 40, "IT": 40}, lambdas=(0.5, 0.4), reps=6, private_noise=2.0, simple_dimensions=8
    )
    recorded = record(spec, stimuli.ids, Stream.of(spec, eyes).stages())
    found = scaled(recorded, eyes)
    assert (found.neuroids, found.reps) == ({"V1": 40, "IT": 40}, 6)
    assert found.private_noise == pytest.approx(2.0, rel=0.5)
    again = record(found, stimuli.ids, Stream.of(found, eyes).stages())
    assert reliability(again.data) == pytest.approx(reliability(recorded.data), abs=0.05)
    told = power(found, eyes, stimuli.table, lambdas=(0.0, 0.4), datasets=2)
    rows = {(row.truth, row.statistic): row for row in told.rows}
    assert set(rows) == {(truth, name) for truth in ("hierarchy", "lambda 0.40") for name in ("phi", "transport")}
    assert rows["lambda 0.40", "phi"].supported == 2
    assert rows["hierarchy", "phi"].supported == rows["hierarchy", "transport"].supported == 0
    assert set(told.untestable) == {"D", "late loss"}, "no gratings, and no time bins"
    assert "no gratings" in told.untestable["D"]


def test_time_bins_and_a_third_region_are_asked_about(stimuli) -> None:  # type: ignore[no-untyped-def]
    eyes = seen(stimuli, 8)
    counts = {"V1": 30, "V4": 30, "IT": 30}
    spec = SimulatedRecordings(neuroids=counts, lambdas=(0.5, 0.4, 0.3), reps=4, simple_dimensions=8)
    told = power(spec, eyes, stimuli.table, lambdas=(), timed=True, datasets=2)
    assert [(row.statistic, row.wanted) for row in told.rows] == [
        ("direct path", "SUPPORTED"), ("late loss", "SUPPORTED"), ("late loss", "REFUTED"),
    ]  # fmt: skip
    apart = spec.model_copy(update={"simultaneous": False})
    none = power(apart, eyes, stimuli.table, lambdas=(), datasets=2)
    assert none.rows == []
    assert "same trials" in none.untestable["transport"]


def test_what_has_no_power_says_so(stimuli) -> None:  # type: ignore[no-untyped-def]
    eyes = seen(stimuli, 8)
    spec = SimulatedRecordings(neuroids={"V1": 20}, lambdas=(0.5,), reps=4, simple_dimensions=8)
    one = record(spec, stimuli.ids, Stream.of(spec, eyes).stages())
    with pytest.raises(InputError, match="takes two"):
        scaled(one, eyes)
    with pytest.raises(InputError, match="shown once"):
        reliability(one.data[:1])
    with pytest.raises(InputError, match="No neuroid"):
        reliability(np.ones((3, 10, 2)))


def test_rows_give_the_rate_of_the_right_answer() -> None:
    assert PowerRow("phi", "lambda .1", "SUPPORTED", 20, 15, 1).rate == wilson(15, 20)
    assert PowerRow("phi", "hierarchy", "REFUTED", 20, 0, 18).rate == wilson(18, 20)
    assert shares(0.1, 3) == (0.5, 0.3, 0.1)
