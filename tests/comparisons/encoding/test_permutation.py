"""The permutation test of encoding: what it permutes, its edges, and its false-positive rate under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from bridge.errors import InputError
from comparisons.encoding import brainscore_splits, nanmedian, pearson, predictivity
from comparisons.encoding.permutation import permuted_predictions


def made(n: int, effect: float, seed: int = 0, q: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 40] and responses [n, q] whose noise is correlated between neuroids and skewed."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 40))
    noise = np.exp(rng.standard_normal((n, 1))) + rng.standard_normal((n, q))
    return x, effect * x @ rng.standard_normal((40, q)) + noise


@pytest.mark.parametrize("method", ["ridge", "pls"])
def test_p_is_the_share_of_orders_that_reach_the_score(method: str) -> None:
    x, y = made(60, 0.15)
    found = permuted_predictions(x, y, method=method, permutations=60, seed=3)
    splits = brainscore_splits(60, splits=1, train_size=0.5, seed=3)
    fitted = predictivity(x, y, method=method, splits=splits)
    held = y[splits[0][1]]
    rng = np.random.default_rng(3)
    null = [float(nanmedian(pearson(fitted.predictions[0], held[rng.permutation(30)]))) for _ in range(60)]
    expected = (1 + (np.abs(null) >= abs(fitted.score)).sum()) / 61
    assert found.p() == pytest.approx(expected)
    few = np.array([0, 4])
    own = abs(float(nanmedian(fitted.r[:, few])[0]))
    rng = np.random.default_rng(3)
    null = [
        float(nanmedian(pearson(fitted.predictions[0][:, few], held[rng.permutation(30)][:, few]))) for _ in range(60)
    ]
    assert found.p(few) == pytest.approx((1 + (np.abs(null) >= own).sum()) / 61)


def test_an_effect_is_found_and_edges_have_a_stated_result() -> None:
    x, y = made(100, 0.5)
    y[:, 0] = 3.0
    y[:20, 1] = np.nan
    found = permuted_predictions(x, y, method="ridge", permutations=199)
    assert found.p() == 1 / 200
    assert np.isnan(found.p(np.array([0])))
    assert np.isnan(found.p(np.array([0, 1])))
    with pytest.raises(InputError, match="too few orders"):
        permuted_predictions(x[:6], y[:6, 2:], method="ridge")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ridge", "ridgecv", "pls", "neuron-to-neuron"])
def test_false_positive_rate_is_five_percent(method: str) -> None:
    rejected = 0
    for seed in range(1000):
        x, y = made(40, 0.0, seed)
        options = {"components": 3} if method == "pls" else {}
        found = permuted_predictions(x, y, method=method, permutations=199, seed=seed, **options)
        rejected += found.p() <= 0.05
    low, high = binom.interval(0.99, 1000, 0.05)
    assert low <= rejected <= high
