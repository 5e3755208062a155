"""Partial and semi-partial RSA against residuals written out, on all data and within draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from bridge.errors import InputError
from comparisons.rsa import evaluate
from comparisons.rsa.bootstrap import Draws


def data(n: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Models [3, pair], subjects [4, pair] and nuisances [2, pair] that share something; with ties."""
    rng = np.random.default_rng(seed)
    shared, confound = rng.random((2, n * (n - 1) // 2))
    models = shared + confound + rng.random((3, shared.size))
    region = shared + 2 * confound + rng.random((4, shared.size))
    nuisance = confound + 0.3 * rng.random((2, shared.size))
    return np.round(models, 2), np.round(region, 2), nuisance


def residuals(x: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    design = np.column_stack([np.ones(nuisance.shape[1]), nuisance.T])
    return x - design @ np.linalg.lstsq(design, x, rcond=None)[0]


def resampled(rdms: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    n = len(drawn)
    first, second = np.triu_indices(n, 1)
    squares = np.full((len(rdms), n, n), np.nan)
    upper = np.triu_indices(n, 1)
    squares[:, upper[0], upper[1]] = squares[:, upper[1], upper[0]] = rdms
    vectors = squares[:, np.sort(drawn)[first], np.sort(drawn)[second]]
    return vectors[:, np.isfinite(vectors[0])]


def expected(
    models: np.ndarray, region: np.ndarray, nuisance: np.ndarray, ranked: bool, semipartial: bool
) -> np.ndarray:
    if ranked:
        models, region, nuisance = (rankdata(rdms, axis=1) for rdms in (models, region, nuisance))
    out = np.empty((len(models), len(region)))
    for i, model in enumerate(models):
        for j, subject in enumerate(region):
            target = subject if semipartial else residuals(subject, nuisance)
            out[i, j] = np.corrcoef(residuals(model, nuisance), target)[0, 1]
    return out


@pytest.mark.parametrize("measure", ["spearman", "corr"])
@pytest.mark.parametrize("semipartial", [False, True])
def test_partial_correlations_equal_correlations_of_residuals(measure: str, semipartial: bool) -> None:
    models, region, nuisance = data()
    draws = Draws.make("dual", 6, 12, 4, seed=2)
    result = evaluate(models, region, measure=measure, nuisance=nuisance, semipartial=semipartial, replay=draws)
    ranked = measure == "spearman"
    np.testing.assert_allclose(
        result.subjects, expected(models, region, nuisance, ranked, semipartial), rtol=0, atol=1e-10
    )
    for draw in range(6):
        parts = (resampled(rdms, draws.stimuli[draw]) for rdms in (models, region, nuisance))
        similarity = expected(*parts, ranked, semipartial)
        np.testing.assert_allclose(result.resampled.evaluations[2, draw], similarity.mean(axis=1), rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            result.resampled.evaluations[0, draw],
            similarity[:, draws.subjects[draw]].mean(axis=1),
            rtol=0,
            atol=1e-10,
        )


def test_the_ceiling_of_partial_rsa_is_that_of_residual_rdms() -> None:
    models, region, nuisance = data()
    result = evaluate(models, region, measure="corr", nuisance=nuisance, draws=0)
    left = np.stack([residuals(subject, nuisance) for subject in region])
    assert result.ceiling == pytest.approx(evaluate(models, left, measure="corr", draws=0).ceiling, abs=1e-12)
    pool = (left / left.std(axis=1, keepdims=True)).mean(axis=0)
    semi = evaluate(models, region, measure="corr", nuisance=nuisance, semipartial=True, draws=0)
    upper = np.mean([np.corrcoef(pool, subject)[0, 1] for subject in region])
    assert semi.ceiling[1] == pytest.approx(upper, abs=1e-12)


def test_a_shared_confound_vanishes() -> None:
    rng = np.random.default_rng(1)
    confound = rng.random(40 * 39 // 2)
    models, region = (confound + 0.3 * rng.random((k, confound.size)) for k in (1, 3))
    assert evaluate(models, region, draws=0).estimate[0] > 0.8
    assert abs(evaluate(models, region, nuisance=confound[None], draws=0).estimate[0]) < 0.1


def test_whitened_partial_correlation_runs_and_collinear_nuisances_do_no_harm() -> None:
    models, region, nuisance = data()
    once = evaluate(models, region, measure="corr_cov", nuisance=nuisance, draws=20)
    twice = evaluate(models, region, measure="corr_cov", nuisance=np.concatenate([nuisance, nuisance]), draws=20)
    np.testing.assert_allclose(once.estimate, twice.estimate, rtol=0, atol=1e-7)
    assert np.isfinite(once.standard_error).all()


def test_what_the_nuisances_explain_or_a_measure_cannot_do_is_refused() -> None:
    models, region, nuisance = data()
    with pytest.raises(InputError, match="explain all of 1 model RDMs"):
        evaluate(nuisance[:1] * 3 + 1, region, measure="corr", nuisance=nuisance)
    with pytest.raises(InputError, match="no partial form"):
        evaluate(models, region, measure="tau-a", nuisance=nuisance)
    with pytest.raises(InputError, match="Nuisance RDMs of shape"):
        evaluate(models, region, nuisance=nuisance[:, :-1])
