"""Banded ridge against himalaya, scikit-learn and refitting by hand; its shares of variance; what it must never do."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array

from bridge.errors import InputError
from comparisons.encoding import LinearKernel
from comparisons.encoding.banded import PENALTIES, band_ratios, banded_ridge, folds_of
from comparisons.encoding.unique_variance import share_draws, signal_variance, unique_share

N, Q = 60, 7


def made(wide: bool, seed: int = 0, n: int = N) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two bands [n, p], the first narrow, and responses [n, 7] that depend on both."""
    rng = np.random.default_rng(seed)
    bands = {"simple": rng.standard_normal((n, 5)) + 3, "complex": rng.standard_normal((n, 150 if wide else 20)) * 2}
    responses = sum(x @ rng.standard_normal((x.shape[1], Q)) / np.sqrt(x.shape[1]) for x in bands.values())
    return bands, responses + rng.standard_normal((n, Q)) + 5


def standardised(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (x - x[train].mean(axis=0)) / x[train].std(axis=0)


@pytest.mark.parametrize("wide", [False, True])
def test_equals_himalaya_at_given_ratios_and_penalty(wide: bool) -> None:
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
    from himalaya.scoring import r2_score_split

    bands, y = made(wide)
    splits = folds_of(N)[:1]
    train, test = splits[0]
    gamma, penalty = np.array([0.3, 1.0]), 0.2
    ratios = np.array([[0, 1.0], [1.0, 0], gamma])
    ratios = np.array([[0, 1.0], [1.0, 0], gamma])
    # The last vector of ratios is the only one of both bands; a penalty that makes it best is not needed: it is given.
    found = banded_ridge(bands, y, splits=splits, ratios=ratios, penalties=[penalty])
    scaled = [standardised(x, train) for x in bands.values()]
    kernels = np.stack([x[train] @ x[train].T for x in scaled])
    mean = y[train].mean(axis=0)
    for model, weights in ((("simple", "complex"), found.ratios[0]), (("complex",), np.tile([0, 1.0], (Q, 1)))):
        expected = np.zeros((2, len(test), Q))
        for neuroid in range(Q):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                deltas, dual, _ = solve_multiple_kernel_ridge_random_search(
                    kernels,
                    (y[train] - mean)[:, [neuroid]],
                    n_iter=weights[[neuroid]],
                    alphas=np.array([penalty * len(train)]),
                    return_weights="dual",
                    progress_bar=False,
                    cv=2,
                )
            # himalaya's deltas are log(ratio / penalty), and its dual weights (sum exp(delta) K + I)^-1 y.
            for band, x in enumerate(scaled):
                expected[band, :, neuroid] = np.exp(deltas[band, 0]) * (x[test] @ x[train].T @ dual)[:, 0]
        np.testing.assert_allclose(found.predictions[model] - mean, expected.sum(axis=0), atol=1e-10)
        if len(model) == 2:
            np.testing.assert_allclose(found.parts, expected, atol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split = r2_score_split(y[test] - mean, found.parts)
    np.testing.assert_allclose(found.product_measure(), split, atol=1e-12)
    np.testing.assert_allclose(found.product_measure().sum(axis=0), found.r2("simple", "complex"), atol=1e-12)


@pytest.mark.parametrize("wide", [False, True])
def test_choice_and_prediction_equal_refitting_without_each_stimulus(wide: bool) -> None:
    bands, y = made(wide, seed=1)
    splits = folds_of(N)[:2]
    penalties = np.array([0.01, 0.1, 1.0, 10.0])
    ratios = band_ratios(2)
    found = banded_ridge(bands, y, splits=splits, penalties=penalties, ratios=ratios)

    def predicted(x: list[np.ndarray], target: np.ndarray, fit: np.ndarray, at: np.ndarray, r: np.ndarray, a: float):
        joint = np.concatenate([part * np.sqrt(ratio) for part, ratio in zip(x, r, strict=True)], axis=1)
        centre, mean = joint[fit].mean(axis=0), target[fit].mean(axis=0)
        kernel = (joint[fit] - centre) @ (joint[fit] - centre).T
        weights = np.linalg.solve(kernel + a * np.eye(len(fit)), target[fit] - mean)
        return (joint[at] - centre) @ (joint[fit] - centre).T @ weights + mean

    for number, (train, test) in enumerate(splits):
        x = [standardised(band, train) for band in bands.values()]
        errors = np.zeros((len(ratios), len(penalties), Q))
        for k, r in enumerate(ratios):
            for a, penalty in enumerate(penalties * len(train)):
                for row in train:
                    rest = train[train != row]
                    errors[k, a] += (predicted(x, y, rest, np.array([row]), r, penalty)[0] - y[row]) ** 2
        best = errors.reshape(-1, Q).argmin(axis=0)
        for neuroid, (k, a) in enumerate(zip(best // len(penalties), best % len(penalties), strict=True)):
            np.testing.assert_array_equal(found.ratios[number, neuroid], ratios[k])
            assert found.penalties[number, neuroid] == penalties[a] * len(train)
            expected = predicted(x, y[:, [neuroid]], train, test, ratios[k], penalties[a] * len(train))[:, 0]
            place = slice(number * len(test), (number + 1) * len(test))
            np.testing.assert_allclose(found.predictions["simple", "complex"][place, neuroid], expected, atol=1e-9)


def test_one_band_is_ridge_regression_of_scikit_learn() -> None:
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    bands, y = made(True)
    splits = folds_of(N)
    found = banded_ridge({"complex": bands["complex"]}, y, splits=splits)
    for number, (train, test) in enumerate(splits):
        scaler = StandardScaler().fit(bands["complex"][train])
        for neuroid in range(Q):
            ridge = RidgeCV(alphas=PENALTIES * len(train)).fit(
                scaler.transform(bands["complex"][train]), y[train, neuroid]
            )
            assert ridge.alpha_ == pytest.approx(found.penalties[number, neuroid])
            at = np.isin(found.rows, test)
            np.testing.assert_allclose(
                found.predictions["complex",][at, neuroid],
                ridge.predict(scaler.transform(bands["complex"][found.rows[at]])),
                atol=1e-8,
            )


def test_kernels_sparse_and_dense_bands_agree() -> None:
    rng = np.random.default_rng(3)
    codes = np.maximum(rng.standard_normal((N, 90)) - 1, 0)
    other = rng.standard_normal((N, 80))
    y = codes[:, :5].sum(axis=1, keepdims=True) + rng.standard_normal((N, 3))
    dense = banded_ridge({"codes": codes, "other": other}, y, scale="bands")
    forms = [
        {"codes": csr_array(codes), "other": other},
        {"codes": LinearKernel(codes), "other": LinearKernel(other)},
        {"codes": csr_array(codes), "other": LinearKernel(other.astype(np.float64))},
    ]
    for form in forms:
        found = banded_ridge(form, y, scale="bands")
        for model, prediction in dense.predictions.items():
            np.testing.assert_allclose(found.predictions[model], prediction, atol=1e-9)


def test_sparse_codes_are_standardised_without_being_made_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    codes = np.maximum(rng.standard_normal((N, 90)) - 1, 0)
    codes[:, 4], codes[1:, 5] = 0, 0
    other = rng.standard_normal((N, 6))
    y = codes[:, :5].sum(axis=1, keepdims=True) + other[:, :1] + rng.standard_normal((N, 3))
    dense = banded_ridge({"codes": codes, "other": other}, y)
    toarray = csr_array.toarray

    def small(self: csr_array) -> np.ndarray:
        assert self.shape[1] <= N, "features were made dense"
        return toarray(self)

    monkeypatch.setattr(csr_array, "toarray", small)
    found = banded_ridge({"codes": csr_array(codes), "other": other}, y)
    for model, prediction in dense.predictions.items():
        np.testing.assert_allclose(found.predictions[model], prediction, atol=1e-8)


def test_neuroids_of_a_group_share_their_choice() -> None:
    bands, y = made(False)
    found = banded_ridge(bands, y, groups=["V4"] * 3 + ["IT"] * 4)
    assert (found.penalties[:, :3] == found.penalties[:, :1]).all()
    assert (found.ratios[:, 3:] == found.ratios[:, 3:4]).all()
    assert len(np.unique(banded_ridge(bands, y).penalties)) > 2


def test_three_bands_have_the_models_that_unique_variance_needs() -> None:
    rng = np.random.default_rng(0)
    bands = {name: rng.standard_normal((800, 6)) for name in "abc"}  # sampling error .05
    of_a = bands["a"][:, :2] @ rng.standard_normal((2, 4))
    y = of_a + bands["b"][:, :1] + 0.1 * rng.standard_normal((800, 4))
    found = banded_ridge(bands, y)
    assert set(found.predictions) == {(), *zip("abc"), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")}
    np.testing.assert_allclose(found.unique("a"), of_a.var(axis=0) / y.var(axis=0), atol=0.1)
    assert np.abs(found.unique("c")).max() < 0.05
    np.testing.assert_allclose(
        sum(found.unique(band) for band in "abc") + found.shared(), found.r2("a", "b", "c"), atol=1e-12
    )
    with pytest.raises(InputError, match="no model of the bands"):
        found.mse("a", "nothing")


def test_noise_explains_nothing_also_when_resampled() -> None:
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        bands = {"a": rng.standard_normal((100, 150)), "b": rng.standard_normal((100, 20))}
        found = banded_ridge(bands, rng.standard_normal((100, 10)))
        drawn = share_draws(found, 100, 100, seed)
        values.append([drawn["R2"].mean(), drawn["unique a"].mean(), found.r2("a", "b").mean()])
    assert np.mean(values, axis=0).max() <= 0.01


def test_a_dead_band_a_dead_feature_and_a_constant_neuroid() -> None:
    bands, y = made(False)
    bands["simple"][:, 2] = 4.0
    y[:, 0] = 1.0
    dead = {**bands, "simple": np.full_like(bands["simple"], 0.1)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, without = banded_ridge(bands, y), banded_ridge(dead, y)
    assert np.isnan(found.r2("simple", "complex")[0])
    assert np.isfinite(found.r2("simple", "complex")[1:]).all()
    np.testing.assert_allclose(without.unique("simple")[1:], 0, atol=1e-12)
    np.testing.assert_allclose(without.r2("simple")[1:], 0, atol=1e-12)
    np.testing.assert_allclose(found.predictions["simple", "complex"][:, 0], 1.0, atol=1e-12)


def test_missing_responses_are_fitted_on_what_there_is() -> None:
    bands, y = made(False)
    gone = y.copy()
    gone[:10, 0] = np.nan
    splits = folds_of(N)
    found = banded_ridge(bands, gone, splits=splits)
    alone = banded_ridge(
        {name: x[10:] for name, x in bands.items()},
        y[10:, :1],
        splits=[(train[train >= 10] - 10, test[test >= 10] - 10) for train, test in splits],
    )
    np.testing.assert_allclose(found.mse("simple", "complex")[0], alone.mse("simple", "complex")[0], rtol=1e-9)
    np.testing.assert_allclose(found.mse()[1:], banded_ridge(bands, y, splits=splits).mse()[1:], rtol=1e-12)
    assert "1 neuroids lack responses to 10 of 60 stimuli" in found.notices


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ratios": np.array([[1.0, 1.0]])}, "No vector of ratios has"),
        ({"ratios": np.array([[1.0, -1.0]])}, "none of them negative"),
        ({"ratios": np.array([[0.0, 0.0]])}, "leaves out all bands"),
        ({"splits": None, "responses": np.zeros((5, 2))}, "same stimuli everywhere"),
        ({"responses": np.full((N, 1), np.inf)}, "infinite"),
    ],
)
def test_bad_input_is_refused(change: dict, told: str) -> None:
    bands, y = made(False)
    given = {"responses": y, **change}
    with pytest.raises(InputError, match=told):
        banded_ridge(bands, given.pop("responses"), **given)
    with pytest.raises(InputError, match="cannot be scaled"):
        banded_ridge({"a": LinearKernel(bands["simple"])}, y)
    with pytest.raises(InputError, match="do not make"):
        folds_of(7)


# ------------------------------------------------------------------------------------------------- phi of SCIENCE 3


def trials_of(n: int, share: float, seed: int, reps: int = 4, q: int = 30):
    """Bands and trials [rep, n, q] of which `share` of the signal variance is simple; signal variance 1."""
    rng = np.random.default_rng(seed)
    simple, complex_ = rng.standard_normal((n, 8)), rng.standard_normal((n, 40))
    signal = [x @ rng.standard_normal((x.shape[1], q)) / np.sqrt(x.shape[1]) for x in (simple, complex_)]
    mean = np.sqrt(share) * signal[0] + np.sqrt(1 - share) * signal[1]
    return {"S": simple, "C": complex_}, mean + rng.standard_normal((reps, n, q))


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_phi_is_the_simple_share_of_the_signal(share: float) -> None:
    bands, trials = trials_of(500, share, 3)
    found = banded_ridge(bands, trials.mean(axis=0))
    phi = unique_share(found, "S", trials, draws=200)
    low, high = phi.interval()
    assert abs(phi.estimate - share) < 0.04
    assert low - 0.005 <= share <= high + 0.03
    assert low <= phi.estimate <= high
    assert phi.kept.all()


def test_draws_of_phi_equal_resampling_by_hand() -> None:
    bands, trials = trials_of(60, 0.3, 1, q=5)
    trials[3, :20] = np.nan  # unequal repetitions
    mean = np.nanmean(trials, axis=0)
    found = banded_ridge(bands, mean)
    phi = unique_share(found, "S", trials, draws=3, seed=7, least=-10)
    rng = np.random.default_rng(7)
    stimuli, neuroids = rng.integers(60, size=(3, 60)), rng.integers(5, size=(3, 5))
    gained = (found.errors("C") - found.errors("S", "C"))[np.argsort(found.rows)]
    for draw in range(3):
        rows, own = stimuli[draw], neuroids[draw]
        top = gained[rows].mean(axis=0)
        reps = np.isfinite(trials).sum(axis=0)
        noise = np.nanvar(trials, axis=0, ddof=1) / reps
        bottom = mean[rows].var(axis=0, ddof=1) - noise[rows].mean(axis=0)
        expected = top[own].sum() / bottom[own].sum()
        assert phi.draws[draw] == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(signal_variance(trials), mean.var(axis=0, ddof=1) - noise.mean(axis=0), rtol=1e-12)


def test_noisy_neuroids_are_left_out_and_one_repetition_is_refused() -> None:
    bands, trials = trials_of(200, 0.2, 1)
    trials[:, :, :4] = np.random.default_rng(0).standard_normal((4, 200, 4))
    found = banded_ridge(bands, trials.mean(axis=0))
    phi = unique_share(found, "S", trials, draws=0)
    assert not phi.kept[:4].any()
    assert phi.kept[4:].all()
    assert np.isnan(phi.interval()).all()
    with pytest.raises(InputError, match="None of 30 neuroids"):
        unique_share(found, "S", trials[:1], draws=0)
    with pytest.raises(InputError, match="give the trials behind"):
        unique_share(found, "S", trials[:, :100], draws=0)


def test_shares_under_draws_are_those_of_resampled_rows() -> None:
    bands, y = made(False)
    found = banded_ridge(bands, y)
    drawn = share_draws(found, N, 400, 0)
    assert set(drawn) == {"R2", "unique simple", "unique complex", "shared"}
    np.testing.assert_allclose(
        drawn["unique simple"] + drawn["unique complex"] + drawn["shared"], drawn["R2"], atol=1e-12
    )
    assert abs(np.median(drawn["R2"]) - found.r2("simple", "complex").mean()) < 0.05
    assert all(a <= b for a, b in pairwise(np.quantile(drawn["R2"], [0.025, 0.5, 0.975])))
