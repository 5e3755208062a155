"""Alignment against Brain-Score's CKA and scipy's Procrustes, and what each must not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes
from scipy.stats import ortho_group

from bridge.errors import InputError
from comparisons.encoding.alignment import cka, procrustes


def pair(n: int = 40, p: int = 70, q: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 5))
    x = 2 + shared @ rng.standard_normal((5, p)) + rng.standard_normal((n, p))
    return x, shared @ rng.standard_normal((5, q)) + rng.standard_normal((n, q))


@pytest.mark.parametrize("shape", [(40, 70, 12), (30, 8, 9), (5, 20, 20)])
def test_cka_is_brainscores(shape: tuple[int, int, int]) -> None:
    from brainscore_vision.metrics.cka.metric import linear_CKA, unbiased_linear_CKA

    x, y = pair(*shape)
    assert cka(x, y) == pytest.approx(unbiased_linear_CKA(x, y), abs=1e-9)
    assert cka(x, y, unbiased=False) == pytest.approx(float(linear_CKA(x, y)), abs=1e-12)
    assert cka(x, x, unbiased=False) == pytest.approx(1)


def test_only_the_biased_form_rises_with_features() -> None:
    rng = np.random.default_rng(0)
    draws = [(rng.standard_normal((50, 400)), rng.standard_normal((50, 400))) for _ in range(20)]
    assert np.mean([cka(x, y, unbiased=False) for x, y in draws]) > 0.8
    assert abs(np.mean([cka(x, y) for x, y in draws])) < 0.03


def test_procrustes_is_scipys_and_sees_no_rotation() -> None:
    x, y = pair(p=12)
    _, _, disparity = scipy_procrustes(x, y)
    assert procrustes(x, y) == pytest.approx(np.sqrt(1 - disparity))
    rotation = ortho_group.rvs(12, random_state=0)
    assert procrustes(3 * x @ rotation + 1, x) == pytest.approx(1)
    padded = np.concatenate([y, np.zeros((40, 30))], axis=1)
    assert procrustes(x, padded) == pytest.approx(procrustes(x, y))
    assert procrustes(*pair()) == pytest.approx(procrustes(*pair()[::-1]))


def test_edges() -> None:
    x, y = pair()
    with pytest.raises(InputError, match="40 and of 30 stimuli"):
        cka(x, y[:30])
    with pytest.raises(InputError, match="at least 4"):
        cka(x[:3], y[:3])
    assert cka(np.ones((10, 3)), y[:10]) == procrustes(np.ones((10, 3)), y[:10]) == 0
