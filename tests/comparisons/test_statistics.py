"""Corrections for many tests, against scipy and by hand."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import false_discovery_control

from comparisons.statistics import benjamini_hochberg, bootstrap_counts, holm, sign_flips


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


def test_sign_flips_enumerate_all_signs_of_few_subjects() -> None:
    differences = np.array([[0.3, -0.1, 0.2, 0.4], [0.0, 0.0, 0.0, 0.0], [1.0, np.nan, 0.0, 0.0]])
    means = [np.dot(signs, differences[0]) for signs in itertools.product([-1, 1], repeat=4)]
    expected = np.mean(np.abs(means) >= 0.8 - 1e-12)
    np.testing.assert_allclose(sign_flips(differences), [expected, 1, np.nan])


def test_sign_flips_of_many_subjects_agree_with_scipy() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(0)
    differences = rng.standard_normal((3, 20)) + 0.4
    expected = [
        permutation_test((d,), np.mean, permutation_type="samples", n_resamples=20_000, random_state=0).pvalue
        for d in differences
    ]
    np.testing.assert_allclose(sign_flips(differences, draws=20_000), expected, atol=0.015)


def test_bootstrap_counts_are_multinomial() -> None:
    counts = bootstrap_counts(np.random.default_rng(0), 7, 20_000)
    assert counts.shape == (20_000, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(np.cov(counts.T), np.eye(7) - 1 / 7, atol=0.03)
