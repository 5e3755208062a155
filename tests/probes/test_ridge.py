"""The shared ridge against scikit-learn, and left-out groups against refitting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from bridge.errors import InputError
from probes.ridge import PENALTIES, _parts, design, ridge_scores


def data(n: int, p: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictors with a falling spectrum, and features that they explain to different degrees; means are not 0."""
    rng = np.random.default_rng(seed)
    x = 30 * rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -0.7 + 5
    y = x @ (rng.standard_normal((p, features)) * np.linspace(0, 1, features)) / 30
    return x, y + rng.standard_normal((n, features)) + 3


@pytest.mark.parametrize(("n", "p"), [(200, 60), (80, 150), (100, 99), (100, 100)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scores_are_ridgecvs(n: int, p: int, dtype: type) -> None:
    """The leave-one-out criterion and its penalties, feature by feature; R2 to 1e-4 in single precision."""
    x, y = data(n, p, 40)
    ours = ridge_scores(x.astype(dtype), y.astype(dtype))
    theirs = RidgeCV(PENALTIES, alpha_per_target=True).fit(x, y)
    r2 = 1 + theirs.best_score_ * n / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(ours.r2, r2, atol=1e-9 if dtype is np.float64 else 1e-4)
    if dtype is np.float64:
        np.testing.assert_array_equal(ours.penalty, theirs.alpha_)
        fitted = 1 - ((y - theirs.predict(x)) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        np.testing.assert_allclose(ours.fitted, fitted, atol=1e-9)


@pytest.mark.parametrize("p", [12, 150])
def test_left_out_groups_are_refits(p: int) -> None:
    x, y = data(90, p, 6)
    groups = np.arange(90) // 3
    ours = ridge_scores(x, y, groups=groups)
    errors = np.zeros(6)
    parts = _parts(groups)
    assert sorted(np.concatenate(parts)) == list(range(90))
    for part in parts:
        assert not set(groups[part]) & set(np.delete(groups, part))
        rest = np.delete(np.arange(90), part)
        for feature in range(6):
            model = Ridge(alpha=ours.penalty[feature]).fit(x[rest], y[rest, feature])
            errors[feature] += ((y[part, feature] - model.predict(x[part])) ** 2).sum()
    np.testing.assert_allclose(ours.r2, 1 - errors / ((y - y.mean(axis=0)) ** 2).sum(axis=0), rtol=1e-7)


def test_features_do_not_depend_on_their_number() -> None:
    x, y = data(60, 20, 1500)
    whole = ridge_scores(x, y)
    np.testing.assert_allclose(ridge_scores(x, y[:, 1400:]).r2, whole.r2[1400:], rtol=1e-10)


def test_features_that_are_not_alive_have_no_score() -> None:
    x, y = data(60, 20, 5)
    y[:, 1], y[:, 2], y[3, 3] = 0, 7.3, np.inf
    found = ridge_scores(x, y)
    assert np.isfinite(found.r2).tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(found.r2[[0, 4]], ridge_scores(x, y[:, [0, 4]]).r2, rtol=1e-10)


def test_noise_has_no_score() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((400, 300)), rng.standard_normal((400, 200))
    assert abs(ridge_scores(x, y).r2.mean()) < 0.01
    assert abs(ridge_scores(x, y, groups=np.arange(400) // 4).r2.mean()) < 0.01


def test_wrong_arrays_are_refused() -> None:
    x, y = data(20, 5, 2)
    with pytest.raises(InputError, match="three rows"):
        design(x[:2])
    with pytest.raises(InputError, match="20 rows"):
        ridge_scores(x, y[:10])
    with pytest.raises(InputError, match="one group"):
        ridge_scores(x, y, groups=np.zeros(20))
