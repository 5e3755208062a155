"""The time-resolved contrast from recordings whose simple share is taken away late, or is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bridge.errors import ConfigError, InputError
from bridge.recordings.recordings import Recordings
from bridge.store import Store
from comparisons.config import parse
from comparisons.editing.recorded import early_and_late, region_contrasts
from comparisons.plan import make_plan
from comparisons.results import Verdict
from comparisons.running import Silent, execute
from comparisons.verdicts.editing import recordings_editing

N, REPS, UNITS = 300, 6, 24
BINS = ((0.0, 70.0), (70.0, 85.0), (85.0, 100.0), (150.0, 200.0))


def said(folder: Path) -> list[Verdict]:
    return [Verdict.model_validate(one) for one in json.loads((folder / "results.json").read_text())["verdicts"]]


def recorded(left: float, seed: int = 0, bins: tuple[tuple[float, float], ...] = BINS) -> tuple[Any, Any, Recordings]:
    """Bands S and C, and recordings in which the share of S's part that stands late is `left` (C's stays)."""
    rng = np.random.default_rng(seed)
    simple, complex_ = rng.standard_normal((N, 8)), rng.standard_normal((N, 12))
    s = simple @ rng.standard_normal((8, UNITS)) / 8**0.5
    c = complex_ @ rng.standard_normal((12, UNITS)) / 12**0.5
    means = [(left if start >= 150 else 1.0) * s + c for start, _ in bins]
    binned = np.stack([mean + rng.standard_normal((REPS, N, UNITS)) for mean in means])
    neuroids = pd.DataFrame({"neuroid_id": range(UNITS), "region": ["V4"] * 12 + ["IT"] * 12, "subject": "a"})
    ids = tuple(f"s{row}" for row in range(N))
    return simple, complex_, Recordings("timed", binned.mean(axis=0), ids, neuroids, time_bins=bins, binned=binned)


@pytest.mark.parametrize(("left", "answer"), [(0.2, "consistent"), (1.0, "not consistent"), (2.0, "not consistent")])
def test_what_is_taken_away_late_is_found(left: float, answer: str) -> None:
    simple, complex_, one = recorded(left)
    windows = early_and_late(one)
    assert windows is not None
    np.testing.assert_allclose(windows[0], one.binned[1:3].mean(axis=0))  # type: ignore[index]
    found = region_contrasts(simple, complex_, *windows, one.neuroids["region"].tolist(), draws=300)
    assert [contrast.answer for contrast in found.values()] == [answer, answer]
    verdict = recordings_editing("timed", found)
    assert verdict.answer == "INCONCLUSIVE"
    assert ("V4: consistent" in verdict.reasons[0]) == (answer == "consistent")
    if left == 1:
        assert abs(found["V4"].estimate) < 0.1


def test_without_bins_in_both_windows_nothing_is_said() -> None:
    assert early_and_late(recorded(1.0, bins=BINS[:3])[2]) is None
    simple, complex_, one = recorded(1.0)
    noise = np.random.default_rng(0).standard_normal((2, REPS, N, UNITS))
    noise[:, :, :, :12] *= 0  # a region that is silent
    assert "V4" not in region_contrasts(simple, complex_, *noise, one.neuroids["region"].tolist(), draws=50)
    verdict = recordings_editing("timed", {})
    assert verdict.answer == "NOT TESTABLE"
    with pytest.raises(InputError, match="two repetitions"):
        region_contrasts(simple, complex_, noise[0][:1], noise[1][:1], ["V4"] * UNITS)


def test_recordings_of_a_config_get_their_verdict(
    tiny: dict[str, Any], written: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    """RDMs, and responses without time bins, are not testable; without dictionaries nothing else is asked."""
    tiny["comparisons"] = [{"kind": "editing"}]
    plan = make_plan(parse(tiny), Store(tmp_path))
    paths, _ = execute(plan, Store(tmp_path), Silent())
    verdicts = [one for name in plan.results for one in said(paths[name])]
    assert [(one.subject, one.answer) for one in verdicts] == [("made", "NOT TESTABLE")]
    assert "only RDMs" in verdicts[0].reasons[0]
    tiny["comparisons"][0]["bands"] = {"model": "nt", "simple": {"sites": ["stem"]}, "complex": {"sites": ["stem"]}}
    with pytest.raises(ConfigError, match="did you mean 'net'"):
        make_plan(parse(tiny), Store(tmp_path))


def test_bands_are_read_from_the_model(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time bins, two repetitions, and bands of a network's sites: the contrast is computed region by region."""
    from comparisons.kinds.editing import EditingComparison

    bands = {"model": "net", "simple": {"sites": ["stem"], "pool": "mean"}}
    bands["complex"] = {"sites": ["blocks.8.hook_resid_post"], "pool": "mean"}
    tiny["stimuli"]["limit"] = {"gratings": 120}
    tiny["comparisons"] = [{"kind": "editing", "bands": bands}]
    config = parse(tiny)
    ids = config.stimuli.load().ids
    rng = np.random.default_rng(0)
    binned = 3 * rng.standard_normal((2, 1, len(ids), 6)) + rng.standard_normal((2, 4, len(ids), 6))
    neuroids = pd.DataFrame({"neuroid_id": range(6), "region": "V4", "subject": "a"})
    one = Recordings(
        "timed", binned.mean(axis=0), ids, neuroids, time_bins=((70.0, 100.0), (150.0, 200.0)), binned=binned
    )
    monkeypatch.setattr(type(config.recordings[0]), "load", lambda self, stimuli: [one])
    assert isinstance(config.comparisons[0], EditingComparison)
    plan = make_plan(config, Store(tmp_path))
    paths, _ = execute(plan, Store(tmp_path), Silent())
    verdicts = [one for name in plan.results for one in said(paths[name])]
    assert verdicts[0].answer == "INCONCLUSIVE"
    assert "V4" in verdicts[0].reasons[0]


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "late"), [("edit", True), ("static", True), ("damping", False), ("residual", False)])
def test_the_contrast_in_simulated_brains(truth: str, late: bool) -> None:
    """Simple information that is deleted late shows in V2 and V4; what fades alike, or stays, does not."""
    from bridge.recordings.simulated import SimulatedRecordings, Stream, analyst_bands, seen
    from bridge.stimuli.battery import Battery

    limit = {"scenes": 400, "textures": 100}
    shown = Battery(name="d", families=("scenes", "textures"), size=64, seed=1, limit=limit)  # type: ignore[arg-type]
    stimuli = shown.load()
    spec = SimulatedRecordings(name="brain", truth=truth, time_bins=True, seed=21, reps=20)  # type: ignore[arg-type]
    one: Any = spec.load(stimuli)[0]
    windows = early_and_late(one)
    assert windows is not None
    bands = analyst_bands(Stream.of(spec, seen(stimuli, spec.simple_dimensions)))
    early, late_ = windows
    regions = one.neuroids["region"].tolist()
    contrasts = region_contrasts(bands.simple, bands.complex, early, late_, regions, draws=300)
    for region in ("V2", "V4"):
        assert contrasts[region].answer == ("consistent" if late else "not consistent")
