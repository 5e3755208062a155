"""Ceilings against Brain-Score's classes, and estimators against what is known of simulated neuroids."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import InputError
from comparisons.encoding.ceilings import (
    ceiling_score,
    internal_consistency,
    leave_one_subject_out,
    noise_corrected_r2,
    normalised,
)


def trials(reps: int, n: int = 60, q: int = 6, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 5 + rng.standard_normal((n, q)) + noise * rng.standard_normal((reps, n, q))


@pytest.mark.parametrize("reps", [2, 5, 10])
def test_internal_consistency_is_brainscores(reps: int) -> None:
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
    from brainscore_vision import load_ceiling

    values = trials(reps, n=20)
    names = [f"s{row:02d}" for row in range(20)]
    assembly = NeuroidAssembly(
        values.reshape(-1, 6),
        coords={
            "stimulus_id": ("presentation", names * reps),
            "object_name": ("presentation", [name[-1] for name in names] * reps),
            "repetition": ("presentation", np.repeat(np.arange(reps), 20)),
            "neuroid_id": ("neuroid", [f"n{column}" for column in range(6)]),
            "region": ("neuroid", ["IT"] * 6),
        },
        dims=["presentation", "neuroid"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = load_ceiling("internal_consistency")(assembly)
    ours = internal_consistency(values)
    np.testing.assert_allclose(ours, theirs.attrs["raw"].transpose("split", "neuroid").values, atol=1e-10)
    assert ceiling_score(ours) == pytest.approx(float(theirs), abs=1e-10)


def test_normalisation_is_brainscores() -> None:
    from brainscore_core import Score
    from brainscore_vision.benchmark_helpers.neural_common import explained_variance

    assert float(explained_variance(Score(0.5), Score(0.8))) == pytest.approx(float(normalised(0.5, 0.8)))
    assert float(normalised(0.5, 0.8, "(r/c)^2")) == pytest.approx((0.5 / 0.8) ** 2)
    with pytest.raises(InputError, match=r"no normalisation"):
        normalised(0.5, 0.8, "r/c")


def test_missing_repetitions_do_not_count() -> None:
    values = trials(6, n=200, q=40)
    whole = ceiling_score(internal_consistency(values))
    values[4:, :80] = np.nan  # fewer repetitions of some stimuli
    values[1:, 80:90, 3] = np.nan  # one repetition: one of the halves lacks it
    found = internal_consistency(values)
    assert np.isfinite(found).all()
    assert ceiling_score(found) == pytest.approx(whole, abs=0.05)
    with pytest.raises(InputError, match="at least 2 repetitions"):
        internal_consistency(values[:1])


def test_noise_corrected_r2_is_unbiased() -> None:
    """A prediction that shares half of the signal's variance: .5 whatever the noise, and 0 for one that shares none."""
    rng = np.random.default_rng(0)
    signal, other, none = rng.standard_normal((3, 300, 400))
    responses = 3 + signal + 2 * rng.standard_normal((4, 300, 400))
    half = (signal + other) / np.sqrt(2)
    for prediction, expected in ((half, 0.5), (none, 0.0), (signal, 1.0)):
        found = noise_corrected_r2(7 * prediction, responses)
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / 20 + 2e-3)
    assert noise_corrected_r2(none, responses, "schoppe").mean() > 0.004
    raw = np.array([np.corrcoef(half[:, k], responses.mean(0)[:, k])[0, 1] ** 2 for k in range(400)])
    assert raw.mean() < 0.3


def test_noise_corrected_r2_follows_its_definition_and_takes_unequal_repetitions() -> None:
    values = trials(4, n=50, q=3)
    rng = np.random.default_rng(1)
    prediction = values.mean(0) + rng.standard_normal((50, 3))
    found = noise_corrected_r2(prediction, values)
    for k in range(3):
        v, y = prediction[:, k] - prediction[:, k].mean(), values[:, :, k].mean(0) - values[:, :, k].mean()
        noise = values[:, :, k].var(axis=0, ddof=1).mean() / 4
        assert found[k] == pytest.approx(((v @ y) ** 2 / (v @ v) - noise) / (y @ y - 49 * noise))
    many = trials(40, n=400, q=60, noise=2)
    predicted = trials(1, n=400, q=60, noise=0)[0]  # the same signal
    many[5:, ::2] = np.nan
    many[:, ::7, 0] = np.nan
    assert noise_corrected_r2(predicted, many).mean() == pytest.approx(1, abs=0.01)
    assert np.isnan(noise_corrected_r2(predicted, many[:1])).all()


def test_other_subjects_as_a_ceiling() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((150, 5))
    responses = shared @ rng.standard_normal((5, 30)) + 0.5 * rng.standard_normal((150, 30))
    subjects = ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    found = leave_one_subject_out(responses, subjects, method="ridgecv")
    assert list(found) == ["a", "b", "c"]
    assert all(one.score > 0.8 and one.r.shape[1] == 10 for one in found.values())
    with pytest.raises(InputError, match="needs two at least"):
        leave_one_subject_out(responses[:, :10], subjects[:10])


@pytest.mark.data
def test_v4_reliability(data_folder: Path) -> None:
    from bridge.data import dataset

    recordings = dataset("cowley2023_v4").recordings(sessions=["210325"])[0]
    assert ceiling_score(internal_consistency(recordings.data)) == pytest.approx(0.76, abs=0.01)
