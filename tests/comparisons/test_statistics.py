"""Corrections for many tests, against scipy and by hand."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control

from comparisons.statistics import benjamini_hochberg, holm


def test_false_discovery_rate_equals_scipy_and_keeps_nan_and_shape() -> None:
    p = np.array([[0.01, 0.04, np.nan], [0.03, 0.5, 0.02]])
    adjusted = benjamini_hochberg(p)
    assert np.isnan(adjusted[0, 2])
    np.testing.assert_allclose(adjusted[np.isfinite(p)], false_discovery_control(p[np.isfinite(p)]))
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1, np.nan, 1])


def test_error_rates_under_the_null() -> None:
    p = np.random.default_rng(0).random((4000, 20))
    familywise = np.mean([(holm(row) < 0.05).any() for row in p])
    assert abs(familywise - 0.05) < 4 * np.sqrt(0.05 * 0.95 / len(p))
    assert np.mean([(benjamini_hochberg(row) < 0.05).any() for row in p]) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(p))
