"""The simulated ventral stream: what it says of itself is measured again on what it delivers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from bridge.errors import InputError
from bridge.recordings import Recordings, load
from bridge.recordings.simulated import (
    SimulatedRecordings,
    orientation_targets,
    record,
    signal_covariance,
    simulate,
    whitened_energies,
)
from bridge.recordings.simulated.seen import amplitudes_of, gabor_amplitudes, grey_images
from bridge.stimuli.battery import Battery
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet

N = 600
SMALL = {"V1": 40, "V2": 40, "V4": 40, "IT": 60}


def energies(seed: int = 0, n: int = N, d: int = 12) -> np.ndarray:
    """Whitened and skewed, as energies are."""
    values = np.random.default_rng(seed).gamma(2.0, size=(n, d))
    values -= values.mean(0)
    left = np.linalg.svd(values, full_matrices=False)[0]
    return (left * np.sqrt(n)).astype(np.float32)


def spec(**changes: object) -> SimulatedRecordings:
    return SimulatedRecordings.model_validate(
        {"neuroids": SMALL, "reps": 6, "simple_dimensions": 12, "complex_dimensions": 16, **changes}
    )


IDS = tuple(f"s{number:03d}" for number in range(N))


def recorded(given: SimulatedRecordings) -> Recordings:
    return record(given, IDS, simulate(given, energies()))


def held_out_r2(x: np.ndarray, y: np.ndarray) -> float:
    """R2 on the second half of the stimuli of ridge regression fitted on the first, pooled over the columns of y."""
    half = len(x) // 2
    x = (x - x[:half].mean(0)) / x[:half].std(0)
    gram = x[:half].T @ x[:half] + half * np.eye(x.shape[1])
    fitted = x[half:] @ np.linalg.solve(gram, x[:half].T @ (y[:half] - y[:half].mean(0))) + y[:half].mean(0)
    return float(1 - ((y[half:] - fitted) ** 2).sum() / ((y[half:] - y[half:].mean(0)) ** 2).sum())


@pytest.mark.parametrize(
    "changes",
    [
        {"truth": "residual"},
        {"truth": "nhbt"},
        {"truth": "residual", "coupled": True},
        {"truth": "residual", "lambdas": (0.3, 0.2, 0.15, 0.1), "noise": 0.2},
    ],
)
def test_realised_lambdas_are_those_asked_for(changes: dict[str, object]) -> None:
    """Measured otherwise than the generator does: by regressing u, averaged over trials that it did not scale on, on
    the energies themselves. The simple part is linear in S_1 in every stage, so its share is a' Cov(S) a.
    """
    given = spec(**changes)
    own = energies().astype(float)
    own -= own.mean(0)
    for stage, asked in zip(simulate(given, energies()), given.asked, strict=True):
        simple = stage.simple_drive.mean(0, dtype=float)
        fitted = own @ np.linalg.lstsq(own, simple - simple.mean(0), rcond=None)[0]
        # Noise-corrected signal variance of the whole drive.
        trials = stage.drive.astype(float)
        signal = trials.mean(0).var(0) - trials.var(0, ddof=1).mean(0) / len(trials)
        assert np.mean(fitted.var(0) / signal) == pytest.approx(asked, abs=0.01)
        assert stage.realised() == pytest.approx(asked, abs=0.005)


def test_the_complex_part_is_free_of_the_simple_one_unless_coupled() -> None:
    assert all(stage.coupling < 0.03 for stage in simulate(spec(), energies()))
    assert all(stage.coupling < 0.03 for stage in simulate(spec(truth="nhbt"), energies())[:3])
    assert simulate(spec(coupled=True), energies())[0].coupling > 0.1


def test_simple_information_reaches_it_in_a_residual_stream_and_not_in_a_hierarchy() -> None:
    """Linear read-outs of log counts, averaged over trials."""
    own = energies()

    def read(given: SimulatedRecordings, region: str) -> float:
        return held_out_r2(np.log(recorded(given).region(region).data.mean(0) + 0.5), own)

    assert read(spec(), "IT") > 0.5
    assert read(spec(truth="nhbt"), "V1") > 0.5
    assert read(spec(truth="nhbt"), "IT") < 0.05


def test_trial_noise_of_the_first_stage_arrives_in_the_last_only_in_a_residual_stream() -> None:
    """Correlation, within stimuli, of the simple state's trial noise in V1 and in IT: 1 / 2 if all is inherited."""

    def inherited(truth: str) -> float:
        stages = simulate(spec(truth=truth), energies())
        first, last = (stage.simple - stage.simple.mean(0) for stage in (stages[0], stages[-1]))
        return float((first * last).sum() / np.sqrt((first**2).sum() * (last**2).sum()))

    assert inherited("residual") == pytest.approx(0.5, abs=0.02)
    assert abs(inherited("nhbt")) < 0.02


def test_counts_are_those_of_a_modulated_poisson_process() -> None:
    """Without variability of u, counts have the mean asked for, and Var = mu + sG^2 mu^2 (Goris et al. 2014)."""
    quiet = spec(
        reps=40,
        noise=0,
        private_noise=0,
        gain_variance=(0.0, 0.3),
        mean_count=8,
        neuroids={"V1": 30, "IT": 30},
        lambdas=(0.5, 0.3),
    )
    found = recorded(quiet)
    assert found.data.mean() == pytest.approx(8, rel=0.1)
    for region, gain_variance in (("V1", 0.0), ("IT", 0.3)):
        counts = found.region(region).data
        assert np.array_equal(counts, counts.round())
        assert counts.min() >= 0
        mean, variance = counts.mean(0).ravel(), counts.var(0, ddof=1).ravel()
        excess = ((variance - mean) * mean**2).sum() / (mean**4).sum()
        assert excess == pytest.approx(gain_variance, abs=0.03)
    fano = [np.mean(recorded(spec()).region(r).data.var(0, ddof=1).mean(0)) / 5 for r in ("V1", "IT")]
    assert 1 < fano[0] < fano[1]


def test_the_same_seed_gives_the_same_counts_and_another_seed_others() -> None:
    first, again, other = (recorded(spec(seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.data, again.data)
    assert not np.array_equal(first.data, other.data)
    # Another display name changes neither counts nor fingerprint; another order of regions changes the fingerprint.
    assert spec(name="other").fingerprint() == spec().fingerprint()
    turned = dict(reversed(SMALL.items()))
    assert spec(neuroids=turned).fingerprint() != spec().fingerprint()


def test_signal_covariance_leaves_out_trial_noise() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((1, 4000, 3)) * [1, 2, 0]
    trials = signal + rng.standard_normal((4, 4000, 3))
    np.testing.assert_allclose(signal_covariance(trials.astype(np.float32)), [1, 4, 0], atol=0.12)


def image_set(n: int = 96, size: int = 128) -> StimulusSet:
    """Gratings of 12 orientations and 4 frequencies at two phases, as images in memory."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    rows, images = [], []
    for number in range(n):
        orientation, cycles, phase = 15 * (number % 12), (3, 5, 8, 13)[number // 12 % 4], 90 * (number // 48)
        theta = np.deg2rad(orientation)
        across = -axis[None, :] * np.sin(theta) - axis[:, None] * np.cos(theta)
        value = 0.5 + 0.5 * np.cos(2 * np.pi * cycles * across + np.deg2rad(phase))
        images.append(np.repeat(np.uint8(value * 255)[:, :, None], 3, axis=2))
        rows.append((f"grating-{number:03d}", "gratings", float(orientation), cycles))
    table = pd.DataFrame(rows, columns=["stimulus_id", "family", "orientation", "cycles"]).set_index("stimulus_id")
    return StimulusSet("gratings", table, ArraySource(np.stack(images)))


def test_loading_for_images_gives_labelled_recordings_of_all_regions() -> None:
    stimuli = image_set()
    (found,) = load({"kind": "simulated", "reps": 4, "simple_dimensions": 12}, stimuli)
    assert isinstance(found, Recordings)
    assert found.stimulus_ids == stimuli.ids
    assert found.data.shape == (4, 96, 102 + 103 + 88 + 168)
    assert found.regions == ("V1", "V2", "V4", "IT")
    assert found.simulated
    assert found.simultaneous
    assert "SIMULATED" in found.citation
    assert found.truth["lambda_asked"] == {"V1": 0.5, "V2": 0.4, "V4": 0.35, "IT": 0.3}
    assert found.truth["lambda"]["IT"] == pytest.approx(0.3, abs=0.01)
    assert found.neuroids["neuroid_id"].is_unique


def test_energies_are_whitened_and_too_few_stimuli_are_refused() -> None:
    images = np.random.default_rng(0).random((60, 128, 128), np.float32)
    white = whitened_energies(images, 8)
    np.testing.assert_allclose(white.T @ white / 60, np.eye(8), atol=1e-4)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)
    with pytest.raises(InputError, match="at least 96 different ones"):
        whitened_energies(images, 24)
    with pytest.raises(InputError, match="too alike"):
        whitened_energies(np.repeat(images[:1], 60, axis=0), 8)


def test_amplitudes_of_the_last_few_sets_are_kept_and_are_those_of_their_images() -> None:
    sets = [
        Battery(name="few", families=("textures",), size=32, seed=s, limit={"textures": 15}).load() for s in range(6)
    ]
    first = amplitudes_of(sets[0])
    assert amplitudes_of(sets[0]) is first
    np.testing.assert_array_equal(first, gabor_amplitudes(grey_images(sets[0])))
    for other in sets[1:]:
        assert not np.array_equal(amplitudes_of(other), first)
    again = amplitudes_of(sets[0])
    assert again is not first, "older ones go"
    np.testing.assert_array_equal(again, first)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_orientation_is_taken_apart_by_family_and_frequency() -> None:
    targets = orientation_targets(image_set().table)
    assert [len(rows) for rows, _ in targets] == [24] * 4
    rows, values = targets[0]
    np.testing.assert_allclose(values[1], [np.cos(np.pi / 6), np.sin(np.pi / 6)])
    assert rows[1] == 1
    assert orientation_targets(pd.DataFrame({"x": [1.0]})) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lambdas": (0.5, 0.4)}, "4 regions need `lambdas`"),
        ({"lambdas": (0.5, 0.4, 0.3, 1.2)}, "a share"),
        ({"truth": "nhbt", "lambdas": (0.1, 0.4, 0.3, 0.2)}, "cannot rise"),
        ({"truth": "nhbt", "coupled": True}, "leave `coupled` out"),
        ({"reps": 1}, "greater than or equal to 2"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**changes)
