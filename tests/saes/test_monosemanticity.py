"""The closed form of the monosemanticity score against the loop over pairs that it replaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from bridge.errors import InputError
from saes.codes import SparseCodes
from saes.monosemanticity import monosemanticity


def by_pairs(activations: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Pach et al. 2025, as their code has it: min-max scaling, then all pairs i < j."""
    span = activations.max(0) - activations.min(0)
    a = (activations - activations.min(0)) / np.where(span > 0, span, np.nan)
    e = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    weighted, weights = np.zeros(a.shape[1]), np.zeros(a.shape[1])
    for i in range(len(a)):
        for j in range(i + 1, len(a)):
            weighted += a[i] * a[j] * (e[i] @ e[j])
            weights += a[i] * a[j]
    return np.where(weights > 0, weighted / np.where(weights > 0, weights, 1), np.nan)


def case(n: int = 60, m: int = 25, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    activations = rng.gamma(2, size=(n, m)) * (rng.random((n, m)) < 0.2)
    activations[:, 0] = 0
    activations[:, 1] = 0
    activations[7, 1] = 3
    activations[:, 2] = 1.5
    activations[:, 3] = 2 + rng.random(n)  # active by every image: here the minimum matters
    return activations, rng.standard_normal((n, d)) + 1


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, lambda x: SparseCodes.of(torch.from_numpy(x)), torch.tensor])
def test_scores_are_those_of_the_pairs(form):
    activations, embeddings = case()
    expected = by_pairs(activations, embeddings)
    found = monosemanticity(form(activations), embeddings)
    np.testing.assert_allclose(found.scores, expected, rtol=1e-10)
    assert np.isnan(expected[:3]).all()
    assert found.undefined == 3
    assert found.images[:4].tolist() == [0, 1, 0, 59]
    assert found.mean == pytest.approx(np.nanmean(expected))
    raw = (activations**2).sum(0)
    e = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    without = (np.square(activations.T @ e).sum(1) - raw) / (activations.sum(0) ** 2 - raw + 1e-300)
    assert abs(without[3] - expected[3]) > 1e-4


def test_negative_activations_of_plain_units_count_from_their_minimum():
    activations, embeddings = case()
    activations = activations - 0.5 * (np.random.default_rng(1).random(activations.shape) < 0.3)
    activations[:, 5] = np.random.default_rng(2).standard_normal(60)
    np.testing.assert_allclose(
        monosemanticity(activations, embeddings).scores, by_pairs(activations, embeddings), rtol=1e-9
    )


def test_golden_values():
    """Two clusters of images at a right angle: one cluster scores 1, both the share of like pairs."""
    embeddings = np.repeat(np.eye(2), 5, axis=0)
    activations = np.zeros((10, 3))
    activations[:5, 0] = [1, 2, 3, 4, 5]
    activations[[0, 5], 1] = 1
    activations[[0, 1, 5, 6], 2] = 1
    found = monosemanticity(activations, 7 * embeddings)
    np.testing.assert_allclose(found.scores, [1, 0, 2 / 6], atol=1e-12)
    assert found.images.tolist() == [5, 2, 4]
    nothing = monosemanticity(np.zeros((10, 2)), embeddings)
    assert np.isnan(nothing.mean)
    assert nothing.undefined == 2


def test_bad_input():
    activations, embeddings = case()
    with pytest.raises(InputError, match=r"60 images have embeddings of shape \[59, 12\]"):
        monosemanticity(activations, embeddings[1:])
    embeddings[3] = 0
    with pytest.raises(InputError, match="an embedding is 0"):
        monosemanticity(activations, embeddings)
    embeddings[3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        monosemanticity(activations, embeddings)
