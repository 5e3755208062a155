"""Poisson counts by quantile, and counts that hardly depend on the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from bridge.recordings.simulated import SimulatedRecordings, record, simulate
from bridge.recordings.simulated.maps import _complement
from bridge.recordings.simulated.poisson import GRID, TABLED, poisson_quantiles
from bridge.threads import threads_limited


def rates(mean: float, n: int = 20_000) -> np.ndarray:
    return (mean * np.random.default_rng(1).gamma(2, 0.5, n)).astype(np.float32)


@pytest.mark.parametrize("mean", [0.02, 1, 5, 300])
def test_equal_to_the_quantiles_of_scipy(mean: float) -> None:
    rate, uniform = rates(mean), np.random.default_rng(2).random(20_000)
    rounded = (np.rint(GRID * np.sqrt(rate)) / GRID) ** 2
    np.testing.assert_array_equal(poisson_quantiles(rate, uniform), np.maximum(poisson.ppf(uniform, rounded), 0))


@pytest.mark.parametrize("mean", [5e3, 1e6])
def test_large_rates_are_a_count_off_at_most_and_seldom(mean: float) -> None:
    rate, uniform = np.maximum(rates(mean), np.float32(1.01 * TABLED)), np.random.default_rng(2).random(20_000)
    off = np.abs(poisson_quantiles(rate, uniform) - poisson.ppf(uniform, rate.astype(float)))
    assert off.max() <= 1
    assert (off > 0).mean() < 2e-3


def test_the_ends_of_the_distribution() -> None:
    rate = np.array([0, 1e-9, 5, 4000, np.nextafter(np.float32(TABLED), np.float32(0)), TABLED, 1e12], np.float32)
    low, high = (poisson_quantiles(rate, np.full(rate.shape, end)) for end in (0.0, 1 - 2.0**-53))
    assert np.isfinite([low, high]).all()
    assert (low <= high).all()
    assert low[0] == high[0] == 0
    assert low[2] == 0
    assert (low[3:] > rate[3:] - 9.5 * np.sqrt(rate[3:]) - 10).all()
    assert (high[2:] > rate[2:] + 6 * np.sqrt(rate[2:])).all()
    assert poisson_quantiles(np.full(1, 1e18, np.float32), np.full(1, 0.5)) == np.float32(1e18)
    assert poisson_quantiles(np.zeros((0, 3), np.float32), np.zeros((0, 3))).shape == (0, 3)


def test_mean_and_variance_are_those_of_the_rate() -> None:
    rate = np.full(400_000, 7.3, np.float32)
    counts = poisson_quantiles(rate, np.random.default_rng(3).random(rate.shape))
    assert counts.mean() == pytest.approx(7.3, abs=5 * np.sqrt(7.3 / 400_000))
    assert counts.var() == pytest.approx(7.3, rel=0.02)


def test_a_rate_changes_its_own_count_alone() -> None:
    rate, uniform = rates(5), np.random.default_rng(2).random(20_000)
    other = rate.copy()
    other[100] *= 3
    changed = np.flatnonzero(poisson_quantiles(rate, uniform) != poisson_quantiles(other, uniform))
    assert set(changed) <= {100}


def test_columns_that_depend_on_others_take_no_direction_away() -> None:
    columns = np.random.default_rng(0).standard_normal((30, 4))
    basis = _complement(np.concatenate([columns, columns @ np.ones((4, 3))], axis=1))
    assert basis.shape == (30, 26)
    np.testing.assert_allclose(basis.T @ columns, 0, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(26), atol=1e-12)


def test_another_number_of_threads_changes_few_counts_and_by_one() -> None:
    rng = np.random.default_rng(0)
    energies = rng.standard_normal((900, 12)).astype(np.float32)
    turned = [(np.arange(500, 900), rng.standard_normal((400, 2)))]
    spec = SimulatedRecordings(
        neuroids={"V1": 30, "V2": 30, "V4": 30, "IT": 30}, reps=6, simple_dimensions=12, complex_dimensions=16
    )
    ids = tuple(map(str, range(len(energies))))

    def counts(threads: int) -> np.ndarray:
        with threads_limited(threads):
            return record(spec, ids, simulate(spec, energies, turned)).data

    one, more = counts(1), counts(2)
    assert np.abs(one - more).max() <= 1
    assert (one != more).mean() < 1e-4
