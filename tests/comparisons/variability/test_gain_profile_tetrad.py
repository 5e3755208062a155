"""Fano factors and gain variance, variance profiles and the tetrad, where the truth is known; V1 and IT recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import nbinom

from bridge.errors import InputError
from comparisons.variability.gain import likely_gain_variance, mean_and_variance, variability
from comparisons.variability.profile import matched, profiles
from comparisons.variability.tetrad import tetrad


def counts(gain_variance: float, reps: int = 40, n: int = 60, neuroids: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2, 4, (1, n, neuroids))
    gain = rng.gamma(1 / gain_variance, gain_variance, (reps, n, neuroids)) if gain_variance else np.ones((reps, 1, 1))
    return rng.poisson(rate * gain).astype(float)


@pytest.mark.parametrize("gain_variance", [0.0, 0.1, 0.4])
def test_gain_variance_comes_back_by_moments_and_by_likelihood(gain_variance: float) -> None:
    trials = counts(gain_variance)
    found = variability(trials)
    assert found.gain_variance.mean() == pytest.approx(gain_variance, abs=0.02)
    assert likely_gain_variance(trials).mean() == pytest.approx(gain_variance, abs=0.02)
    if gain_variance == 0:
        assert found.fano.mean() == pytest.approx(1, abs=0.02)


def test_the_likelihood_is_that_of_the_negative_binomial() -> None:
    trials = counts(0.2, reps=12, n=20, neuroids=1)
    mean = trials[:, :, 0].mean(axis=0)

    def minus(log_variance: float) -> float:
        r = np.exp(-log_variance)
        return -nbinom.logpmf(trials[:, :, 0], r, r / (r + mean)).sum()

    best = np.exp(minimize_scalar(minus, bounds=(-6, 2), method="bounded").x)
    assert likely_gain_variance(trials)[0] == pytest.approx(best, rel=0.02)


def test_moments_of_trials_and_what_has_none() -> None:
    trials = counts(0.1, reps=5)
    trials[3:, 0] = np.nan
    trials[1:, 1] = np.nan
    mean, variance = mean_and_variance(trials)
    np.testing.assert_allclose(mean[0], trials[:3, 0].mean(0))
    np.testing.assert_allclose(variance[0], trials[:3, 0].var(0, ddof=1))
    assert np.isnan(variance[1]).all()
    trials[:, :, 2] = 0
    assert np.isnan(variability(trials).fano[2])
    assert np.isnan(likely_gain_variance(trials)[2])
    with pytest.raises(InputError, match="none"):
        variability(trials[:1])
    with pytest.raises(InputError, match="negative somewhere"):
        variability(trials - 1)
    with pytest.raises(InputError, match="not whole numbers"):
        likely_gain_variance(trials / 2)


def areas(inherit: bool, seed: int = 0, reps: int = 30, n: int = 100, q: int = 40) -> tuple[np.ndarray, list[str]]:
    """Two areas whose gain variance depends on the stimulus, in IT as in V1 or on its own."""
    rng = np.random.default_rng(seed)
    first = rng.gamma(2, 0.1, n)
    parts = []
    for profile in (first, first if inherit else rng.gamma(2, 0.1, n)):
        shape = 1 / profile[None, :, None]
        gain = rng.gamma(np.broadcast_to(shape, (reps, n, q))) / shape
        parts.append(rng.poisson(rng.gamma(2, 4, (1, n, q)) * gain))
    return np.concatenate(parts, axis=2).astype(float), ["V1"] * q + ["IT"] * q


def test_a_profile_that_is_inherited_is_seen_and_one_that_is_not_is_not() -> None:
    (found,) = profiles(*areas(True), permutations=199)
    assert found.region == "IT"
    assert found.p == pytest.approx(1 / 200)
    assert found.added > 0.3
    assert found.weights["V1"] > 0.5
    null = [profiles(*areas(False, seed), permutations=99)[0].p for seed in range(1, 9)]
    assert sum(p <= 0.05 for p in null) <= 2
    with pytest.raises(InputError, match="20 stimuli are too few"):
        profiles(*areas(True, n=20))


def test_mean_counts_are_matched_between_areas() -> None:
    rng = np.random.default_rng(0)
    mean = np.concatenate([rng.gamma(2, 2, 60), rng.gamma(2, 3, 60)]) * rng.gamma(5, 0.2, (50, 1))
    names = np.array(["V1"] * 60 + ["IT"] * 60)
    first, last = matched(mean, names, ("V1", "IT"), rng)
    assert len(first) == len(last) >= 10
    before = mean[:, 60:].mean() / mean[:, :60].mean()
    assert abs(np.log(mean[:, last].mean() / mean[:, first].mean())) < 0.5 * np.log(before)
    mean[:, 60:] *= 100
    with pytest.raises(InputError, match="After matching mean counts"):
        matched(mean, names, ("V1", "IT"), rng)


def chain(direct: float, seed: int = 0, q: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    e1 = rng.standard_normal((20, 80, 4))
    e2 = e1 + rng.standard_normal(e1.shape)
    aside = rng.standard_normal(e1.shape)
    e3 = e2 + direct * aside
    read = [rng.standard_normal((4, q)) for _ in range(4)]
    noise = [0.5 * rng.standard_normal((20, 80, q)) for _ in range(3)]
    return [e1 @ read[0] + aside @ read[3] * (direct > 0) + noise[0], e2 @ read[1] + noise[1], e3 @ read[2] + noise[2]]


def test_the_tetrad_is_small_in_a_chain_and_large_with_a_path_aside() -> None:
    through = tetrad(*chain(0), splits=5)
    assert abs(through.tau) < 0.05
    assert through.rank >= 8
    assert tetrad(*chain(2), splits=5).tau > 0.5
    # The trap: at a rank below that of the stage's own noise, a strict chain seems to have a path aside.
    assert tetrad(*chain(0), splits=5, rank=2).tau > 0.1
    early, middle, late = chain(0)
    with pytest.raises(InputError, match="the same trials"):
        tetrad(early, middle[:5], late)
    middle[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="complete trials"):
        tetrad(early, middle, late)


@pytest.mark.data
def test_v1_counts_are_more_variable_than_poisson(data_folder: Path) -> None:
    """Henaff et al.'s four V1 populations: Fano factors above 1, sG^2 above 0, both estimates alike."""
    from bridge.data import dataset

    for one in dataset("henaff2021_v1").recordings():
        found = variability(one.data)
        likely = likely_gain_variance(one.data)
        fano, gain = np.nanmedian(found.fano), np.nanmedian(found.gain_variance)
        assert 1 < fano < 4, one.name
        assert 0 < gain < 1.5, one.name
        assert np.nanmedian(likely) == pytest.approx(gain, abs=0.25), one.name


@pytest.mark.data
def test_it_counts_are_more_variable_than_poisson(data_folder: Path) -> None:
    """Zhang et al.'s 132 IT neurons, recorded one after the other."""
    from bridge.data import dataset

    (one,) = dataset("zhang_desimone_it").recordings()
    found = variability(one.data)
    assert 1 < np.nanmedian(found.fano) < 4
    assert 0.05 < np.nanmedian(found.gain_variance) < 1
    assert np.nanmedian(likely_gain_variance(one.data)) == pytest.approx(np.nanmedian(found.gain_variance), abs=0.1)
