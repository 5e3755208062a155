"""The Gabor bank against the Gabor formula in the image plane, and what is known of gratings."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from bridge.filters import CHANNELS, RELATIVE_SIGMA, GaborBank, gabor_features, gabor_responses, luminance

SIZE = 64


def grating(orientation: float, cycles: float, phase: float, contrast: float = 1.0, size: int = SIZE) -> np.ndarray:
    """0.5 + 0.5 c cos(2 pi f across + phase), bars `orientation` degrees anticlockwise from horizontal, y up."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    x, y = axis[None, :], -axis[:, None]
    theta = np.deg2rad(orientation)
    across = -x * np.sin(theta) + y * np.cos(theta)
    return (0.5 + 0.5 * contrast * np.cos(2 * np.pi * cycles * across + np.deg2rad(phase))).astype(np.float32)


def test_responses_equal_the_gabor_formula_in_the_image_plane() -> None:
    """At the middle of the image: the sum of the image times g(x, y) e^{-2 pi i f across}, g the filter's Gaussian."""
    rng = np.random.default_rng(0)
    images = rng.random((2, SIZE, SIZE), np.float32)
    images -= images.mean((1, 2), keepdims=True)
    bank = GaborBank(orientations=3, frequencies=(8,))
    (z,) = gabor_responses(images, bank)
    # Samples stand at the centres of s x s cells: take the one right of and below the middle of the image.
    samples = z.shape[-1]
    place = 0.5 / samples
    axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    sigma = 1 / (2 * np.pi * RELATIVE_SIGMA * 8)  # of the envelope, in image widths
    for number, angle in enumerate(np.deg2rad(bank.angles)):
        x, y = axis[None, :] - place, -(axis[:, None] - place)
        across = -x * np.sin(angle) + y * np.cos(angle)
        envelope = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        gabor = 2 * envelope * np.exp(-2j * np.pi * 8 * across) / SIZE**2
        expected = (images * gabor).sum((1, 2))
        np.testing.assert_allclose(z[:, number, samples // 2, samples // 2], expected, atol=3e-3 * np.abs(z).max())


@pytest.mark.parametrize("orientation", [0, 90])
@pytest.mark.parametrize("phase", [0, 50])
def test_a_grating_drives_its_own_filter_by_its_amplitude(orientation: float, phase: float) -> None:
    bank = GaborBank(orientations=4, frequencies=(4, 8))
    images = np.stack([grating(orientation, 8, phase, contrast) for contrast in (1.0, 0.5)])
    energy = gabor_features(images, bank, grid=4, channels=("energy",))[:, :, :, 0]
    own = energy[:, bank.angles.tolist().index(orientation), 1]
    np.testing.assert_allclose(own[0], 0.25, rtol=1e-4)
    np.testing.assert_allclose(own[1], 0.0625, rtol=1e-4)
    assert energy.argmax(1)[0, 1, 0, 0] == bank.angles.tolist().index(orientation)


def test_the_orientation_is_that_of_the_bars_and_turns_anticlockwise() -> None:
    bank = GaborBank(orientations=12, frequencies=(8,))
    for orientation in (30, 45, 120):
        image = grating(orientation, 8, 20)
        # A disc, so that an oblique grating does not meet itself at the borders.
        axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
        inside = axis[None, :] ** 2 + axis[:, None] ** 2 < 0.2
        energy = gabor_features((0.5 + (image - 0.5) * inside)[None], bank, grid=1, channels=("energy",))
        assert bank.angles[energy[0, :, 0, 0, 0, 0].argmax()] == orientation


def test_phases_are_half_rectified_and_opposite_ones_exclude_each_other() -> None:
    rng = np.random.default_rng(1)
    images = rng.random((3, SIZE, SIZE), np.float32)
    bank = GaborBank(orientations=4, frequencies=(4, 8))
    features = gabor_features(images, bank, grid=16)
    zs = list(gabor_responses(images, bank))
    for number, z in enumerate(zs):
        cell = z.shape[-1] // 16
        cells = z.reshape(3, 4, 16, cell, 16, cell)
        np.testing.assert_allclose(
            features[:, :, number, 0] - features[:, :, number, 2], cells.real.mean((3, 5)), atol=1e-6
        )
        np.testing.assert_allclose(
            features[:, :, number, 1] - features[:, :, number, 3], cells.imag.mean((3, 5)), atol=1e-6
        )
        np.testing.assert_allclose(features[:, :, number, 4], (np.abs(cells) ** 2).mean((3, 5)), rtol=1e-4, atol=1e-7)
    assert features.min() >= 0
    assert features.shape == (3, 4, 2, len(CHANNELS), 16, 16)


def test_energy_alone_is_the_same_energy_with_fewer_samples() -> None:
    images = np.random.default_rng(2).random((8, SIZE, SIZE), np.float32)
    bank = GaborBank(frequencies=(2, 4, 8, 16))
    full = gabor_features(images, bank)[:, :, :, 4]
    alone = gabor_features(images, bank, channels=("energy",))[:, :, :, 0]
    assert np.corrcoef(full.ravel(), alone.ravel())[0, 1] > 0.9995


def test_responses_averaged_over_whole_cycles_do_not_depend_on_phase() -> None:
    images = np.stack([grating(90, 8, phase) for phase in range(0, 360, 30)])
    features = gabor_features(images, GaborBank(orientations=2, frequencies=(8,)), grid=1)[:, 1, 0, :, 0, 0]
    np.testing.assert_allclose(features[:, 4], 0.25, rtol=1e-4)
    # The mean of a half-rectified sinusoid is its amplitude over pi at any phase, to the accuracy of its sampling.
    np.testing.assert_allclose(features[:, :4], 0.5 / np.pi, rtol=0.04)


def test_blank_images_and_mean_grey_give_nothing() -> None:
    blank = np.full((1, SIZE, SIZE), 0.7, np.float32)
    assert np.abs(gabor_features(blank, GaborBank(frequencies=(4,)))).max() < 1e-6


def test_what_cannot_be_filtered_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[n, size, size\]"):
        gabor_features(np.zeros((2, 32, 48), np.float32), GaborBank(frequencies=(4,)))
    with pytest.raises(InputError, match="up to 12"):
        gabor_features(np.zeros((2, 32, 32), np.float32), GaborBank(frequencies=(4, 16)))
    with pytest.raises(InputError, match="1, 2, 4, 8 or 16"):
        gabor_features(np.zeros((2, 32, 32), np.float32), GaborBank(frequencies=(4,)), grid=5)
    with pytest.raises(InputError, match="did you mean 'energy'"):
        gabor_features(np.zeros((2, 32, 32), np.float32), GaborBank(frequencies=(4,)), channels=("enrgy",))


def test_luminance_weighs_and_resizes() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    image[..., 1] = 255
    grey = luminance(image, 8)
    assert grey.shape == (8, 8)
    np.testing.assert_allclose(grey, 0.587, atol=0.005)
