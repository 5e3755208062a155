"""P1's statistics for recordings against planted truths, and the traps that they are there for."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from comparisons.encoding.banded import banded_ridge, folds_of
from comparisons.persistence.counts import log_counts
from comparisons.persistence.grating_cells import Decodability, decodability, grating_cells, matched
from comparisons.persistence.unique_simple import Coupling, coupled, unique_simple
from comparisons.verdicts.persistence import by_decodability, by_unique_share

REGIONS = ("V1", "IT")
PER_REGION = 40
NAMES = [name for name in REGIONS for _ in range(PER_REGION)]


def factors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """12 orientations x 5 frequencies x 4 phases."""
    grid = np.meshgrid(np.arange(0, 180, 15.0), [2.0, 3, 5, 8, 13], [0.0, 90, 180, 270])
    return grid[0].ravel(), grid[1].ravel(), grid[2].ravel()


def population(features: np.ndarray, rng: np.random.Generator, noise: float = 1.0, reps: int = 8) -> np.ndarray:
    """Trials [rep, n, neuroid] of neuroids that read features with random weights, signal variance 1."""
    signal = features @ rng.standard_normal((features.shape[1], PER_REGION))
    signal /= signal.std(axis=0)
    return signal + noise * rng.standard_normal((reps, *signal.shape))


def oriented(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(S, C) of the gratings: orientation in one code for all frequencies, and in another code at each of them."""
    orientation, cycles, _ = factors()
    angle = 2 * np.deg2rad(orientation)
    s = np.stack([np.cos(angle), np.sin(angle), np.log(cycles), cycles**0.5], axis=1)
    c = np.zeros((len(angle), 20))
    for frequency in np.unique(cycles):
        mine = cycles == frequency
        c[mine] = s[mine, :2] @ rng.standard_normal((2, 20))
    return (s - s.mean(axis=0)) / s.std(axis=0), c


def decoded(trials: np.ndarray, s: np.ndarray, c: np.ndarray) -> dict[str, Decodability]:
    return decodability(trials, NAMES, grating_cells(*factors()), s, c, draws=300)


def test_orientation_is_found_where_neuroids_read_it_and_only_there() -> None:
    rng = np.random.default_rng(0)
    s, c = oriented(rng)
    simple, hidden = population(s, rng), population(c, rng)
    found = decoded(np.concatenate([simple, hidden], axis=2), s, c)
    assert found["V1"].d.value == pytest.approx(1, abs=0.15)
    assert found["V1"].excess.lower > 0
    assert found["IT"].d.upper_one_sided < 0.3
    assert by_decodability(found, REGIONS, "planted").answer == "REFUTED"
    turned = decoded(np.concatenate([hidden, hidden], axis=2), s, c)
    assert by_decodability(turned, REGIONS, "planted").answer == "INCONCLUSIVE", "nothing was there to lose"
    kept = decoded(np.concatenate([simple, population(s, rng)], axis=2), s, c)
    assert by_decodability(kept, REGIONS, "planted").answer == "SUPPORTED"


def test_random_folds_read_orientation_from_anything_that_was_shown() -> None:
    """The trap: with random folds, a code that differs at every frequency decodes well."""
    rng = np.random.default_rng(1)
    s, c = oriented(rng)
    orientation, _, _ = factors()
    angle = 2 * np.deg2rad(orientation)
    target = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    trials = population(c, rng, 0.5)
    naive = banded_ridge({"all": trials.mean(axis=0)}, target, splits=folds_of(len(target))).r2("all").mean()
    held = decoded(np.concatenate([trials, trials], axis=2), s, c)
    assert naive > 0.5
    assert held["IT"].r2 < 0.2


def test_a_matched_population_has_the_signal_and_noise_asked_for() -> None:
    rng = np.random.default_rng(2)
    signal, noise = np.linspace(0.5, 2, 200), np.full(200, 0.3)
    u = matched(rng.standard_normal((4000, 6)), signal, noise, rng)
    assert np.allclose(u.var(axis=0), signal + noise, rtol=0.15)
    flat = matched(np.ones((4000, 3)), signal, noise, rng)
    assert np.allclose(flat.var(axis=0), noise, rtol=0.15), "dead features carry no signal"


@pytest.mark.parametrize(("orientations", "frequencies"), [([0.0, 90], [1.0, 2, 3, 4]), ([0.0, 45, 90, 135], [1.0])])
def test_too_few_gratings_are_refused(orientations: list[float], frequencies: list[float]) -> None:
    grid = [axis.ravel() for axis in np.meshgrid(orientations, frequencies, [0.0, 90])]
    with pytest.raises(InputError, match="4, 4 and 2 or more"):
        grating_cells(grid[0], grid[1], grid[2])


def test_a_missing_combination_is_named() -> None:
    orientation, cycles, phase = factors()
    keep = ~((orientation == 30) & (cycles == 5))
    with pytest.raises(InputError, match="30 degrees and 5 cycles"):
        grating_cells(orientation[keep], cycles[keep], phase[keep])


def natural(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((n, 10)), rng.standard_normal((n, 20))


def test_phi_is_the_share_that_only_simple_features_explain() -> None:
    rng = np.random.default_rng(3)
    s, c = natural(rng)
    read = c @ rng.standard_normal((20, 2 * PER_REGION)) / np.sqrt(20)
    read[:, :PER_REGION] += s @ rng.standard_normal((10, PER_REGION)) / np.sqrt(10)
    trials = read + 0.5 * rng.standard_normal((10, *read.shape))
    found = unique_simple(s, c, trials, NAMES, draws=300)
    assert found["V1"].estimate.value == pytest.approx(0.5, abs=0.08)
    assert found["IT"].upper < 0.04
    assert by_unique_share(found, REGIONS, 0.0, "planted").answer == "REFUTED"
    kept = unique_simple(s, c, trials[:, :, list(range(PER_REGION)) * 2], NAMES, draws=300)
    assert by_unique_share(kept, REGIONS, 0.0, "planted").answer == "SUPPORTED"
    never = unique_simple(s, c, trials[:, :, list(range(PER_REGION, 2 * PER_REGION)) * 2], NAMES, draws=300)
    assert by_unique_share(never, REGIONS, 0.0, "planted").answer == "INCONCLUSIVE", "nothing was there to lose"


def test_hidden_complex_features_that_covary_with_simple_ones_fool_the_naive_rule_and_not_the_bound() -> None:
    """Neuroids read C alone; half of it is hidden and covaries with S: phi is far above 0 (the trap)."""
    rng = np.random.default_rng(4)
    s, own = natural(rng, 500)
    c = 0.7 * own + 0.7 * s @ rng.standard_normal((10, 20)) / np.sqrt(10)
    signal = c @ rng.standard_normal((20, 2 * PER_REGION)) / np.sqrt(20)
    trials = signal + 0.5 * rng.standard_normal((10, *signal.shape))
    known = c[:, :10]
    coupling = coupled(s, known)
    assert coupling.kappa > 0.1
    naive = unique_simple(s, known, trials, NAMES, coupling=Coupling(0.0, np.zeros(0)), draws=300)
    assert by_unique_share(naive, REGIONS, 0.0, "naive").answer == "SUPPORTED", "the trap is there"
    bounded = unique_simple(s, known, trials, NAMES, coupling=coupling, draws=300)
    assert bounded["IT"].leak_bound > bounded["IT"].interval[0]
    assert by_unique_share(bounded, REGIONS, coupling.kappa, "bounded").answer == "INCONCLUSIVE"


def test_regions_and_repetitions_that_are_missing_give_no_number() -> None:
    rng = np.random.default_rng(5)
    s, c = natural(rng, 100)
    trials = rng.standard_normal((4, 100, 6))
    assert by_unique_share({}, ["V1"], 0.0, "one region").answer == "NOT TESTABLE"
    assert by_unique_share({}, REGIONS, 0.0, "no neuroid").answer == "NOT TESTABLE"
    assert by_decodability({}, REGIONS, "no neuroid").answer == "NOT TESTABLE"
    assert unique_simple(s, c, np.zeros((4, 100, 6)), ["V1"] * 6, draws=10) == {}
    with pytest.raises(InputError, match="two repetitions"):
        unique_simple(s, c, trials[:1], ["V1"] * 6)
    with pytest.raises(InputError, match="region names"):
        unique_simple(s, c, trials, ["V1"] * 5)
    with pytest.raises(InputError, match="two repetitions"):
        decodability(trials[:1], ["V1"] * 6, grating_cells(*factors()), s, c)


def test_counts_are_read_in_logarithms_and_other_responses_as_they_are() -> None:
    counts = np.array([[[0.0, 3.0], [1.0, np.nan]]])
    assert np.allclose(log_counts(counts), np.log(counts + 0.5), equal_nan=True)
    rates = np.array([[[0.2, 3.0]]])
    assert (log_counts(rates) == rates).all()
    assert (log_counts(-counts[:, :, :1]) == -counts[:, :, :1]).all()
