"""Gabor simplicity of planted features: what is made of Gabors is simple, what is not is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bridge.errors import InputError
from bridge.filters import luminance
from bridge.stimuli.battery import Battery
from probes.simplicity import (
    gabor_design,
    positions,
    random_design,
    simplicity,
    window_bank,
)

SIZE, COUNT = 32, 1200


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """Windows from drawn textures, scenes and shapes, three an image, their images, and the designs."""
    stimuli = Battery.model_validate(
        {"name": "windows", "families": ["textures", "scenes", "shapes"], "size": 64, "kind": "battery"}
    ).load()
    rng = np.random.default_rng(0)
    windows, groups = [], []
    for index in rng.choice(len(stimuli), COUNT // 3, replace=False):
        image = luminance(stimuli.image(int(index)), 64)
        for _ in range(3):
            top, left = rng.integers(0, 64 - SIZE + 1, 2)
            windows.append(image[top : top + SIZE, left : left + SIZE])
            groups.append(index)
    found = np.stack(windows)
    return {
        "windows": found,
        "groups": np.array(groups),
        "gabor": gabor_design(found),
        "random": random_design(found),
    }


def linear(windows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Responses of random linear Gabors [n, count]: any orientation, frequency, place and phase in the window."""
    rng = np.random.default_rng(seed)
    axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    filters = []
    for _ in range(count):
        x0, y0 = rng.uniform(-0.2, 0.2, 2)
        theta, frequency, phase = rng.uniform(0, np.pi), rng.uniform(1.2, 5.5), rng.uniform(0, 2 * np.pi)
        sigma = rng.uniform(0.35, 0.7) / frequency
        x, y = axis[None, :] - x0, -axis[:, None] - y0
        across = -x * np.sin(theta) + y * np.cos(theta)
        one = np.exp(-(x**2 + y**2) / (2 * sigma**2)) * np.cos(2 * np.pi * frequency * across + phase)
        filters.append(one - one.mean())
    return (windows.reshape(len(windows), -1) - 0.5) @ np.stack(filters).reshape(count, -1).T


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_a_linear_gabor_bank_is_simple(made: dict[str, Any], noise: float) -> None:
    """Every R2 above .95 without noise; with noise, the median above .95 of what can be explained at all."""
    y = linear(made["windows"], 100, seed=1)
    y += noise * y.std(axis=0) * np.random.default_rng(2).standard_normal(y.shape)
    found = simplicity(y, made["gabor"], made["random"], made["groups"])
    assert (found.score.min() if noise == 0 else np.median(found.score)) > 0.95 / (1 + noise**2)
    assert (found.label == "simple").all()


def test_rectified_and_energy_cells_are_simple_and_gabors_explain_them_better(made: dict[str, Any]) -> None:
    one, two = linear(made["windows"], 40, seed=3), linear(made["windows"], 40, seed=3)
    found = simplicity(np.maximum(one, 0), made["gabor"], made["random"], made["groups"])
    assert np.median(found.score) > 0.8
    assert np.median(found.advantage) > 0.02
    energy = simplicity(one**2 + two**2, made["gabor"], made["random"], made["groups"])
    assert np.median(energy.score) > 0.5
    assert np.median(energy.advantage) > 0.05


def test_products_of_filters_and_noise_are_complex(made: dict[str, Any]) -> None:
    y = linear(made["windows"], 120, seed=4)
    triple = y[:, :40] * y[:, 40:80] * y[:, 80:]
    found = simplicity(triple, made["gabor"], groups=made["groups"])
    assert np.median(found.score) < 0.1
    noise = np.random.default_rng(5).standard_normal((COUNT, 100))
    noisy = simplicity(noise, made["gabor"], made["random"], made["groups"])
    assert (noisy.label == "complex").all()
    assert abs(noisy.score.mean()) < 0.01


def test_features_that_are_not_alive_are_undefined(made: dict[str, Any]) -> None:
    y = linear(made["windows"], 4, seed=6)
    y[:, 1], y[5, 2] = 0, np.nan
    found = simplicity(y, made["gabor"])
    assert found.label.tolist() == ["simple", "undefined", "undefined", "simple"]
    assert np.isnan(found.random).all()


def test_the_bank_fits_its_window() -> None:
    assert window_bank(64).frequencies[0] == pytest.approx(1)
    assert window_bank(64).frequencies[-1] == pytest.approx(6)
    assert window_bank(8).frequencies[-1] == pytest.approx(3)
    assert [positions(f) for f in window_bank(64).frequencies] == [4, 4, 4, 4, 8, 8]
    with pytest.raises(InputError, match="8 pixels"):
        window_bank(6)
    with pytest.raises(InputError, match="square"):
        gabor_design(np.zeros((5, 8, 9), np.float32))
