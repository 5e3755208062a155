"""P2 of whole recordings: what they can answer is answered, and what they cannot is NOT TESTABLE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bridge.errors import ConfigError, InputError
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.recordings.simulated import Seen, SimulatedRecordings, Stream, record
from comparisons.config import parse
from comparisons.running import run
from comparisons.variability.recorded import Judged, factor_values, judge, with_repetitions

N, D = 100, 8


def energies() -> np.ndarray:
    values = np.random.default_rng(5).gamma(3.0, size=(N, D))
    values -= values.mean(0)
    return (np.linalg.svd(values, full_matrices=False)[0] * np.sqrt(N)).astype(np.float32)


def brain(truth: str, **changes: object) -> Recordings:
    areas = {"V1": 60, "V2": 60, "V4": 60, "IT": 80}
    asked = {"truth": truth, "neuroids": areas, "reps": 20, "simple_dimensions": D, "complex_dimensions": 12}
    spec = SimulatedRecordings.model_validate({**asked, **changes})
    stream = Stream.of(spec, Seen(energies()))
    return record(spec, tuple(f"s{n:03d}" for n in range(N)), stream.stages())


def judged(one: Recordings | RegionRDMs, values: np.ndarray | None = None, **changes: object) -> Judged:
    given = energies() if values is None else values
    return judge(one, given, **{"draws": 200, "permutations": 99, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("truth", "answer"),
    [("residual", "SUPPORTED"), ("recode", "SUPPORTED"), ("nhbt", "REFUTED"), ("gain", "REFUTED"),
     ("parallel", "REFUTED")],
)  # fmt: skip
def test_simulated_brains_get_the_answer_that_is_true_of_them(truth: str, answer: str) -> None:
    told = judged(brain(truth, reps=40 if truth == "parallel" else 20))
    assert told.verdict.answer == answer
    assert told.verdict.simulated
    assert all(row["simulated"] for row in told.results)
    assert len(told.curves["transport"]) == 6
    fano = [row["estimate"] for row in told.results if row["measure"] == "Fano factor"]
    assert 1 < fano[0] < fano[-1]  # the generator's gain variance rises from V1 to IT


def test_a_bypass_is_reported_and_decides_nothing() -> None:
    told = judged(brain("bypass", dynamics="nhbt", reps=40))
    assert told.verdict.answer == "SUPPORTED"
    assert any("bypass or common input" in reason for reason in told.verdict.reasons)


def test_without_the_gain_correction_a_shared_gain_looks_like_a_shared_error() -> None:
    """The trap: T is far from 0 in a strict hierarchy whose neuroids share a gain."""
    from comparisons.variability.decoder_error import transports

    one = brain("gain", shared_gain=0.3, lambdas=(0.5, 0.4, 0.3, 0.2))
    regions = one.neuroids["region"].tolist()
    naive, corrected = (
        transports(one.data, regions, energies(), correct_gain=correct, draws=100)[0] for correct in (False, True)
    )
    assert corrected.rel.value < naive.rel.value
    assert abs(corrected.cal.value - naive.cal.value) > 0.02


def test_areas_recorded_apart_give_weak_evidence_alone() -> None:
    told = judged(brain("residual", simultaneous=False))
    assert told.verdict.answer == "INCONCLUSIVE"
    assert "weak evidence" in told.verdict.reasons[0]
    assert {row["region"] for row in told.results if row["measure"] == "variance profile, added R2"} == {
        "V2", "V4", "IT"
    }  # fmt: skip


def cut(one: Recordings, **changes: object) -> Recordings:
    return replace(one, **changes)  # type: ignore[arg-type]


def test_what_cannot_be_tested_is_not_tested() -> None:
    whole = brain("residual")
    few = whole.select(stimuli=np.arange(30))
    silent = whole.data.copy()
    silent[:, :, (whole.neuroids["region"] == "IT").to_numpy()] = 3
    cases = {
        "shown once": judged(cut(whole, data=whole.data[:1])),
        "only V1": judged(whole.region("V1")),
        "30 stimuli are too few": judged(few, energies()[:30]),
        "IT has 0 reliable neuroids": judged(cut(whole, data=silent)),
        "nothing is known of the stimuli": judge(whole, None, draws=100),
        "only RDMs": judged(RegionRDMs("r", "IT", np.zeros((1, 3)), ("a", "b", "c"), ("one",))),
        "of their variance profiles: 30 stimuli": judged(cut(few, simultaneous=False), energies()[:30]),
    }
    for why, told in cases.items():
        assert told.verdict.answer == "NOT TESTABLE", why
        assert why in told.verdict.reasons[0]
        assert not told.verdict.numbers


def test_areas_that_were_not_recorded_are_missing_not_filled_in() -> None:
    whole = brain("residual")
    without = whole.select(neuroids=(whole.neuroids["region"] != "V2").to_numpy())
    told = judged(without, order=["V1", "V2", "V4", "IT"])
    assert told.verdict.answer == "SUPPORTED"
    assert "simulated ventral stream: V2 was not recorded" in told.dropped
    assert not any("V2" in name for name in told.verdict.numbers)


def test_stimuli_without_repetitions_are_left_out() -> None:
    whole = brain("residual")
    data = whole.data.copy()
    data[1:, ::2] = np.nan
    data[:, 1, -1] = np.nan  # one neuroid missed one of the others
    kept = with_repetitions(cut(whole, data=data))
    assert kept.stimulus_ids == whole.stimulus_ids[3::2]
    assert "51 of 100 stimuli, without two trials" in kept.dropped[-1]
    assert with_repetitions(whole) is whole
    told = judged(kept, energies()[3::2])
    assert told.verdict.answer in ("SUPPORTED", "INCONCLUSIVE")
    none = judged(with_repetitions(cut(whole, data=np.where(np.arange(20)[:, None, None] < 1, data, np.nan))),
                  np.zeros((0, D)))  # fmt: skip
    assert none.verdict.answer == "NOT TESTABLE"


def test_factors_are_columns_of_the_stimuli() -> None:
    table = pd.DataFrame({"orientation": [0.0, 45, 90], "x": [1.0, 2, 3], "name": ["a", "b", "c"]})
    found = factor_values(table, ["orientation", "x"])
    np.testing.assert_allclose(found, [[1, 0, 1], [0, 1, 2], [-1, 0, 3]], atol=1e-12)
    with pytest.raises(InputError, match="no column 'y'"):
        factor_values(table, ["y"])
    with pytest.raises(InputError, match="no numbers"):
        factor_values(table, ["name"])


def test_a_config_of_recordings_alone_gives_verdicts(tmp_path: Path) -> None:
    small = {"kind": "simulated", "reps": 8, "simple_dimensions": 8, "complex_dimensions": 8,
             "neuroids": {"V1": 40, "IT": 40}, "lambdas": (0.5, 0.4)}  # fmt: skip
    config = {
        "name": "p2", "question": "?", "models": [],
        "stimuli": {"kind": "battery", "name": "drawn", "families": ["textures"], "limit": {"textures": 48}},
        "recordings": [{**small, "name": "one"}, {**small, "name": "apart", "simultaneous": False}],
        "comparisons": [{"kind": "variability", "draws": 100, "permutations": 100, "variables": 8}],
    }  # fmt: skip
    made = run(parse(config), tmp_path / "run")
    assert {verdict.subject: verdict.answer for verdict in made.verdicts}["apart"] == "INCONCLUSIVE"
    assert all(verdict.prediction == "P2 variability" for verdict in made.verdicts)
    assert any(result.measure == "transport, calibrated from V1" for result in made.results)
    config["comparisons"][0]["recordings"] = ["on"]
    with pytest.raises(ConfigError, match="there are no recordings 'on'"):
        run(parse(config), tmp_path / "other")
