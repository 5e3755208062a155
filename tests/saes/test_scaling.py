"""The scaling law recovers planted coefficients, says how sure it is, and asks for enough points."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bridge.errors import InputError
from saes.scaling import NAMES, fit_scaling_law

PLANTED = np.array([-0.5, 0.26, -0.017, -0.042, -1.32, -0.085])  # Gao et al. 2024, section 3.1.3: GPT-4


def law(c: np.ndarray, n: np.ndarray, k: np.ndarray) -> np.ndarray:
    alpha, beta_k, beta_n, gamma, zeta, eta = c
    first = alpha + beta_k * np.log(k) + beta_n * np.log(n) + gamma * np.log(k) * np.log(n)
    return np.exp(first) + np.exp(zeta + eta * np.log(k))


def sweep() -> tuple[np.ndarray, np.ndarray]:
    n, k = np.meshgrid(2.0 ** np.arange(8, 22, 2), 2.0 ** np.arange(3, 9))
    return n.ravel(), k.ravel()


def test_planted_coefficients_are_recovered():
    n, k = sweep()
    found = fit_scaling_law(n, k, law(PLANTED, n, k), draws=0)
    np.testing.assert_allclose(found.coefficients, PLANTED, atol=2e-3)
    np.testing.assert_allclose(found.predict(2.0**26, 64), law(PLANTED, np.array(2.0**26), np.array(64)), rtol=1e-3)
    assert np.abs(found.residuals).max() < 1e-6
    assert 0.3 < found.floor < 1
    with pytest.raises(InputError, match="without bootstrap draws"):
        found.interval(100, 8)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["intervals"]["alpha"] is None


def test_intervals_hold_the_truth_as_often_as_they_say():
    n, k = sweep()
    truth = law(PLANTED, n, k)
    held = 0
    at = np.array([2.0**12, 2.0**16, 2.0**24]), np.array([16, 64, 64])
    for seed in range(8):
        noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal(len(n)))
        found = fit_scaling_law(n, k, truth * noise, draws=40, seed=seed)
        low, high = found.interval(*at)
        held += int(((low <= law(PLANTED, *at)) & (law(PLANTED, *at) <= high)).sum())
        assert ((high - low)[:2] < 0.05 * low[:2]).all()
    # Of 24, at a level of .95; 40 draws and dependent points make it coarse.
    assert held >= 19


def test_a_run_that_went_wrong_does_not_bend_the_law():
    n, k = sweep()
    loss = law(PLANTED, n, k) * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(n)))
    clean = fit_scaling_law(n, k, loss, draws=0)
    loss[[3, 20]] *= 1.8
    found = fit_scaling_law(n, k, loss, draws=0)
    np.testing.assert_allclose(found.predict(n, k), clean.predict(n, k), rtol=0.01)
    assert found.residuals[[3, 20]].min() > 0.5


def test_a_sweep_without_a_floor_says_so():
    n, k = sweep()
    powers = np.exp(-0.5 + 0.2 * np.log(k) - 0.1 * np.log(n) - 0.04 * np.log(k) * np.log(n))
    found = fit_scaling_law(n, k, powers, draws=0)
    np.testing.assert_allclose(found.predict(n, k), powers, rtol=1e-3)
    assert found.floor < 0.05


def test_what_lies_outside_of_the_sweep_is_told():
    n, k = sweep()
    found = fit_scaling_law(n, k, law(PLANTED, n, k), draws=4)
    assert found.extrapolates([100, 2**10, 2**30], 64).tolist() == [True, False, True]
    assert found.extrapolates(2**10, [4, 8, 512]).tolist() == [True, False, True]
    written = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert list(written["coefficients"]) == list(NAMES)
    assert len(written["intervals"]["eta"]) == 2
    again = fit_scaling_law(n, k, law(PLANTED, n, k), draws=4)
    assert np.array_equal(again.draws, found.draws)


def test_sweeps_that_are_too_small_are_refused():
    n, k = sweep()
    loss = law(PLANTED, n, k)
    with pytest.raises(InputError, match="7 points with 7 different n and 1 different k"):
        fit_scaling_law(n[:7], k[:7], loss[:7])
    two = n < 2.0**11
    with pytest.raises(InputError, match="12 points with 2 different n"):
        fit_scaling_law(n[two], k[two], loss[two])
    with pytest.raises(InputError, match="42 n, 42 k and 41 losses"):
        fit_scaling_law(n, k, loss[1:])
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="loss holds values that are not positive and finite"):
            fit_scaling_law(n, k, np.append(loss[1:], bad))
