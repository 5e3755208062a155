"""Seed stability and recovery of planted directions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from bridge.errors import InputError
from saes.stability import mean_max_cosine, seed_stability


def directions(m: int, seed: int, d: int = 16) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((m, d))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_stability_is_the_optimal_assignments():
    a, b = directions(40, 0), directions(40, 1)
    b[:25] = a[10:35] + 0.02 * directions(25, 2)
    full = a @ b.T / np.linalg.norm(b, axis=1)
    rows, columns = linear_sum_assignment(full, maximize=True)
    found = seed_stability(a, torch.from_numpy(b))
    np.testing.assert_allclose(np.sort(found.cosines), np.sort(full[rows, columns]), atol=1e-6)
    assert found.mean == pytest.approx(full[rows, columns].mean())
    assert found.share == (full[rows, columns] > 0.7).mean()
    assert seed_stability(a, b, threshold=-1).share == 1
    assert seed_stability(a, 3 * a).mean == pytest.approx(1)


def test_dead_latents_and_sizes():
    a, b = directions(40, 0), directions(60, 1)
    b[:40] = a
    assert seed_stability(a, b).mean == pytest.approx(1)
    assert len(seed_stability(a, b).cosines) == 40
    alive = np.arange(60) >= 30
    some = seed_stability(a, b, alive_b=alive)
    assert len(some.cosines) == 30
    assert 10 / 30 <= some.share < 15 / 30
    opposite = seed_stability(np.eye(4)[:1], -np.eye(4)[:1])
    assert opposite.mean == 0
    nothing = seed_stability(np.zeros((3, 16)), a)
    assert np.isnan(nothing.mean)
    assert np.isnan(nothing.share)
    with pytest.raises(InputError, match="different bases"):
        seed_stability(a, directions(5, 0, 8))


def test_mean_max_cosine():
    true, learned = directions(30, 0), directions(50, 1)
    learned[:20] = 2 * true[:20]
    mean, each = mean_max_cosine(true, learned)
    expected = (true @ (learned / np.linalg.norm(learned, axis=1, keepdims=True)).T).max(1)
    np.testing.assert_allclose(each, expected, atol=1e-6)
    assert mean == pytest.approx(expected.mean())
    # A direction and its opposite are not the same feature.
    assert mean_max_cosine(np.eye(3)[:1], -np.eye(3)[:1])[0] == -1
    assert mean_max_cosine(np.zeros((1, 3)), np.eye(3))[0] == 0
    with pytest.raises(InputError, match="0 true and 3 learned"):
        mean_max_cosine(np.zeros((0, 3)), np.eye(3))
