"""Postdictions: each number on units whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from comparisons.postdictions import GAUSSIAN, effective_dimension, field_r2, overloading, redundancy, sparse


def test_a_linear_unit_has_a_field_and_an_even_one_has_none() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((600, 40))
    drive = noise @ rng.standard_normal(40)
    mixed = drive / drive.std() + (drive**2 - (drive**2).mean()) / (drive**2).std()
    found = field_r2(noise, np.column_stack([drive, drive**2, mixed, np.ones(600)]))
    assert found[0] > 0.999
    assert abs(found[1]) < 0.1
    assert 0.35 < found[2] < 0.6, "half of its variance is linear"
    assert np.isnan(found[3])


def test_sparseness_of_known_codes() -> None:
    rng = np.random.default_rng(1)
    gaussian = sparse(rng.standard_normal((4000, 50)))
    assert gaussian.lifetime.mean() == pytest.approx(GAUSSIAN, abs=0.01)
    assert gaussian.population.mean() == pytest.approx(GAUSSIAN, abs=0.03)
    rare = (rng.random((4000, 50)) < 0.02).astype(float)
    assert sparse(rare).lifetime.min() > 0.95
    scaled = sparse(rng.standard_normal((500, 20)) * np.logspace(0, 6, 20))
    assert scaled.lifetime.max() - scaled.lifetime.min() < 0.15, "the scale of a unit plays no part"
    with_dead = sparse(np.column_stack([rng.standard_normal((500, 5)), np.ones(500), np.full(500, np.nan)]))
    assert np.isnan(with_dead.lifetime[5:]).all()
    assert np.isfinite(with_dead.population).mean() > 0.9, "but for stimuli below every unit's mean"
    assert np.isnan(sparse(np.ones((10, 3))).population).all()


def test_overloading_is_no_change_of_gain() -> None:
    angle = np.deg2rad(np.arange(0, 180, 15))
    gains = np.array([0.2, 1, 3])
    same = np.cos(2 * angle)[:, None] * gains + gains
    opposite = np.cos(2 * angle)[:, None] * np.array([1.0, -1.0, 1.0])
    unrelated = np.column_stack([np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle)])
    one_context = np.column_stack([np.cos(2 * angle), np.zeros(12), np.zeros(12)])
    found = overloading(np.stack([same, opposite, unrelated, one_context]))
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[1] == pytest.approx(1 + 1 / 3)
    assert found[2] == pytest.approx(1)
    assert np.isnan(found[3])
    with pytest.raises(InputError, match="two contexts"):
        overloading(np.ones((2, 12, 1)))


def test_redundancy_counts_living_features_once() -> None:
    alive = [np.array([True, True, False]), np.array([True, True])]
    total, each = redundancy(alive, {(0, 1): np.array([1, -1, 0])})
    assert each.tolist() == [0.5, 1.0]
    assert total == pytest.approx(3 / 4)
    total, each = redundancy([np.zeros(2, bool), np.ones(2, bool)], {(0, 1): np.array([-1, -1])})
    assert np.isnan(each[0])
    assert each[1] == 0
    with pytest.raises(InputError, match="two sites"):
        redundancy(alive[:1], {})


def test_effective_dimension_is_that_of_the_cloud_not_of_the_width() -> None:
    rng = np.random.default_rng(2)
    cloud = rng.standard_normal((400, 3)) @ np.linalg.qr(rng.standard_normal((64, 64)))[0][:3]
    found = effective_dimension(cloud)
    assert found.participation == pytest.approx(3, abs=0.2)
    assert found.intrinsic == pytest.approx(3, abs=0.5)
    assert found.width == 64
    assert np.isnan(effective_dimension(np.ones((10, 4))).participation)
