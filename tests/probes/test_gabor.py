"""Planted receptive fields come back with their parameters, at three levels of noise, and against their rivals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bridge.errors import InputError
from probes.energy import fit_energy
from probes.gabor import GaborFit, correlation, fit_alternatives, fit_gabor, fit_quadrature_pair
from probes.receptive_fields import field_size, mean_gradients, noise_images, noise_maps

SIZE = 24


def planted(count: int, seed: int, pairs: bool = False) -> GaborFit:
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(1.5, 5, count)
    phase = rng.uniform(0, 360, count)
    return GaborFit(
        x=rng.uniform(-0.2, 0.2, count),
        y=rng.uniform(-0.2, 0.2, count),
        orientation=rng.uniform(0, 180, count),
        frequency=frequency,
        sigma_across=rng.uniform(0.3, 0.6, count) / frequency,
        sigma_along=rng.uniform(0.4, 0.9, count) / frequency,
        phase=np.stack([phase, phase + 90], axis=1) if pairs else phase,
        amplitude=np.full((count, 2) if pairs else count, 2.0),
        r2=np.ones(count),
        held_out=np.ones(count),
    )


def turned(one: np.ndarray, other: np.ndarray, period: float) -> np.ndarray:
    return np.abs((one - other + period / 2) % period - period / 2)


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 1e-3), (0.5, 1.0), (1.0, 2.0)])
def test_planted_gabors_come_back(noise: float, tolerance: float) -> None:
    """`tolerance` is in degrees of orientation; the others follow. Noise is in standard deviations of the map."""
    true, rng = planted(60, 0), np.random.default_rng(1)
    maps = true.drawn(SIZE)
    sd = noise * maps.std(axis=(1, 2), keepdims=True)
    one, two = (maps + sd * rng.standard_normal(maps.shape) for _ in range(2))
    found = fit_gabor(one, two)
    assert np.median(turned(found.orientation, true.orientation, 180)) < tolerance
    assert np.median(np.abs(np.log2(found.frequency / true.frequency))) < 0.05 * tolerance
    assert np.median(turned(found.phase, true.phase, 360)) < 10 * tolerance
    assert np.median(np.hypot(found.x - true.x, found.y - true.y)) < 0.03 * tolerance
    assert np.median(np.abs(found.sigma_across / true.sigma_across - 1)) < 0.2 * tolerance
    # The held-out correlation of a perfect fit is that of the map with its noisy version.
    np.testing.assert_allclose(np.median(found.held_out), 1 / np.sqrt(1 + noise**2), atol=0.05)
    assert (correlation(found.drawn(SIZE).reshape(60, -1), maps.reshape(60, -1)) > 0.85).all()
    rivals = fit_alternatives(one, two)
    assert (found.held_out > np.fmax(rivals.gaussian_held_out, rivals.difference_held_out)).mean() > 0.9


def test_rivals_are_found_where_they_are_true() -> None:
    axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    r2 = (axis[None, :] - 0.1) ** 2 + (-axis[:, None] + 0.05) ** 2
    blob, mexican = np.exp(-r2 / (2 * 0.1**2)), np.exp(-r2 / (2 * 0.08**2)) - 0.3 * np.exp(-r2 / (2 * 0.16**2))
    found = fit_alternatives(np.stack([blob, mexican]))
    assert found.gaussian_r2[0] > 0.999
    assert found.difference_r2[1] > 0.999 > 0.98 > found.gaussian_r2[1]


def test_slopes_are_derivatives() -> None:
    from probes.gabor import DifferenceModel, GaborModel, GaussianModel

    torch.manual_seed(0)
    for model, start in (
        (GaborModel(SIZE), [0.1, -0.05, 0.7, -2.0, -1.6, 1.1]),
        (GaussianModel(SIZE), [0.1, -0.05, 0.7, -2.0, -1.6]),
        (DifferenceModel(SIZE), [0.1, -0.05, -2.0, 0.8]),
    ):
        p = torch.tensor([start], requires_grad=True)
        c = torch.randn(1, model.basis(p).shape[1])
        expected = torch.autograd.functional.jacobian(lambda q: (c[:, None] @ model.basis(q))[0, 0], p)[:, 0].T  # noqa: B023
        torch.testing.assert_close(model.slopes(p, model.basis(p), c)[0], expected, atol=1e-4, rtol=1e-4)


def test_maps_of_which_nothing_can_be_said() -> None:
    maps = planted(4, 2).drawn(SIZE)
    maps[1], maps[2, 3, 3] = 0, np.nan
    found = fit_gabor(maps, maps)
    assert np.isfinite(found.r2).tolist() == [True, False, False, True]
    assert np.isfinite(fit_alternatives(maps).gaussian_r2).tolist() == [True, False, False, True]
    assert all(np.isnan(values[[1, 2]]).all() for values in found.rows().values())
    assert np.isnan(fit_gabor(maps[1:3]).r2).all()
    with pytest.raises(InputError, match="square"):
        fit_gabor(np.zeros((3, 8, 9)))
    with pytest.raises(InputError, match="two a feature"):
        fit_quadrature_pair(maps)


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.8])
def test_quadrature_pairs_come_back(noise: float) -> None:
    true, rng = planted(30, 3, pairs=True), np.random.default_rng(4)
    maps = true.drawn(SIZE)
    # The two axes of a kernel are known up to a common rotation.
    turn = rng.uniform(0, 2 * np.pi, 30)
    mixed = np.stack(
        [
            np.cos(turn)[:, None, None] * maps[:, 0] + np.sin(turn)[:, None, None] * maps[:, 1],
            np.cos(turn)[:, None, None] * maps[:, 1] - np.sin(turn)[:, None, None] * maps[:, 0],
        ],
        axis=1,
    )
    found = fit_quadrature_pair(mixed + noise * maps.std() * rng.standard_normal(maps.shape))
    assert np.median(turned(found.orientation, true.orientation, 180)) < 0.01 + 3 * noise
    assert np.median(np.abs(np.log2(found.frequency / true.frequency))) < 0.001 + 0.1 * noise
    apart = turned(found.phase[:, 0], found.phase[:, 1], 360)
    np.testing.assert_allclose(np.median(apart), 90, atol=1 + 20 * noise)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_complex_cells_are_told_from_simple_ones(noise: float) -> None:
    """Energy, rectified and linear cells in white noise; the model that predicts held-out responses is the true one."""
    size, count = 12, 6
    images = noise_images(8000, size, seed=5)
    flat = images.reshape(len(images), -1) - 0.5
    true = planted(count, 6, pairs=True)
    outputs = np.einsum("np,fkp->nfk", flat, true.drawn(size).reshape(count, 2, -1))
    outputs /= outputs.std()
    energy, linear = (outputs**2).sum(axis=2), outputs[:, :, 0]
    responses = np.concatenate([energy, np.maximum(linear, 0), linear], axis=1)
    responses = responses / responses.std(axis=0)
    responses = responses + noise * np.random.default_rng(7).standard_normal(responses.shape)
    responses = np.column_stack([responses, np.zeros(len(images)), np.full(len(images), np.nan)])
    found = fit_energy(images, responses)
    assert found.complex.tolist() == [True] * count + [False] * (2 * count + 2)
    assert np.isnan(found.energy[-2:]).all()
    assert np.median(found.energy[:count]) > 0.9 / np.sqrt(1 + noise**2)
    assert np.median(turned(found.pair.orientation[:count], true.orientation, 180)) < 3 + 5 * noise


def test_noise_and_gradients_find_a_linear_filter() -> None:
    true = planted(5, 8)
    filters = true.drawn(SIZE)
    images = noise_images(6000, SIZE, seed=9)
    responses = (images.reshape(len(images), -1) - 0.5) @ filters.reshape(5, -1).T
    responses = np.column_stack([responses, np.ones(len(images))])
    maps = noise_maps(images, responses)
    assert (correlation(maps.whole[:5].reshape(5, -1), filters.reshape(5, -1)) > 0.9).all()
    assert (maps.reliability[:5] > 0.7).all()
    assert np.isnan(maps.reliability[5])
    weights = torch.tensor(filters.reshape(5, -1), dtype=torch.float32)
    gradients = mean_gradients(lambda x: x.flatten(1) @ weights.T, torch.rand(40, 1, SIZE, SIZE))
    np.testing.assert_allclose(gradients[:, 0], filters, atol=1e-6)
    with pytest.raises(InputError, match="four or more"):
        noise_maps(images[:3], responses)


def test_field_sizes() -> None:
    axis = (np.arange(64) + 0.5) / 64 - 0.5
    sigma, at = 0.08, (0.1, -0.15)
    blob = np.exp(-((axis[None, :] - at[0]) ** 2 + (-axis[:, None] - at[1]) ** 2) / (4 * sigma**2))
    found = field_size(np.stack([blob, np.zeros((64, 64))]))
    assert found.x[0] == pytest.approx(at[0], abs=2e-3)
    assert found.y[0] == pytest.approx(at[1], abs=2e-3)
    assert found.radius[0] == pytest.approx(sigma, rel=0.02)
    # 95% of a two-dimensional Gaussian lies within a square of half side 2.236 standard deviations.
    assert found.square[0] == pytest.approx(2 * 2.236 * sigma, rel=0.08)
    assert np.isnan(found.square[1])
    box = np.zeros((1, 64, 64))
    box[0, 20:30, 20:30] = 1
    assert field_size(box, share=1.0).square[0] == pytest.approx(10 / 64, abs=0.02)
