"""Planted features come back with their labels and parameters, at three levels of noise; 12 phases throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import iv

from probes.tuning.analysis import COMPLEX, SIMPLE, UNTUNED, analyse_tuning

KAPPAS = np.array([0.5, 1.0, 2.0, 4.0])
GOLDEN = np.array([0.7575, 0.5536, 0.3022, 0.1365])
COUNT = 40
"""Features of each kind."""
TOLERANCES = {0.0: (0.01, 0.01, 0.01), 0.1: (2.0, 0.25, 0.1), 0.3: (6.0, 0.8, 0.3)}
"""By noise (SD of a single response over the peak response): the median absolute error of the preferred orientation
(degrees), of log kappa and of the frequency peak (octaves) stays below."""
RIGHT = {0.0: 1.0, 0.1: 0.95, 0.3: 0.7}
"""Share of features that must get their true label. At .3, narrowly tuned rectified cells, which are silent for most
gratings, are partly missed."""


def kinds(gratings: Any, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Planted responses [720, COUNT] by kind, and their true parameters."""
    truth = {
        "mu": rng.uniform(0, 180, COUNT),
        "kappa": rng.choice(KAPPAS[1:], COUNT),
        "peak": rng.choice([3.0, 5.0, 8.0], COUNT),
        "phase": rng.uniform(0, 360, COUNT),
    }
    tuned = gratings.tuned(truth["mu"], truth["kappa"], truth["peak"])
    drift = gratings.drift(truth["phase"])
    return {
        "simple": tuned * np.maximum(drift, 0),
        "linear": tuned * drift,
        "energy": tuned * (drift**2 + (1 - drift**2)),
        "von Mises": tuned,
        "untuned": np.ones((720, COUNT)),
        "phase alone": np.maximum(drift, 0),
    }, truth


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_planted_features_come_back(gratings: Any, noise: float) -> None:
    rng = np.random.default_rng(1)
    planted, truth = kinds(gratings, rng)
    clean = np.concatenate(list(planted.values()), axis=1)
    found = analyse_tuning(
        clean + noise * rng.standard_normal(clean.shape), gratings.orientation, gratings.frequency, gratings.phase
    )
    kind = np.repeat(list(planted), COUNT)
    expected = {"simple": SIMPLE, "linear": SIMPLE, "energy": COMPLEX, "von Mises": COMPLEX}
    expected |= {"untuned": UNTUNED, "phase alone": UNTUNED}
    # A feature without any variance is constant, not untuned.
    state = {"untuned": "constant"} if noise == 0 else {}
    for name in planted:
        right = (found.label[kind == name] == {**expected, **state}[name]).mean()
        # Of the untuned ones, the false discovery rate (.05) allows some to be called tuned.
        assert right >= (0.9 if name in ("untuned", "phase alone") else RIGHT[noise]), (name, right)

    degrees, log_kappa, octaves = TOLERANCES[noise]
    for name in ("simple", "linear", "energy", "von Mises"):
        mine = kind == name
        off = (found.orientation[mine] - truth["mu"] + 90) % 180 - 90
        assert np.median(np.abs(off)) < degrees, name
        if (name, noise) != ("simple", 0.3):  # a rectified cell's F1 is half its peak: its width is lost in that noise
            assert np.median(np.abs(np.log(found.kappa[mine] / truth["kappa"]))) < log_kappa, name
        assert np.median(np.abs(np.log2(found.frequency_peak[mine] / truth["peak"]))) < octaves, name
        if noise == 0:
            np.testing.assert_allclose(found.orientation_r2[mine], 1, atol=1e-3)
            np.testing.assert_allclose(found.frequency_r2[mine], 1, atol=1e-3)
            np.testing.assert_allclose(found.frequency_bandwidth[mine], 0.8 * 2 * np.sqrt(2 * np.log(2)), atol=0.02)
    off = (found.phase[kind == "simple"] - truth["phase"] + 180) % 360 - 180
    assert np.median(np.abs(off)) < {0.0: 2.0, 0.1: 10.0, 0.3: 30.0}[noise]
    assert (found.q_phase[kind == "simple"] < 0.05).mean() >= RIGHT[noise]
    assert (found.q_phase[kind == "phase alone"] < 0.05).all()
    assert (found.q_phase[kind == "von Mises"] < 0.05).mean() <= 0.1
    assert (found.uses_f1[kind == "linear"]).all()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_circular_variance_is_its_closed_form(gratings: Any, noise: float) -> None:
    """1 - I1(kappa) / I0(kappa); noise of each of 12 phases averages out, and raises it a little."""
    np.testing.assert_allclose(1 - iv(1, KAPPAS) / iv(0, KAPPAS), GOLDEN, atol=5e-5)
    rng = np.random.default_rng(2)
    kappa = np.repeat(KAPPAS, 50)
    responses = gratings.tuned(rng.uniform(0, 180, len(kappa)), kappa, np.full(len(kappa), 5.0))
    responses += noise * rng.standard_normal(responses.shape)
    found = analyse_tuning(
        responses, gratings.orientation, gratings.frequency, gratings.phase, component="mean", permutations=20
    )
    mean = found.circular_variance.reshape(4, 50).mean(axis=1)
    np.testing.assert_allclose(mean, GOLDEN, atol={0.0: 2e-4, 0.1: 0.05, 0.3: 0.2}[noise])


def test_an_additive_baseline_raises_circular_variance_unless_it_is_subtracted(gratings: Any) -> None:
    """kappa 2: .30 becomes .73 with a baseline of half the peak."""
    one = gratings.tuned(np.array([40.0]), np.array([2.0]), np.array([5.0])) + 0.5
    factors = gratings.orientation, gratings.frequency, gratings.phase
    found = analyse_tuning(one, *factors, baseline=[0.5], permutations=20)
    assert found.circular_variance[0] == pytest.approx(0.734, abs=2e-3)
    assert found.circular_variance_above[0] == pytest.approx(0.3022, abs=2e-4)
    assert found.osi_above[0] > 0.95 > 0.5 > found.osi[0]


def test_osi_is_its_closed_form(gratings: Any) -> None:
    """(1 - e^{-2 kappa}) / (1 + e^{-2 kappa}) = tanh(kappa) where the preferred orientation was shown."""
    responses = gratings.tuned(np.full(4, 45.0), KAPPAS, np.full(4, 5.0))
    factors = gratings.orientation, gratings.frequency, gratings.phase
    np.testing.assert_allclose(analyse_tuning(responses, *factors, permutations=20).osi, np.tanh(KAPPAS), rtol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_modulation_ratios_are_their_closed_forms(gratings: Any, noise: float) -> None:
    """12 phases: a rectified sinusoid 1.55 to 1.61, an energy cell 0, a single-phase spike 2."""
    rng = np.random.default_rng(3)
    phase = np.linspace(0, 360, 60, endpoint=False)
    tuned = gratings.tuned(np.full(60, 45.0), np.full(60, 2.0), np.full(60, 5.0))
    drift = gratings.drift(phase)
    spike = tuned * (gratings.phase[:, None] == np.resize(np.unique(gratings.phase), 60))
    noisy = [r + noise * rng.standard_normal(r.shape) for r in (tuned * np.maximum(drift, 0), tuned, spike)]
    factors = gratings.orientation, gratings.frequency, gratings.phase
    rectified, energy, single = (analyse_tuning(r, *factors, permutations=20).f1_f0 for r in noisy)
    if noise == 0:
        assert 1.55 < rectified.min() < rectified.max() < 1.61
        assert energy.max() < 1e-9
        np.testing.assert_allclose(single, 2, rtol=1e-9)
    # The condition is chosen for its largest F1, so that noise raises the ratio.
    assert abs(np.median(rectified) - np.pi / 2) < {0.0: 0.02, 0.1: 0.1, 0.3: 0.8}[noise]
    assert np.median(energy) < {0.0: 1e-9, 0.1: 0.1, 0.3: 0.3}[noise]


def test_white_noise_is_called_tuned_at_no_more_than_the_nominal_rate(gratings: Any) -> None:
    rng = np.random.default_rng(4)
    features = 3000
    for noise in (rng.standard_normal((720, features)), rng.exponential(size=(720, features)) ** 2):
        found = analyse_tuning(noise, gratings.orientation, gratings.frequency, gratings.phase, permutations=500)
        bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / features)
        for p in (found.p_orientation, found.p_frequency, found.p_phase):
            assert (p <= 0.05).mean() <= bound
            assert (p <= 0.05).mean() > 0.03  # an exact test, not one that never rejects
        # Controlled over all features together, hardly any is left.
        for q in (found.q_orientation, found.q_frequency, found.q_phase):
            assert (q < 0.05).mean() < 0.001
        assert np.isin(found.label, (SIMPLE, COMPLEX)).mean() < 0.001


def test_tuning_to_one_factor_is_not_tuning_to_another(gratings: Any) -> None:
    """A linear isotropic feature off the centre: its phase turns with orientation, its amplitude does not."""
    rng = np.random.default_rng(5)
    turned = np.deg2rad(gratings.phase) + 3 * np.cos(np.deg2rad(gratings.orientation)) * gratings.frequency / 5
    responses = np.cos(turned)[:, None] + 0.1 * rng.standard_normal((720, 200))
    found = analyse_tuning(responses, gratings.orientation, gratings.frequency, gratings.phase)
    assert (found.p_orientation <= 0.05).mean() < 0.11
    assert (found.label == UNTUNED).mean() > 0.95
    assert (found.q_phase < 0.05).all()


def test_a_half_bandwidth_of_a_von_mises_curve(gratings: Any) -> None:
    """cos 2(theta) = 1 + ln(.707) / kappa; smoothing over 15 degrees widens it a little."""
    kappa = np.array([2.0, 4.0])
    responses = gratings.tuned(np.full(2, 45.0), kappa, np.full(2, 5.0))
    found = analyse_tuning(responses, gratings.orientation, gratings.frequency, gratings.phase, permutations=20)
    exact = np.rad2deg(np.arccos(1 + np.log(0.707) / kappa)) / 2
    assert ((found.half_bandwidth > exact) & (found.half_bandwidth < exact + 6)).all()
