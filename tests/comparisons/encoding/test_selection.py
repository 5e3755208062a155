"""Features chosen on one half of the stimuli and reported on the other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from bridge.errors import InputError
from comparisons.encoding.selection import best_features, correlations, leading_features


def test_correlations_are_numpys_dense_and_sparse() -> None:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((50, 20)) - 0.5, 0)
    x[:, 3], x[:, 4] = 0, 0.1
    y = rng.standard_normal((50, 3))
    y[:, 2] = 1.0
    rows = np.arange(5, 45)
    expected = np.full((20, 3), np.nan)
    for feature in (column for column in range(20) if column not in (3, 4)):
        for neuroid in range(2):
            expected[feature, neuroid] = np.corrcoef(x[rows, feature], y[rows, neuroid])[0, 1]
    np.testing.assert_allclose(correlations(x, y, rows), expected, atol=1e-12)
    np.testing.assert_allclose(correlations(csr_array(x), y, rows), expected, atol=1e-10)


def test_the_best_of_many_noise_features_is_large_where_chosen_and_nothing_elsewhere() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((270, 8192)), rng.standard_normal((270, 30))
    found = best_features(x, y, np.arange(135), np.arange(135, 270))
    assert found.r_choosing.mean() == pytest.approx(0.34, abs=0.02)
    assert abs(found.r_reported.mean()) < 4 / np.sqrt(30 * 135)


def test_a_real_feature_is_found_and_its_sign_kept() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((200, 100))
    y = np.stack([-x[:, 7], x[:, 9], np.ones(200)], axis=1) + [[1.0, 1.0, 0.0]] * rng.standard_normal((200, 3))
    found = best_features(csr_array(x), y, np.arange(100), np.arange(100, 200))
    np.testing.assert_array_equal(found.feature, [7, 9, -1])
    assert found.r_reported[:2].min() > 0.5
    assert np.isnan([found.r_choosing[2], found.r_reported[2]]).all()
    leading = leading_features(x, y, np.arange(100), 3)
    assert {7, 9} <= set(leading.tolist())
    assert len(leading) == 3
    assert len(leading_features(np.ones((200, 5)), y, np.arange(100), 3)) == 0


def test_overlapping_and_missing_stimuli_are_refused() -> None:
    x, y = np.ones((10, 2)), np.zeros((10, 1))
    with pytest.raises(InputError, match="do not overlap"):
        best_features(x, y, np.arange(5), np.arange(4, 10))
    with pytest.raises(InputError, match="without missing"):
        leading_features(x, y + np.nan, np.arange(5), 1)
