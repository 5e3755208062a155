"""Features of which little can be said get a stated result, and so do responses that are no factorial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bridge.errors import InputError
from probes.features import feature_states
from probes.tuning.analysis import analyse_tuning


def test_states_of_features() -> None:
    rng = np.random.default_rng(0)
    r = rng.random((50, 7))
    r[:, 1] = 0
    r[:, 2] = 3.7 + 1e-9 * rng.random(50)
    r[7, 3] = np.nan
    r[7, 4] = np.inf
    r[:, 5] = 0
    r[20, 5] = 2.0
    r[:, 6] = 5.0
    r[20, 6] = 2.0
    expected = ["alive", "dead", "constant", "undefined", "undefined", "single stimulus", "single stimulus"]
    assert feature_states(r).tolist() == expected
    assert feature_states(r[:1]).tolist()[1:3] == ["dead", "constant"]
    with pytest.raises(InputError, match="one row a stimulus"):
        feature_states(r[:0])
    with pytest.raises(InputError, match="floating-point"):
        feature_states(np.ones((3, 3), int))


def test_features_that_are_not_alive_get_a_stated_result(gratings: Any) -> None:
    rng = np.random.default_rng(1)
    r = gratings.tuned(rng.uniform(0, 180, 6), np.full(6, 2.0), np.full(6, 5.0))
    r += 0.05 * rng.standard_normal(r.shape)
    r[:, 1], r[:, 2], r[3, 3], r[:, 4] = 0, -2.5, np.nan, 0
    r[100, 4] = 1.0
    found = analyse_tuning(r, gratings.orientation, gratings.frequency, gratings.phase)
    assert found.label.tolist() == ["complex", "dead", "constant", "undefined", "single stimulus", "complex"]
    lost = [1, 2, 3]
    for name, values in found.rows().items():
        if values.dtype == np.float64:
            assert np.isnan(values[lost]).all(), name
            assert np.isfinite(values[[0, 5]]).all(), name
    # A single stimulus: perfectly selective numbers, and no test that calls it tuned.
    assert found.f1_f0[4] == pytest.approx(2)
    assert found.circular_variance[4] == pytest.approx(0)
    assert min(found.p_orientation[4], found.p_frequency[4], found.p_phase[4]) > 0.05


def test_alive_features_do_not_depend_on_their_neighbours(gratings: Any) -> None:
    rng = np.random.default_rng(2)
    r = gratings.tuned(rng.uniform(0, 180, 5), np.full(5, 2.0), np.full(5, 5.0))
    r += 0.05 * rng.standard_normal(r.shape)
    factors = gratings.orientation, gratings.frequency, gratings.phase
    alone = analyse_tuning(r[:, :2], *factors).rows()
    spoiled = r.copy()
    spoiled[:, 2:] = np.nan
    beside = analyse_tuning(spoiled, *factors).rows()
    for name, values in alone.items():
        if values.dtype == np.float64:
            np.testing.assert_allclose(values, beside[name][:2], rtol=1e-9, err_msg=name)


def test_gratings_must_be_a_factorial(gratings: Any) -> None:
    r = np.random.default_rng(0).random((720, 2))
    with pytest.raises(InputError, match="exactly once"):
        analyse_tuning(r[:-1], gratings.orientation[:-1], gratings.frequency[:-1], gratings.phase[:-1])
    with pytest.raises(InputError, match="evenly spaced over 180"):
        analyse_tuning(r, gratings.orientation / 2, gratings.frequency, gratings.phase)
    with pytest.raises(InputError, match="one each"):
        analyse_tuning(r, gratings.orientation[:3], gratings.frequency, gratings.phase)
    with pytest.raises(InputError, match="baselines"):
        analyse_tuning(r, gratings.orientation, gratings.frequency, gratings.phase, baseline=[0.0])


def test_the_same_seed_gives_the_same_numbers(gratings: Any) -> None:
    r = np.random.default_rng(0).random((720, 4))
    factors = gratings.orientation, gratings.frequency, gratings.phase
    one, two = (analyse_tuning(r, *factors, permutations=100, seed=3).rows() for _ in range(2))
    other = analyse_tuning(r, *factors, permutations=100, seed=4)
    assert all(np.array_equal(one[name], two[name], equal_nan=values.dtype.kind == "f") for name, values in one.items())
    assert not np.array_equal(one["p_orientation"], other.p_orientation)
