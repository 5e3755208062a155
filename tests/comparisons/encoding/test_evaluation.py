"""Encoding against Brain-Score's own metrics and scikit-learn, on features with every kind of trouble."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.errors import InputError
from comparisons.encoding import METHODS, brainscore_splits, pearson, pls, predictivity, reverse_predictivity
from comparisons.encoding.gram import LinearKernel
from comparisons.encoding.ridge import PENALTIES


def made(n: int = 120, p: int = 300, q: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features, responses that depend on them, and an object name a stimulus."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 6))
    features = shared @ rng.standard_normal((6, p)) + rng.standard_normal((n, p))
    responses = 3 + shared @ rng.standard_normal((6, q)) + 2 * rng.standard_normal((n, q))
    return features, responses, [f"object{row % 6}" for row in range(n)]


def assemblies(features: np.ndarray, responses: np.ndarray, objects: list[str]) -> tuple[Any, Any]:
    """Both as Brain-Score's assemblies."""
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

    stimuli = {"stimulus_id": ("presentation", [f"s{row:04d}" for row in range(len(features))])}
    stimuli["object_name"] = ("presentation", objects)

    def assembly(values: np.ndarray) -> Any:
        names = [f"n{column:05d}" for column in range(values.shape[1])]
        neuroids = {"neuroid_id": ("neuroid", names), "region": ("neuroid", ["IT"] * len(names))}
        return NeuroidAssembly(values, coords={**stimuli, **neuroids}, dims=["presentation", "neuroid"])

    return assembly(features), assembly(responses)


def brainscore(metric: str, features: np.ndarray, responses: np.ndarray, objects: list[str], **options: Any) -> Any:
    """Score, error and r [split, neuroid] of a metric of Brain-Score, by its own classes in float64."""
    from brainscore_vision.metrics.regression_correlation import metric as module

    regression = {
        "pls": module.pls_regression,
        "ridge": module.ridge_regression,
        "ridgecv": module.ridge_cv_regression,
        "neuron-to-neuron": module.single_regression,
    }[metric](**options)
    of = module.CrossRegressedCorrelation(regression, module.pearsonr_correlation())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = of(*assemblies(features.astype(np.float64), responses, objects))
    return float(score), float(score.attrs["error"]), score.attrs["raw"].transpose("split", "neuroid").values


def sparse_codes(features: np.ndarray) -> np.ndarray:
    """Non-negative, mostly zero, and a tenth of them dead."""
    codes = np.maximum(features - 3, 0)
    codes[:, ::10] = 0
    codes[:, 5] = 7  # dead at another value
    return codes


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *((kind, "pls") for kind in ("dense", "tall", "sparse codes", "decaying", "large mean")),
        *((kind, "ridgecv") for kind in ("tall", "sparse codes", "large mean")),
        *((kind, "ridge") for kind in ("dense", "tall")),
        *((kind, "neuron-to-neuron") for kind in ("dense", "sparse codes")),
    ],
)
def test_scores_are_brainscores(kind: str, method: str) -> None:
    features, responses, objects = made(p=40 if kind == "tall" else 300)
    if kind == "sparse codes":
        features = sparse_codes(features)
        if method == "neuron-to-neuron":
            features = features[:, np.ptp(features[:60], axis=0) > 1]  # theirs warns and is undefined at dead features
    if kind == "decaying":
        features = features * np.arange(1, 301) ** -2.0
    if kind == "large mean":
        features = (features + 1000).astype(np.float32)
    score, error, r = brainscore(method, features, responses, objects)
    ours = predictivity(features, responses, method=method, splits=brainscore_splits(len(features), objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)
    np.testing.assert_allclose([ours.score, ours.error], [score, error], atol=1e-6)
    assert ours.notices == ()


def test_splits_without_strata_are_brainscores() -> None:
    from brainscore_vision.metric_helpers.transformations import CrossValidation

    source, target = assemblies(*made(n=60))
    for strata in (None, "object_name"):
        _, theirs = CrossValidation(train_size=0.9, stratification_coord=strata)._split.build_splits(target)
        ours = brainscore_splits(60, None if strata is None else source["object_name"].values)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(np.concatenate(mine), np.concatenate(other))


def test_brainscores_penalties() -> None:
    from brainscore_vision.metrics.regression_correlation.metric import ALPHA_LIST

    np.testing.assert_array_equal(PENALTIES, ALPHA_LIST)


@pytest.mark.parametrize("noise", [1e-2, 3e-4, 1e-5])
def test_features_close_to_a_low_rank_are_right(noise: float) -> None:
    """Here the Gram matrix has lost the digits that count; such splits must be noticed and fitted otherwise."""
    rng = np.random.default_rng(1)
    _, responses, objects = made()
    features = rng.standard_normal((120, 20)) @ rng.standard_normal((20, 300)) + noise * rng.standard_normal((120, 300))
    _, _, r = brainscore("pls", features, responses, objects)
    ours = predictivity(features, responses, splits=brainscore_splits(120, objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)


@pytest.mark.parametrize("rank", [3, 20])
def test_components_are_clipped_to_the_rank(rank: int) -> None:
    """Beyond the rank Brain-Score fits rounding errors; within it, it is the reference."""
    rng = np.random.default_rng(1)
    features = rng.standard_normal((120, rank)) @ rng.standard_normal((rank, 300))
    responses = features[:, :8] + rng.standard_normal((120, 8))
    objects = made()[2]
    score, _, r = brainscore("pls", features, responses, objects, regression_kwargs={"n_components": rank})
    ours = predictivity(features, responses, splits=brainscore_splits(120, objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)
    assert ours.notices == (f"components clipped from 25 to {rank}, the rank of the features, in 10 of 10 splits",)
    assert brainscore("pls", features, responses, objects)[0] < score - 0.1


def test_the_fallback_agrees_with_the_gram_route(monkeypatch: pytest.MonkeyPatch) -> None:
    features, responses, _ = made()
    expected = predictivity(features, responses)
    monkeypatch.setattr(pls, "WEAK", 2.0)
    np.testing.assert_allclose(predictivity(features, responses).r, expected.r, atol=1e-9)


def test_few_features_and_few_stimuli() -> None:
    features, responses, _ = made()
    ours = predictivity(features[:, :4], responses)
    assert "components clipped from 25 to 4" in ours.notices[0]
    few = predictivity(features[:20], responses[:20], splits=brainscore_splits(20))
    assert "components clipped from 25 to 17" in few.notices[0]
    assert np.isfinite(few.r).all()


def test_one_neuroid() -> None:
    features, responses, objects = made(q=1)
    _, _, r = brainscore("pls", features, responses, objects)
    ours = predictivity(features, responses, splits=brainscore_splits(120, objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)


def test_sparse_matrices_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.sparse import csr_matrix

    features, responses, _ = made()
    codes = sparse_codes(features)
    for method in METHODS:
        dense = predictivity(codes, responses, method=method)
        found = predictivity(csr_matrix(codes), responses, method=method)
        np.testing.assert_allclose(found.r, dense.r, atol=1e-8)
        np.testing.assert_allclose(found.r2, dense.r2, atol=1e-8)


def test_missing_responses_are_fitted_on_what_is_there() -> None:
    """Neuroids that miss the same stimuli are mapped as Brain-Score maps them without those stimuli."""
    from sklearn.cross_decomposition import PLSRegression

    features, responses, _ = made()
    responses[7:20, 3] = responses[7:20, 5] = np.nan
    responses[:, 6] = np.nan
    splits = brainscore_splits(120)
    ours = predictivity(features, responses, splits=splits)
    known, whole = np.isfinite(responses[:, 3]), [0, 1, 2, 4, 7]
    for number in (0, 4):
        train, test = splits[number]
        train, test = train[known[train]], test[known[test]]
        fitted = PLSRegression(25, scale=False).fit(features[train], responses[train][:, [3, 5]])
        expected = pearson(fitted.predict(features[test]), responses[test][:, [3, 5]])
        np.testing.assert_allclose(ours.r[number, [3, 5]], expected, atol=1e-6)
    np.testing.assert_allclose(ours.r[:, whole], predictivity(features, responses[:, whole]).r, atol=1e-12)
    assert np.isnan(ours.r[:, 6]).all()
    assert np.isfinite(ours.score)
    assert any("lack responses to 13 of 120" in notice for notice in ours.notices)
    assert any("1 of 8 neuroids have no correlation" in notice for notice in ours.notices)


def test_a_constant_neuroid_is_undefined_and_named() -> None:
    features, responses, objects = made()
    responses[:, 2] = 4.0
    _, _, r = brainscore("pls", features, responses, objects)
    ours = predictivity(features, responses, splits=brainscore_splits(120, objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)
    assert np.isnan(ours.r[:, 2]).all()
    assert ours.notices


def test_regions_share_a_kernel_and_are_apart() -> None:
    features, responses, _ = made(q=12)
    groups = ["V4"] * 5 + ["IT"] * 7
    kernel = LinearKernel(features)
    for method in ("pls", "ridgecv"):
        both = predictivity(kernel, responses, method=method, groups=groups)
        for columns in (slice(0, 5), slice(5, 12)):
            alone = predictivity(features, responses[:, columns], method=method)
            np.testing.assert_allclose(both.r[:, columns], alone.r, atol=1e-10)
            if method == "ridgecv":
                np.testing.assert_array_equal(both.penalties[:, columns], alone.penalties)


@pytest.mark.parametrize(("p", "scale"), [(300, 1), (300, 100), (40, 1), (40, 100)])
def test_penalties_are_scikit_learns(p: int, scale: float) -> None:
    from sklearn.linear_model import RidgeCV

    features, responses, _ = made(p=p)
    features = sparse_codes(features) * scale
    splits = brainscore_splits(120)
    ours = predictivity(features, responses, method="ridgecv", splits=splits)
    for number, (train, test) in enumerate(splits):
        theirs = RidgeCV(alphas=PENALTIES).fit(features[train], responses[train])
        assert ours.penalties[number, 0] == theirs.alpha_
        np.testing.assert_allclose(ours.predictions[number], theirs.predict(features[test]), atol=1e-7)


@pytest.mark.parametrize(("method", "p", "q"), [("pls", 40, 30), ("pls", 15, 30), ("ridgecv", 40, 15)])
def test_reverse_predictivity(method: str, p: int, q: int) -> None:
    features, responses, objects = made(q=q, p=p)
    if method == "pls":
        features[:, 0] = 3.0  # the iteration must start elsewhere
    _, _, r = brainscore(method, responses, features, objects)
    ours = reverse_predictivity(features, responses, method=method, splits=brainscore_splits(120, objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)


@pytest.mark.parametrize(("p", "q"), [(300, 200), (60, 200), (150, 130)])
def test_many_neuroids(p: int, q: int) -> None:
    """More neuroids than directions of the features: the power iteration runs on the other side."""
    from sklearn.cross_decomposition import PLSRegression

    features, responses, _ = made(p=p, q=q)
    train, test = split = brainscore_splits(120)[3]
    theirs = PLSRegression(25, scale=False).fit(features[train], responses[train])
    ours = predictivity(features, responses, splits=[split])
    np.testing.assert_allclose(ours.predictions[0], theirs.predict(features[test]), atol=1e-8)


@pytest.mark.parametrize("method", ["pls", "ridge", "ridgecv"])
def test_pure_noise_explains_nothing(method: str) -> None:
    rng = np.random.default_rng(3)
    ours = predictivity(rng.standard_normal((200, 400)), rng.standard_normal((200, 30)), method=method)
    assert np.median(ours.r2) <= 0
    assert np.median(ours.r2.mean(axis=0)) <= 0
    low, high = ours.interval(draws=300)
    assert low < 0 < high


def test_the_interval_holds_the_score_and_repeats() -> None:
    features, responses, _ = made(q=30)
    ours = predictivity(features, responses)
    low, high = ours.interval(200, seed=4)
    assert (low, high) == ours.interval(200, seed=4) != ours.interval(200, seed=5)
    assert low < ours.score < high


def test_what_cannot_be_encoded_is_said() -> None:
    features, responses, _ = made()
    with pytest.raises(InputError, match="did you mean 'ridge'"):
        predictivity(features, responses, method="rige")
    with pytest.raises(InputError, match=r"expected \[120, neuroid\]"):
        predictivity(features, responses[:50])
    with pytest.raises(InputError, match="NaN or infinite"):
        predictivity(np.where(features > 5, np.nan, features), responses)
    with pytest.raises(InputError, match="cannot be split"):
        brainscore_splits(10, [str(row) for row in range(10)])
    with pytest.raises(InputError, match=r"expected \[stimulus, feature\]"):
        predictivity(features[:, 0], responses)


@pytest.mark.data
def test_v4_responses_are_predicted_as_brainscore_does(data_folder: Path) -> None:
    from bridge.data import dataset

    recordings = dataset("cowley2023_v4").recordings(sessions=["210325"])[0]
    stimuli = dataset("cowley2023_v4").stimuli(sessions=["210325"])
    assert recordings.stimulus_ids == stimuli.ids
    images = np.stack([stimuli.image(row)[4::8, 4::8].reshape(-1) for row in range(0, len(stimuli), 2)]).astype(float)
    responses = np.nanmean(recordings.data[:, ::2], axis=0).astype(float)
    objects = [f"o{row % 4}" for row in range(len(images))]
    score, _, r = brainscore("pls", images, responses, objects)
    ours = predictivity(images, responses, splits=brainscore_splits(len(images), objects))
    np.testing.assert_allclose(ours.r, r, atol=1e-6)
    assert ours.score == pytest.approx(score, abs=1e-7)
