"""The permutation test against permuting by hand, and the false-positive rates of all tests under the null."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom

from bridge.errors import InputError
from comparisons.rdms import euclidean_rdm
from comparisons.rsa import evaluate
from comparisons.rsa.permutation import MEASURES, permute_stimuli


def data(n: int = 12, subjects: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = np.round(rng.random(n * (n - 1) // 2), 1)
    return shared + np.round(rng.random((2, shared.size)), 1), shared + rng.random((subjects, shared.size))


@pytest.mark.parametrize("measure", MEASURES)
def test_estimates_are_those_of_rsa_and_permutations_those_of_permuted_models(measure: str) -> None:
    models, region = data()
    found = permute_stimuli(models, region, measure=measure, permutations=3, seed=5)
    estimate = evaluate(models, region, measure=measure, draws=0).estimate
    np.testing.assert_allclose(found.estimate + found.chance, estimate, atol=1e-12)
    rng = np.random.default_rng(5)
    upper = np.triu_indices(12, 1)
    for row in found.null:
        # Permuting the region's stimuli by an order permutes the model's by its inverse.
        order = rng.permutation(12)
        squares = np.zeros((len(region), 12, 12))
        squares[:, upper[0], upper[1]] = squares[:, upper[1], upper[0]] = region
        moved = squares[:, order[upper[0]], order[upper[1]]]
        estimate = evaluate(models, moved, measure=measure, draws=0).estimate
        np.testing.assert_allclose(row + found.chance, estimate, atol=1e-12)


def test_a_related_model_is_found_and_familywise_p_is_never_smaller() -> None:
    models, region = data(20)
    rng = np.random.default_rng(1)
    found = permute_stimuli(np.concatenate([models, rng.random((3, 190))]), region, permutations=499)
    assert found.p()[:2].max() == 1 / 500
    assert found.p()[2:].min() > 1 / 500
    assert (found.p_familywise() >= found.p()).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_chance_is_the_mean_over_all_permutations(measure: str) -> None:
    models, region = data(5)
    upper = np.triu_indices(5, 1)
    square = np.zeros((len(models), 5, 5))
    square[:, upper[0], upper[1]] = square[:, upper[1], upper[0]] = models
    scores = [
        evaluate(square[:, np.array(order)[upper[0]], np.array(order)[upper[1]]], region, measure=measure, draws=0)
        for order in permutations(range(5))
    ]
    chance = np.mean([found.estimate for found in scores], axis=0)
    np.testing.assert_allclose(
        permute_stimuli(models, region, measure=measure, permutations=1).chance, chance, atol=1e-12
    )
    assert (np.abs(chance) > 0.5).all() == measure.startswith("cosine")


def test_tau_a_is_refused() -> None:
    with pytest.raises(InputError, match="no permutation test"):
        permute_stimuli(*data(), measure="tau-a")


def simulated(seed: int, subjects: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Models [3, pair] of which the first is unrelated to the region [subjects, pair] and two are equally good."""
    rng = np.random.default_rng(seed)

    def patterns() -> np.ndarray:
        return rng.standard_normal((n, 10)) * (1 + 0.3 * rng.standard_normal((n, 1)))

    signal = patterns()
    region = np.stack([euclidean_rdm(signal + 0.7 * rng.standard_normal((n, 10))) for _ in range(subjects)])
    equal = [euclidean_rdm(signal + 1.5 * patterns()) for _ in range(2)]
    return np.stack([euclidean_rdm(patterns()), *equal]), region


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [1, 12])
@pytest.mark.parametrize("measure", MEASURES)
def test_false_positive_rate_of_the_permutation_test_is_five_percent(subjects: int, measure: str) -> None:
    rejected = familywise = 0
    for seed in range(1000):
        models, region = simulated(seed, subjects)
        unrelated, _ = simulated(seed + 10_000, 1)
        null = permute_stimuli(
            np.concatenate([models[:1], unrelated]), region, measure=measure, permutations=199, seed=seed
        )
        rejected += null.p()[0] <= 0.05
        familywise += null.p_familywise().min() <= 0.05
    low, high = binom.interval(0.99, 1000, 0.05)
    assert low <= rejected <= high
    assert low <= familywise <= high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "subjects", "highest"),
    [("corr", 12, 0.09), ("corr", 1, 0.09), ("spearman", 1, 0.09), ("corr_cov", 12, 0.068), ("corr_cov", 1, 0.068)],
)
def test_false_positive_rates_of_the_t_tests_are_near_five_percent(measure: str, subjects: int, highest: float) -> None:
    """Against zero and between models.

    Bootstrap variances are asymptotic: with thirty stimuli the plain correlation rejects too often, at 5 to 8%, and the
    whitened one too rarely (0.068 is the upper binomial bound of a true 5%).
    """
    rejected = np.zeros(2)
    for seed in range(1000):
        models, region = simulated(seed, subjects)
        found = evaluate(models, region, measure=measure, draws=200, seed=seed)
        rejected += found.p()[0] <= 0.05, found.p_differences()[1, 2] <= 0.05
    assert (rejected / 1000 <= highest).all(), rejected / 1000


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["corr", "spearman", "tau-a"])
def test_false_positive_rate_of_sign_flips_between_models_is_five_percent(measure: str) -> None:
    """Each subject prefers one of two models by the toss of a coin: over subjects the models are exchangeable."""
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(1000):
        pairs = 190
        models = rng.random((2, pairs))
        prefers = rng.integers(0, 2, 12)
        region = models[prefers] + models[1 - prefers] * rng.random((12, 1)) + rng.random((12, pairs))
        found = evaluate(models, region, measure=measure, draws=0)
        rejected += found.p_differences_over_subjects()[0, 1] <= 0.05
    low, high = binom.interval(0.99, 1000, 0.05)
    assert low <= rejected <= high
