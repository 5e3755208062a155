"""What each truth of the simulated stream is, seen directly in its states."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from bridge.errors import InputError
from bridge.recordings import load
from bridge.recordings.simulated import (
    Seen,
    SimulatedRecordings,
    Stage,
    Stream,
    analyst_bands,
    record,
    simulate,
    whitened_energies,
)
from bridge.recordings.simulated.seen import object_factors
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet

N, D = 300, 8
SMALL = {"V1": 20, "V2": 20, "V4": 20, "IT": 20}


def spec(**changes: object) -> SimulatedRecordings:
    return SimulatedRecordings.model_validate(
        {"neuroids": SMALL, "reps": 6, "simple_dimensions": D, "complex_dimensions": 12, **changes}
    )


def energies(n: int = N, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).gamma(3.0, size=(n, D))
    values -= values.mean(0)
    return (np.linalg.svd(values, full_matrices=False)[0] * np.sqrt(n)).astype(np.float32)


def objects(n: int = N) -> np.ndarray:
    values = np.random.default_rng(9).standard_normal((n, 3))
    return ((values - values.mean(0)) / values.std(0)).astype(np.float32)


def stream(**changes: object) -> Stream:
    return Stream.of(spec(**changes), Seen(energies(), (), objects()))


def noise_of(state: np.ndarray) -> np.ndarray:
    """What differs between trials of the same stimulus."""
    return state - state.mean(0)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def read(state: np.ndarray, target: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
    """R2 over the second half of the stimuli of a linear reader of trial averages that learnt from the first."""
    x, y = state.mean(0)[rows], target[rows]
    half = len(x) // 2
    x = np.c_[x, np.ones(len(x))]
    fitted = x[half:] @ np.linalg.lstsq(x[:half], y[:half], rcond=None)[0]
    return float(1 - ((y[half:] - fitted) ** 2).sum() / ((y[half:] - y[:half].mean(0)) ** 2).sum())


def whole(stage: Stage) -> np.ndarray:
    return np.concatenate([stage.simple, stage.complex], axis=2)


@pytest.mark.parametrize("truth", ["residual", "edit", "bypass", "recode", "parallel", "common"])
def test_simple_information_is_read_from_the_last_state_where_it_stays(truth: str) -> None:
    assert read(whole(stream(truth=truth).stages()[-1]), energies()) > 0.6


@pytest.mark.parametrize("truth", ["residual", "recode", "edit", "parallel"])
def test_a_stream_shown_some_of_its_stimuli_keeps_its_maps(truth: str) -> None:
    made, rows = stream(truth=truth), np.arange(3, N, 7)
    part = made.shown(rows, 5)
    for one, all_ in zip(part.noiseless(), made.noiseless(), strict=True):
        np.testing.assert_allclose(one.drive, all_.drive[:, rows], atol=1e-4)
    stages = part.stages()
    assert all(stage.simple.shape == (5, len(rows), D) for stage in stages)
    assert np.abs(noise_of(stages[-1].simple)).max() > 0
    recorded = record(part.spec, tuple(map(str, rows)), stages)
    assert recorded.data.shape == (5, len(rows), 80)


@pytest.mark.parametrize("truth", ["nhbt", "untangle", "gain"])
def test_simple_information_is_not_read_from_the_last_state_where_it_is_used_up(truth: str) -> None:
    stages = stream(truth=truth).stages()
    assert read(whole(stages[0]), energies()) > 0.9
    assert read(whole(stages[-1]), energies()) < 0.05
    assert [round(stage.realised(), 2) for stage in stages] == pytest.approx([0.5, 0.15, 0.03, 0], abs=0.03)


def test_objects_come_forth_where_edges_go_under() -> None:
    found = [read(stage.complex, objects()) for stage in stream(truth="untangle").stages()]
    assert found[0] < 0.1
    assert found[-1] > 0.8
    assert found == sorted(found)
    assert read(stream(truth="nhbt").stages()[-1].complex, objects()) < 0.1


def test_leaks_are_there_for_natural_stimuli_alone() -> None:
    """Half of the stimuli stand for gratings: among them, and in a strict hierarchy, C is free of S."""
    factorial = np.arange(N // 2, N)
    target = [(factorial, energies()[factorial][:, :2].astype(float))]
    natural = np.arange(N // 2)

    def coupling(truth: str, rows: np.ndarray) -> float:
        (first, *_) = simulate(spec(truth=truth), energies(), target)
        s, c = first.simple.mean(0)[rows], first.complex.mean(0)[rows]
        s, c = s - s.mean(0), c - c.mean(0)
        return float(1 - ((c - s @ np.linalg.lstsq(s, c, rcond=None)[0]) ** 2).sum() / (c**2).sum())

    assert coupling("leak", natural) > 0.1
    assert coupling("leak", factorial) < 0.03
    assert coupling("nhbt", natural) < 0.03


@pytest.mark.parametrize("gated", [0.25, 0.5])
def test_editing_deletes_some_dimensions_where_the_gate_is_open(gated: float) -> None:
    edited = stream(truth="edit", gated=gated)
    first, second, *_ = edited.stages()
    open_ = edited.gate == 1
    assert open_.mean() == pytest.approx(gated, abs=0.02)

    def slopes(rows: np.ndarray) -> np.ndarray:
        """What of each dimension of S is passed on, by regression over trials and stimuli."""
        x, y = first.simple[:, rows], second.simple[:, rows]
        return (x * y).sum((0, 1)) / (x**2).sum((0, 1))

    deleted = slopes(open_)
    assert sorted(np.round(deleted / 0.2)) == [1] * (D // 2) + [5] * (D - D // 2)  # 1 - .8, or all
    np.testing.assert_allclose(slopes(~open_), 1, atol=0.05)


def test_a_static_deletion_has_no_gate() -> None:
    assert stream(truth="static").gate.min() == 1


@pytest.mark.parametrize(
    ("truth", "expected"),
    [("residual", 0.5), ("edit", None), ("recode", None), ("parallel", 0.0), ("common", 0.5), ("nhbt", 0.0)],
)
def test_what_the_last_stage_inherits_of_the_first_ones_noise(truth: str, expected: float | None) -> None:
    """Correlation of the noise of S in V1 and IT: 1/2 where each of four stages adds as much as V1 (1 / sqrt 4), and
    where common noise is as large as own noise."""
    first, *_, last = stream(truth=truth).stages()
    if truth == "recode":  # another basis: the noise of S is read there through the map of the trial averages
        back = np.linalg.lstsq(last.simple.mean(0), first.simple.mean(0), rcond=None)[0]
        assert correlation(noise_of(first.simple), noise_of(last.simple) @ back) > 0.3
        return
    found = correlation(noise_of(first.simple), noise_of(last.simple))
    assert found == pytest.approx(0.5 if expected is None else expected, abs=0.1 if expected is None else 0.03)


@pytest.mark.parametrize("dynamics", ["residual", "nhbt"])
def test_a_bypass_carries_noise_around_the_stage_between(dynamics: str) -> None:
    """V1's noise in V4 given V2's: with weight 0 in a chain, and with B (scaled back) where there is a bypass."""

    def direct(**changes: object) -> float:
        first, second, third, _ = stream(dynamics=dynamics, **changes).stages()
        x = np.stack([noise_of(stage.simple).ravel() for stage in (first, second)], axis=1)
        return float(np.linalg.lstsq(x, noise_of(third.simple).ravel(), rcond=None)[0][0])

    assert direct() == pytest.approx(0, abs=0.02)
    assert direct(truth="bypass") > 0.3


def test_shared_gain_is_shared_by_all_areas_only_in_simultaneous_trials() -> None:
    def shared(**changes: object) -> float:
        made = stream(truth="gain", reps=20, shared_gain=0.3, **changes)
        found = record(made.spec, tuple(map(str, range(N))), made.stages())
        early, late = (noise_of(found.region(name).data.sum(2)) for name in ("V1", "IT"))
        return correlation(early, late)

    assert shared() > 0.3
    assert abs(shared(simultaneous=False)) < 0.05


def test_areas_that_were_not_recorded_together_share_no_noise_and_have_the_same_maps() -> None:
    together, apart = (stream(simultaneous=simultaneous).stages() for simultaneous in (True, False))
    np.testing.assert_array_equal(together[0].simple, apart[0].simple)
    assert abs(correlation(noise_of(apart[0].simple), noise_of(apart[-1].simple))) < 0.02
    # The same signal: neuroids read the same states, in other trials.
    np.testing.assert_array_equal(together[-1].readout.simple, apart[-1].readout.simple)
    means = [stages[-1].drive.mean(0) for stages in (together, apart)]
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.9


def test_time_bins_edit_late() -> None:
    made = stream(truth="edit", gated=1.0, time_bins=True)
    early, late = (made.stages(bin)[-1].simple for bin in ("early", "late"))
    ratio = np.sort(late.mean(0).std(0) / early.mean(0).std(0))
    assert ratio[: D // 2].max() < 0.3
    assert ratio[D // 2 :].min() > 0.9
    same = correlation(noise_of(made.stages("early")[0].simple), noise_of(made.stages("late")[0].simple))
    assert same == pytest.approx(0.5, abs=0.05)
    quiet = stream(truth="damping", time_bins=True)
    early, late = (quiet.stages(bin)[1] for bin in ("early", "late"))
    for part in ("simple", "complex"):
        before, after = (getattr(stage, part).mean(0).std() for stage in (early, late))
        assert after / before == pytest.approx(0.5, abs=0.05)


def test_seeds() -> None:
    def counts(seed: int, **changes: object) -> np.ndarray:
        made = stream(truth="gain", seed=seed, **changes)
        return record(made.spec, tuple(map(str, range(N))), made.stages()).data

    np.testing.assert_array_equal(counts(3), counts(3))
    assert not np.array_equal(counts(3), counts(4))
    # Truths share V1 where they do not speak of it, so that what differs later is theirs.
    ours = [stream(truth=truth).stages()[0].drive for truth in ("residual", "nhbt", "bypass")]
    np.testing.assert_array_equal(ours[0], ours[1])
    np.testing.assert_array_equal(ours[0], ours[2])


def test_the_analysts_bands_hide_what_they_should() -> None:
    made = stream(truth="leak")
    full, half, coupled = (analyst_bands(made, *how) for how in ((0.0,), (0.5,), (0.5, "coupled")))
    assert full.complex.shape == (N, 4 * 12)
    assert half.complex.shape == coupled.complex.shape == (N, 4 * 6)
    assert half.hidden.sum() == 24
    np.testing.assert_array_equal(full.complex[:, ~half.hidden], half.complex)
    s = made.seen.energies - made.seen.energies.mean(0)

    def told(columns: np.ndarray) -> float:
        c = columns - columns.mean(0)
        return float(1 - ((c - s @ np.linalg.lstsq(s, c, rcond=None)[0]) ** 2).sum() / (c**2).sum())

    assert told(full.complex[:, coupled.hidden]) > told(full.complex[:, ~coupled.hidden]) + 0.05
    with pytest.raises(InputError, match="a share from 0 to below 1"):
        analyst_bands(made, 1.0)


def scene_set(n: int = 60) -> StimulusSet:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (n, 64, 64, 3), dtype=np.uint8)
    table = pd.DataFrame(rng.standard_normal((n, 3)), columns=["x", "y", "size"], index=[f"s{i}" for i in range(n)])
    return StimulusSet("scenes", table.rename_axis("stimulus_id"), ArraySource(images))


def test_a_config_can_ask_for_time_bins_and_objects() -> None:
    asked = {"kind": "simulated", "truth": "untangle", "neuroids": SMALL, "reps": 4, "simple_dimensions": 8,
             "complex_dimensions": 8}  # fmt: skip
    (found,) = load({**asked, "time_bins": True}, scene_set())
    assert found.time_bins == ((70.0, 100.0), (150.0, 200.0))
    np.testing.assert_array_equal(found.binned.sum(0), found.data)
    assert found.truth["lambda_late"]["IT"] == 0
    bare = scene_set()
    bare = StimulusSet("bare", bare.table[[]], bare.source)
    with pytest.raises(InputError, match="columns x, y and size"):
        load(asked, bare)
    assert object_factors(bare.table) is None


def test_components_are_those_of_the_reference_rows() -> None:
    images = np.random.default_rng(0).random((80, 128, 128), np.float32)
    images[60:] *= 3
    rows = np.arange(60)
    found = whitened_energies(images, 8, rows)
    assert found.shape == (80, 8)
    np.testing.assert_allclose(found[rows], whitened_energies(images[rows], 8), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": "residul"}, "'residual', 'edit'"),
        ({"kept": (1.0,)}, "need 3 values of `kept`"),
        ({"truth": "damping"}, "add `time_bins: true`"),
        ({"lambdas": (0.5, 0.4, 0.3, 1.0)}, "a share below 1"),
        ({"truth": "untangle", "complex_dimensions": 3}, "take three complex dimensions"),
        ({"shared_gain": -1}, "greater than or equal to 0"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**changes)
