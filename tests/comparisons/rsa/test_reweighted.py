"""Feature-reweighted RSA against predictors written out, and on planted weights and pure noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.linear_model import Ridge

from bridge.errors import InputError
from comparisons.rsa.reweighted import _fit, pair_moments, reweighted_rsa


def planted(n: int = 40, m: int = 12, subjects: int = 3, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, m))
    weights = np.where(np.arange(m) < 3, 5.0, 0.0)
    exact = pdist(z * np.sqrt(weights), "sqeuclidean")
    return z, exact + noise * exact.std() * rng.standard_normal((subjects, exact.size))


def test_sums_over_stimuli_equal_sums_over_pairs() -> None:
    rng = np.random.default_rng(1)
    z, y = rng.standard_normal((9, 4)) + 3, squareform(rng.random(36))
    predictors = np.stack([pdist(z[:, [f]], "sqeuclidean") for f in range(4)])
    sums, products, with_target = pair_moments(z, y)
    np.testing.assert_allclose(sums, predictors.sum(axis=1))
    np.testing.assert_allclose(products, predictors @ predictors.T)
    np.testing.assert_allclose(with_target, predictors @ squareform(y))


def test_weights_equal_ridge_regression_on_the_predictors() -> None:
    z, region = planted(n=12, m=4, subjects=1)
    train = np.arange(9)
    squares = squareform(region[0])[None]
    (weights,) = _fit(z, squares, train, (0.1,))
    predictors = np.stack([pdist(z[train][:, [f]], "sqeuclidean") for f in range(4)], axis=1)
    target = squareform(squares[0][np.ix_(train, train)])
    deviation = predictors.std(axis=0)
    ridge = Ridge(alpha=0.1 * len(target)).fit(predictors / deviation, (target - target.mean()) / target.std())
    np.testing.assert_allclose(weights, ridge.coef_ / deviation, rtol=1e-8)


def test_planted_weights_are_found_on_held_out_stimuli() -> None:
    z, region = planted()
    found = reweighted_rsa(z, region)
    assert found.estimate > found.plain.mean() + 0.1
    assert found.weights.mean(axis=0)[:3].min() > 5 * np.abs(found.weights.mean(axis=0)[3:]).max()
    assert found.ceiling[0] - 0.1 < found.estimate < found.ceiling[1]
    np.testing.assert_array_equal(found.subjects, reweighted_rsa(z, region).subjects)


def test_pure_noise_is_not_predicted() -> None:
    rng = np.random.default_rng(2)
    scores = [reweighted_rsa(rng.standard_normal((20, 60)), rng.random((2, 190)), folds=3).estimate for _ in range(30)]
    assert abs(np.mean(scores)) < 3.5 * np.std(scores, ddof=1) / np.sqrt(len(scores))


def test_dead_features_weigh_nothing_and_misfits_are_refused() -> None:
    z, region = planted(n=30)
    z[:, 5] = 0.3
    assert (reweighted_rsa(z, region).weights[:, 5] == 0).all()
    with pytest.raises(InputError, match="nothing to weigh"):
        reweighted_rsa(np.ones_like(z), region)
    with pytest.raises(InputError, match="do not fit"):
        reweighted_rsa(z[:-1], region)
    with pytest.raises(InputError, match="too few"):
        reweighted_rsa(z, region, folds=15)


def sparse_codes(n: int = 40, m: int = 300) -> np.ndarray:
    """Non-negative codes of which a third are dead."""
    rng = np.random.default_rng(4)
    codes = np.maximum(rng.standard_normal((n, m)) - 1.2, 0)
    codes[:, ::3] = 0
    return codes


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_sparse_codes_give_what_dense_ones_give_and_stay_sparse(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy import sparse

    codes = sparse_codes()
    rng = np.random.default_rng(0)
    exact = pdist(codes[:, 1:9], "sqeuclidean")
    region = exact + exact.std() * rng.standard_normal((3, exact.size))
    dense = reweighted_rsa(codes, region)
    given = getattr(sparse, f"{form}_array")(codes)
    toarray = sparse.csr_array.toarray

    def small(self: Any, *args: Any, **options: Any) -> np.ndarray:
        assert self.shape[0] == self.shape[1], "features were made dense"
        return toarray(self, *args, **options)

    monkeypatch.setattr(sparse.csr_array, "toarray", small)
    found = reweighted_rsa(given, region)
    np.testing.assert_allclose(found.subjects, dense.subjects, rtol=1e-7)
    np.testing.assert_array_equal(found.penalties, dense.penalties)
    np.testing.assert_allclose(found.weights, dense.weights, atol=1e-7 * np.abs(dense.weights).max())
    assert (found.weights[:, ::3] == 0).all()
    with pytest.raises(InputError, match="not finite"):
        reweighted_rsa(sparse.csr_array(np.where(codes > 2, np.nan, codes)), region)


def test_sums_over_sparse_stimuli_equal_sums_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.sparse import csr_array

    codes = sparse_codes(9, 12)
    y = squareform(np.random.default_rng(1).random(36))
    predictors = np.stack([pdist(codes[:, [f]], "sqeuclidean") for f in range(12)])
    monkeypatch.setattr("comparisons.rsa.reweighted._COLUMNS", 5)
    sums, products, with_target = pair_moments(csr_array(codes), y)
    np.testing.assert_allclose(sums, predictors.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(products, predictors @ predictors.T, atol=1e-10)
    np.testing.assert_allclose(with_target, predictors @ squareform(y), atol=1e-12)
