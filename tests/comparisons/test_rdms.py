"""RDMs against rsatoolbox, scipy and direct sums, and the patterns that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist

from bridge.errors import InputError
from comparisons.crossvalidated_rdms import (
    crossnobis_rdm,
    noise_covariance,
    noise_precision,
    poisson_cv_rdm,
    residuals,
)
from comparisons.rdms import (
    UndefinedPatterns,
    correlation_rdm,
    cosine_rdm,
    euclidean_rdm,
    from_rsatoolbox,
    mahalanobis_rdm,
    poisson_rdm,
    to_rsatoolbox,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def theirs(patterns: np.ndarray, method: str, **more: Any) -> np.ndarray:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    return calc_rdm(Dataset(patterns.astype(np.float64)), method=method, **more).dissimilarities[0]


def folds_of(repetitions: np.ndarray) -> Any:
    """Repetitions [fold, n_stim, features] as an rsatoolbox data set; it keeps numbered stimuli in order."""
    from rsatoolbox.data import Dataset

    n_folds, n, _ = repetitions.shape
    return Dataset(
        repetitions.reshape(n_folds * n, -1).copy(),
        obs_descriptors={"stimulus": np.tile(np.arange(n), n_folds), "fold": np.repeat(np.arange(n_folds), n)},
    )


def positive_definite(rng: np.random.Generator, p: int) -> np.ndarray:
    half = rng.standard_normal((p, p))
    return half @ half.T / p + np.eye(p)


def test_plain_distances_equal_rsatoolbox(rng: np.random.Generator) -> None:
    patterns = rng.gamma(2.0, size=(9, 14))
    precision = positive_definite(rng, 14)
    for ours, expected in (
        (correlation_rdm(patterns), theirs(patterns, "correlation")),
        (euclidean_rdm(patterns), theirs(patterns, "euclidean")),
        (mahalanobis_rdm(patterns, precision), theirs(patterns, "mahalanobis", noise=precision)),
        (poisson_rdm(patterns), theirs(patterns, "poisson")),
        (cosine_rdm(patterns), pdist(patterns, "cosine")),
    ):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_crossnobis_equals_rsatoolbox_with_and_without_noise(rng: np.random.Generator) -> None:
    from rsatoolbox.rdm import calc_rdm

    repetitions = rng.standard_normal((4, 7, 5)) + rng.standard_normal((7, 5))
    for precision in (None, positive_definite(rng, 5)):
        expected = calc_rdm(
            folds_of(repetitions), method="crossnobis", descriptor="stimulus", cv_descriptor="fold", noise=precision
        ).dissimilarities[0]
        np.testing.assert_allclose(crossnobis_rdm(repetitions, precision), expected, rtol=0, atol=1e-12)


def test_crossnobis_over_unequal_repeats_is_the_mean_over_pairs_of_shared_folds(rng: np.random.Generator) -> None:
    repetitions = rng.standard_normal((4, 5, 3)) + 7
    repetitions[3, 1] = repetitions[0, 2] = np.nan
    precision = positive_definite(rng, 3)
    expected = []
    for i in range(5):
        for j in range(i + 1, 5):
            gap = repetitions[:, i] - repetitions[:, j]
            gap = gap[np.isfinite(gap).all(axis=1)]
            products = gap @ precision @ gap.T
            expected.append(products[~np.eye(len(gap), dtype=bool)].mean() / 3)
    np.testing.assert_allclose(crossnobis_rdm(repetitions, precision), expected, rtol=0, atol=1e-12)


def test_crossnobis_of_noise_is_zero_on_average(rng: np.random.Generator) -> None:
    means = [crossnobis_rdm(rng.standard_normal((3, 6, 20))).mean() for _ in range(200)]
    assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(len(means))
    assert np.mean([euclidean_rdm(rng.standard_normal((6, 20))).mean() for _ in range(20)]) > 1


def test_cross_validated_poisson_uses_every_fold(rng: np.random.Generator) -> None:
    """rsatoolbox returns the last fold alone (its defect), so its own last fold is one of ours to average."""
    from rsatoolbox.rdm import calc_rdm

    repetitions = rng.poisson(4.0, (3, 6, 8)).astype(float)
    one_each = [
        calc_rdm(folds_of(order), method="poisson_cv", descriptor="stimulus", cv_descriptor="fold").dissimilarities[0]
        for order in (repetitions, repetitions[[2, 0, 1]], repetitions[[1, 2, 0]])
    ]
    np.testing.assert_allclose(poisson_cv_rdm(repetitions), np.mean(one_each, axis=0), rtol=0, atol=1e-12)
    assert np.abs(poisson_cv_rdm(repetitions) - one_each[0]).max() > 0.01


@pytest.mark.parametrize(
    ("shrinkage", "name"),
    [("diagonal", "shrinkage_diag"), ("identity", "shrinkage_eye"), ("none", "full"), ("variances", "diag")],
)
def test_noise_covariance_equals_rsatoolbox(rng: np.random.Generator, shrinkage: Any, name: str) -> None:
    from rsatoolbox.data.noise import cov_from_residuals

    noise = rng.standard_normal((30, 6)) @ rng.standard_normal((6, 6)) + 3
    for dof in (None, 20):
        expected = cov_from_residuals(noise.copy(), dof=dof, method=name)
        np.testing.assert_allclose(noise_covariance(noise, dof, shrinkage), expected, rtol=0, atol=1e-12)


def test_residuals_of_unequal_repeats_count_only_what_was_shown(rng: np.random.Generator) -> None:
    repetitions = rng.standard_normal((4, 5, 3))
    repetitions[3, 1] = np.nan
    noise, dof = residuals(repetitions)
    assert noise.shape == (19, 3)
    assert dof == 14
    np.testing.assert_allclose(noise.sum(axis=0), 0, atol=1e-12)
    assert np.isfinite(noise_precision(noise, dof)).all()
    with pytest.raises(InputError, match="cannot be inverted"):
        noise_precision(noise[:2], shrinkage="none")


def test_dead_patterns_are_named_and_never_become_nan_or_zero(rng: np.random.Generator) -> None:
    """rsatoolbox gives NaN for them (or 0 in its unbalanced path), and its `compare` then fails on the NaN."""
    patterns = rng.random((6, 10))
    patterns[2] = 0.1
    patterns[4] = 0
    for given in (patterns, patterns.astype(np.float32), csr_array(patterns)):
        with pytest.raises(UndefinedPatterns, match="2 of 6 patterns are constant") as constant:
            correlation_rdm(given)
        assert constant.value.rows == (2, 4)
        with pytest.raises(UndefinedPatterns, match="1 of 6 patterns are zero") as zero:
            cosine_rdm(given)
        assert zero.value.rows == (4,)
        assert np.isfinite(euclidean_rdm(given)).all()
    patterns[1, 3] = np.nan
    for measure in (correlation_rdm, cosine_rdm, euclidean_rdm, poisson_rdm):
        with pytest.raises(UndefinedPatterns, match="not finite") as unknown:
            measure(patterns)
        assert unknown.value.rows == (1,)
    with pytest.raises(UndefinedPatterns, match="negative"):
        poisson_rdm(-rng.random((3, 4)))


def test_small_integers_do_not_overflow_and_a_large_mean_costs_no_digits(rng: np.random.Generator) -> None:
    """uint8 products wrap around in rsatoolbox; float32 with a large mean loses everything."""
    images = rng.integers(0, 256, (5, 40)).astype(np.uint8)
    for measure in (correlation_rdm, cosine_rdm, euclidean_rdm):
        np.testing.assert_array_equal(measure(images), measure(images.astype(np.float64)))
    patterns = rng.standard_normal((5, 40)).astype(np.float32)
    shifted = (patterns + np.float32(4096)).astype(np.float32)
    exact = shifted.astype(np.float64) - 4096
    np.testing.assert_allclose(euclidean_rdm(shifted), euclidean_rdm(exact), rtol=1e-9)
    np.testing.assert_allclose(correlation_rdm(shifted), correlation_rdm(exact), rtol=0, atol=1e-9)
    repetitions = np.stack([patterns, patterns[:, ::-1]]).astype(np.float64)
    np.testing.assert_allclose(crossnobis_rdm(repetitions + 1e6), crossnobis_rdm(repetitions), rtol=0, atol=1e-8)


def test_sparse_codes_equal_their_dense_form(rng: np.random.Generator) -> None:
    codes = np.where(rng.random((8, 300)) < 0.05, rng.random((8, 300)), 0).astype(np.float32)
    codes[:, 0] += 1
    for measure in (correlation_rdm, cosine_rdm, euclidean_rdm):
        np.testing.assert_allclose(measure(csr_array(codes)), measure(codes), rtol=0, atol=1e-12)


def test_blocks_of_features_change_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    import comparisons.rdms as module

    patterns = rng.random((6, 50)) + 5
    measures = (correlation_rdm, cosine_rdm, euclidean_rdm)
    whole = [measure(patterns) for measure in measures]
    monkeypatch.setattr(module, "_BYTES", 6 * 8 * 7)
    for measure, expected in zip(measures, whole, strict=True):
        np.testing.assert_allclose(measure(patterns), expected, rtol=0, atol=1e-13)


def test_rdms_go_to_rsatoolbox_and_back_by_id_only(rng: np.random.Generator) -> None:
    ids = [f"img{number}" for number in (1, 2, 10, 3)]
    rdms = rng.random((2, 6))
    there = to_rsatoolbox(rdms, ids)
    np.testing.assert_array_equal(from_rsatoolbox(there, ids), rdms)
    order = [2, 0, 3, 1]
    square = np.zeros((4, 4))
    square[np.triu_indices(4, 1)] = rdms[0]
    moved = (square + square.T)[np.ix_(order, order)][np.triu_indices(4, 1)]
    np.testing.assert_array_equal(from_rsatoolbox(there, [ids[row] for row in order])[0], moved)
    with pytest.raises(InputError, match="aligned by id only"):
        from_rsatoolbox(there, ["img1", "img2", "img10", "img4"])
    with pytest.raises(InputError, match="each once"):
        from_rsatoolbox(to_rsatoolbox(rdms, ["a", "a", "b", "c"]), ["a", "a", "b", "c"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: correlation_rdm(np.ones((4, 0))), "no features"),
        (lambda: crossnobis_rdm(np.ones((1, 4, 3))), "two folds at least"),
        (lambda: crossnobis_rdm(np.full((2, 4, 3), np.nan)), "share fewer than two folds"),
        (lambda: crossnobis_rdm(np.ones((2, 4, 3)), np.eye(2)), "need a finite"),
        (lambda: mahalanobis_rdm(np.ones((4, 3)), np.eye(2)), "need a finite"),
        (lambda: noise_covariance(np.zeros((5, 3))), "no noise at all"),
        (lambda: noise_covariance(np.zeros((1, 3))), "more repetitions"),
    ],
)
def test_what_has_no_distance_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call()
