"""Recordings themselves: selection, time bins, missing regions, the sentence on layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bridge.errors import ConfigError, InputError
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.recordings.selection import layer_clause, missing_regions, of_regions, shown_among
from bridge.stimuli.stimulus_set import StimulusSet

RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((2, 3, 4))


def small(**more: Any) -> Recordings:
    neuroids = pd.DataFrame({"neuroid_id": list("abcd"), "region": ["V1", "IT", "V1", "V4"], "subject": "m"})
    given: dict[str, Any] = {"data": DATA, "stimulus_ids": ("x", "y", "z"), "neuroids": neuroids, **more}
    return Recordings("small", **given)


def test_selection_takes_all_arrays_along() -> None:
    trials = np.array([["t1", "t2", "t3"], ["t4", "t5", "t6"]])
    binned = np.stack([DATA, -DATA])
    one = small(trial_ids=trials, time_bins=((0, 50), (50, 100)), binned=binned)
    part = one.select(stimuli=np.array([2, 0]), neuroids=np.array([True, False, False, True]))
    np.testing.assert_array_equal(part.data, DATA[:, [2, 0]][:, :, [0, 3]])
    np.testing.assert_array_equal(part.binned, binned[:, :, [2, 0]][..., [0, 3]])
    np.testing.assert_array_equal(part.trial_ids, trials[:, [2, 0]])
    assert part.stimulus_ids == ("z", "x")
    assert list(part.neuroids["neuroid_id"]) == ["a", "d"]
    assert one.region("V1").data.shape == (2, 3, 2)
    np.testing.assert_array_equal(one.at(1).data, -DATA)
    assert one.at(1).binned is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"data": DATA[:, :2]}, "expected \\[rep, 3 stimuli, 4 neuroids\\]"),
        ({"binned": DATA[None]}, "none without time bins"),
        ({"time_bins": ((0, 50),)}, "expected \\[1 time bins"),
        ({"trial_ids": np.zeros((3, 3), str)}, "expected one a trial, \\(2, 3\\)"),
        ({"stimulus_ids": ("x", "x", "y")}, "a stimulus id twice"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**fields)


def test_missing_regions_are_reported_and_never_filled_in() -> None:
    assert missing_regions(["IT", "V1"]) == ("V2", "V4")
    assert missing_regions(["V4"], ["V1", "V4"]) == ("V1",)
    assert missing_regions(["EVC"]) == ()
    (kept,) = of_regions([small()], ["V1", "V2"], "They")
    assert isinstance(kept, Recordings)
    assert kept.regions == ("V1",)
    assert kept.dropped == ("V2: not in these recordings",)
    with pytest.raises(ConfigError, match="They has no region 'V11'; did you mean 'V1'"):
        of_regions([small()], ["V1", "V11"], "They")
    with pytest.raises(ConfigError, match="no region 'V2'"):
        of_regions([small()], ["V2"], "They")
    rdms = RegionRDMs("r", "IT", np.zeros((1, 3)), ("x", "y", "z"), ("m",))
    assert of_regions([rdms, small()], ["IT"], "They")[0] == rdms


def test_recordings_without_images_are_not_matched_to_stimuli() -> None:
    stimuli = StimulusSet("others", pd.DataFrame(index=pd.Index(["q"], name="stimulus_id")), None)
    alone = small(images=False)
    assert shown_among(alone, stimuli) is alone
    with pytest.raises(InputError, match="None of the 3 stimuli"):
        shown_among(small(), stimuli)


def test_the_layer_clause_is_never_called_tested() -> None:
    assert layer_clause([small()]).startswith("layer-5 clause: NOT TESTED (no recordings say")
    known = small()
    known.neuroids["layer"] = ["5", "", None, "2/3"]
    said = layer_clause([known, small()])
    assert "NOT TESTED" in said
    assert "2 of 8 neuroids is known: 2/3, 5" in said
