"""Survival: planted hazards come back, Kaplan-Meier is lifelines', the ceiling mends matches that were missed."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from bridge.errors import InputError
from comparisons.persistence.survival import Ceiling, Features, Lives, cox, kaplan_meier, lives, stratum


def planted(
    hazard: np.ndarray, *, sites: int = 8, found: float = 1.0, seed: int = 0, born: int | None = 0, **values: np.ndarray
) -> Lives:
    """Features with a chance `hazard` [f] of dying at each step; a living one is found with probability `found`."""
    rng = np.random.default_rng(seed)
    count = len(hazard)
    birth = np.full(count, born) if born is not None else rng.integers(0, sites - 1, count)
    alive = np.zeros((count, sites), bool)
    seen = np.zeros((count, sites), bool)
    for site in range(sites):
        first = birth == site
        alive[:, site] = first | (alive[:, site - 1] & (rng.random(count) > hazard) if site else False)
        seen[:, site] = first | (alive[:, site] & (rng.random(count) < found))
    ones = np.full(count, 0.5)
    return Lives(
        birth, np.arange(count), seen, values.get("simplicity", ones), values.get("density", ones),
        values.get("stability", ones),
    )  # fmt: skip


def of(durations: list[int], died: list[bool], sites: int) -> Lives:
    """Features born at site 0 with these durations."""
    seen = np.zeros((len(durations), sites), bool)
    for row, (duration, gone) in enumerate(zip(durations, died, strict=True)):
        seen[row, : duration + (not gone)] = True
    ones = np.ones(len(durations))
    return Lives(np.zeros(len(durations), int), np.arange(len(durations)), seen, ones, ones, ones)


def test_kaplan_meier_by_hand() -> None:
    """Five features over four sites: one dies at age 1, two at age 2, two last: 4/5, then 2/4, then nothing."""
    curve = kaplan_meier(of([1, 2, 2, 3, 3], [True, True, True, False, False], sites=4))
    np.testing.assert_allclose(curve.survival, [4 / 5, 4 / 5 * 2 / 4, 4 / 5 * 2 / 4])
    np.testing.assert_array_equal(curve.at_risk, [5, 4, 2])
    np.testing.assert_array_equal(curve.deaths, [1, 2, 0])
    assert curve.half_life == 2
    assert np.isnan(curve.corrected_half_life)


def test_kaplan_meier_is_lifelines() -> None:
    features = planted(np.full(300, 0.25), born=None)
    curve = kaplan_meier(features)
    theirs = KaplanMeierFitter().fit(features.duration, features.died)
    np.testing.assert_allclose(curve.survival, theirs.survival_function_at_times(curve.ages).to_numpy(), atol=1e-12)
    limits = theirs.confidence_interval_survival_function_.loc[curve.ages].to_numpy()
    np.testing.assert_allclose(curve.interval, limits, atol=1e-9)
    assert curve.half_life == theirs.median_survival_time_


def test_a_planted_hazard_comes_back() -> None:
    curve = kaplan_meier(planted(np.full(4000, 0.2)))
    np.testing.assert_allclose(curve.survival, 0.8**curve.ages, atol=0.02)
    inside = (curve.interval[:, 0] < 0.8**curve.ages) & (0.8**curve.ages < curve.interval[:, 1])
    assert inside.all()


def test_the_ceiling_mends_a_planted_match_rate() -> None:
    """Found with chance .6 at each site: survival without the ceiling is far too low, with it the truth."""
    features = planted(np.full(6000, 0.1), found=0.6)
    rate = Ceiling(np.full((8, 8), 0.6), np.full((8, 8), 500))
    curve = kaplan_meier(features, rate)
    assert curve.survival[4] < 0.1
    np.testing.assert_allclose(curve.corrected[:5], 0.9 ** curve.ages[:5], atol=0.06)
    low, high = curve.corrected_interval[:5].T
    assert ((low < 0.9 ** curve.ages[:5]) & (0.9 ** curve.ages[:5] < high)).all()
    assert curve.half_life == 2, "0.54 are left at age 1"
    assert curve.corrected_half_life > 4


def test_a_ceiling_of_one_changes_nothing_and_of_none_gives_none() -> None:
    features = planted(np.full(200, 0.2), born=None)
    whole = kaplan_meier(features, Ceiling(np.ones((8, 8)), np.full((8, 8), 100)))
    np.testing.assert_allclose(whole.corrected, whole.survival)
    nothing = kaplan_meier(features, Ceiling(np.zeros((8, 8)), np.full((8, 8), 100)))
    assert np.isnan(nothing.corrected).all()
    assert None in nothing.as_json()["corrected"]


def test_a_ceiling_is_that_of_the_site_reached() -> None:
    """Born at site 0, one step: the rate of site 1 counts; that of others does not."""
    rates = np.full((4, 4), np.nan)
    rates[0, 1], rates[0, 2], rates[0, 3] = 0.5, 0.8, 0.9
    curve = kaplan_meier(of([1, 2, 3, 3], [True, True, False, False], sites=4), Ceiling(rates, np.full((4, 4), 50)))
    np.testing.assert_allclose(curve.ceiling, [0.5, 0.8, 0.9])
    np.testing.assert_allclose(curve.corrected, np.cumprod([1.0, (2 / 3) / 0.8, 1.0]))


def test_cox_finds_the_planted_hazard_ratio() -> None:
    rng = np.random.default_rng(3)
    simplicity = rng.random(3000)
    hazard = 0.3 * 0.3**simplicity
    values = {"simplicity": simplicity, "density": rng.uniform(0.01, 0.5, 3000), "stability": rng.random(3000)}
    found = cox(planted(hazard, born=None, **values))
    assert found.interval[0] < 0.3 < found.interval[1] or abs(np.log(found.ratio / 0.3)) < 0.25
    assert found.p < 1e-6
    assert abs(found.coefficients["stability"]) < 0.3
    nothing = cox(planted(np.full(3000, 0.2), born=None, **values))
    assert nothing.interval[0] < 1 < nothing.interval[1]


def test_stability_as_a_covariate_takes_away_what_is_its_own() -> None:
    """Simple features are found more often and do not last longer: without the covariate they would seem to."""
    rng = np.random.default_rng(4)
    stability = rng.random(3000)
    simplicity = np.clip(stability + 0.15 * rng.standard_normal(3000), 0, 1)
    values = {"simplicity": simplicity, "stability": stability, "density": np.full(3000, 0.1)}
    with_it = cox(planted(0.5 * 0.2**stability, born=None, **values))
    without = cox(planted(0.5 * 0.2**stability, born=None, **{**values, "stability": np.full(3000, 0.5)}))
    assert without.interval[1] < 0.6
    assert with_it.interval[0] < 1 < with_it.interval[1] * 1.2


def test_few_deaths_give_no_hazard_ratio() -> None:
    with pytest.raises(InputError, match="too few"):
        cox(planted(np.full(8, 0.1), simplicity=np.random.default_rng(0).random(8)))
    with pytest.raises(InputError, match="simplicity must vary"):
        cox(planted(np.full(500, 0.3)))


def test_births_and_matches_come_from_the_pairs() -> None:
    """Site 0 has latents 0 and 1 (2 is dead); 0 is latent 1 of site 1 and 0 of site 2; latent 0 of site 1 is new."""
    own = [
        Features(np.array([True, True, False]), np.array([0.9, 0.1, 0.5]), np.full(3, 0.1), np.full(3, 1.0)),
        Features(np.array([True, True]), np.array([0.3, 0.2]), np.full(2, 0.1), np.full(2, 1.0)),
        Features(np.array([True]), np.array([0.7]), np.full(1, 0.1), np.full(1, 1.0)),
    ]
    partners = {(0, 1): np.array([1, -1, 0]), (0, 2): np.array([0, -1, -1]), (1, 2): np.array([-1, 0])}
    found = lives(own, partners)
    np.testing.assert_array_equal(found.birth, [0, 0, 1])
    np.testing.assert_array_equal(found.latent, [0, 1, 0])
    np.testing.assert_array_equal(found.found, [[1, 1, 1], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(found.duration, [2, 1, 1])
    np.testing.assert_array_equal(found.died, [False, True, True])
    np.testing.assert_array_equal(found.simplicity, [0.9, 0.1, 0.3])
    with pytest.raises(InputError, match="two sites"):
        lives(own[:1], {})
    with pytest.raises(InputError, match="missing"):
        lives(own, {(0, 1): partners[0, 1]})


def test_a_match_after_a_gap_is_the_last_match_not_a_longer_life() -> None:
    features = of([1, 3], [True, False], sites=4)
    features.found[0, 3] = True
    np.testing.assert_array_equal(features.duration, [1, 3])
    np.testing.assert_array_equal(features.last_match, [3, 3])


def test_strata() -> None:
    found = stratum(np.array([0.5, 0.49, 0.1, -0.3, np.nan]))
    assert found.tolist() == ["simple", "between", "complex", "complex", "undefined"]


def test_features_born_at_the_end_say_nothing() -> None:
    curve = kaplan_meier(planted(np.full(10, 0.5), born=7))
    assert not len(curve.ages)
    assert curve.as_json()["survival"] == []
