"""Decoding across conditions: what is there is found at any noise, what only the training pictures share is not."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from probes.decoding import (
    decode_across,
    decode_each,
    information_complexity,
    one_hot,
    orientation_target,
    principal_axes,
    split_half_ceiling,
    transfer_matrix,
)

ANGLES, PLACES = np.arange(0, 180, 15), 6


def stimuli() -> tuple[np.ndarray, np.ndarray]:
    """Orientation and place of 72 stimuli, four of each."""
    angle, place = (axis.ravel() for axis in np.meshgrid(ANGLES, np.arange(PLACES), indexing="ij"))
    return np.tile(angle, 4), np.tile(place, 4)


def population(angle: np.ndarray, place: np.ndarray, kind: str, noise: float, d: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    target = orientation_target(angle)
    if kind == "shared":  # one code for orientation at every place, plus a code of places
        axes = np.sqrt(d) * np.linalg.qr(rng.standard_normal((d, 2 + PLACES)))[0].T
        x = target @ axes[:2] + np.eye(PLACES)[place] @ axes[2:]
    else:  # orientation is coded by other neurons at each place
        code = rng.standard_normal((PLACES, 2, d))
        x = np.einsum("nk,nkd->nd", target, code[place])
    return x + noise * np.random.default_rng(1).standard_normal(x.shape)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_a_shared_code_generalises(noise: float) -> None:
    angle, place = stimuli()
    found = decode_across(population(angle, place, "shared", noise), orientation_target(angle), place, permutations=50)
    # A place that was never seen shifts all units, a little of it along the direction that is read.
    assert found.r2 > {0.0: 0.9, 0.5: 0.9, 2.0: 0.6}[noise]
    assert found.floor.max() < 0.2
    assert found.p == pytest.approx(1 / 51)
    assert set(found.per_condition) == {str(number) for number in range(PLACES)}
    assert np.isfinite(found.predictions).all()


def test_a_code_of_its_own_at_every_place_does_not() -> None:
    """Within random folds it decodes perfectly; across places there is nothing to read."""
    angle, place = stimuli()
    x = population(angle, place, "own", 0.1)
    assert decode_across(x, orientation_target(angle), place).r2 < 0.1
    random = np.random.default_rng(2).integers(0, PLACES, len(angle))
    assert decode_across(x, orientation_target(angle), random).r2 > 0.9


def test_noise_is_not_decoded() -> None:
    angle, place = stimuli()
    noise = np.random.default_rng(3).standard_normal((len(angle), 200))
    found = decode_across(noise, orientation_target(angle), place, permutations=100)
    assert abs(found.r2) < 0.1
    assert found.p > 0.01


def test_equal_dimensions_are_enforced() -> None:
    """A target in the 30th component is out of reach of ten components."""
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((300, 40)) * np.linspace(3, 0.3, 40)
    x = scores @ np.linalg.qr(rng.standard_normal((40, 40)))[0]
    conditions = np.arange(300) % 5
    x = x / x.std(axis=0)
    assert decode_across(x, scores[:, 30], conditions, components=40).r2 > 0.99
    assert decode_across(x, scores[:, 30], conditions, components=10).r2 < 0.5


def test_identity_is_a_target_too() -> None:
    angle, place = stimuli()
    x = population(angle, place, "shared", 0.1)
    assert decode_across(x, one_hot(place), angle).r2 > 0.95


def test_transfer_tells_a_stream_from_a_turned_copy() -> None:
    angle, place = stimuli()
    first = population(angle, place, "shared", 0.1)
    rng = np.random.default_rng(5)
    added = first + rng.standard_normal(60)  # a constant and nothing else
    turned = first @ np.linalg.qr(rng.standard_normal((60, 60)))[0]
    found = transfer_matrix([first, added, turned], orientation_target(angle), place)
    np.testing.assert_allclose(found[0, 1], found[0, 0], atol=1e-9)
    assert np.diag(found).min() > 0.95
    assert found[0, 2] < 0.3
    with pytest.raises(InputError, match="share a basis"):
        transfer_matrix([first, first[:, :10]], orientation_target(angle), place)


def test_the_ceiling_is_the_reliability_of_what_is_decoded() -> None:
    angle, place = stimuli()
    clean = population(angle, place, "shared", 0.0)
    noise = np.random.default_rng(6).standard_normal((10, *clean.shape))
    high = split_half_ceiling(clean + 0.3 * noise, orientation_target(angle), place, splits=3)
    low = split_half_ceiling(clean + 8 * noise, orientation_target(angle), place, splits=3)
    assert 1.0001 > high > 0.98 > low
    with pytest.raises(InputError, match="two repetitions"):
        split_half_ceiling(clean[None], orientation_target(angle), place)


def test_information_complexity_orders_features_by_the_depth_at_which_they_appear() -> None:
    rng = np.random.default_rng(7)
    early = rng.standard_normal((400, 10))
    middle = np.tanh(2 * early @ rng.standard_normal((10, 40)))
    late = np.tanh(2 * middle @ rng.standard_normal((40, 40)))
    depths = [early, np.hstack([early, middle]), np.hstack([early, middle, late])]
    features = np.column_stack([early[:, 0], middle[:, 0], late[:, 0], np.ones(400)])
    found = information_complexity(depths, features, np.arange(400) % 4)
    assert found[0] < 0.05
    assert found[0] < found[1] < found[2]
    assert np.isnan(found[3])


def test_what_cannot_be_decoded_is_said() -> None:
    angle, place = stimuli()
    x = population(angle, place, "shared", 0.1)
    with pytest.raises(InputError, match="three or more"):
        decode_across(x, orientation_target(angle), place > 2)
    with pytest.raises(InputError, match="one row of each"):
        decode_across(x[:-1], orientation_target(angle), place)
    bad = x.copy()
    bad[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        decode_across(bad, orientation_target(angle), place)
    assert np.isnan(decode_across(x, np.ones(len(x)), place).r2)
    constant = np.hstack([x, np.ones((len(x), 5))])
    assert decode_across(constant, orientation_target(angle), place).r2 == pytest.approx(
        decode_across(x, orientation_target(angle), place).r2
    )


def test_targets_decoded_together_are_those_decoded_alone() -> None:
    angle, place = stimuli()
    x = population(angle, place, "shared", 0.5)
    targets = {"cos": orientation_target(angle)[:, 0], "sin": orientation_target(angle)[:, 1]}
    both = decode_each(x, targets, place, permutations=5)
    for name, target in targets.items():
        alone = decode_across(x, target, place, permutations=5)
        assert both[name].r2 == pytest.approx(alone.r2, abs=1e-12)
        np.testing.assert_allclose(both[name].predictions, alone.predictions, atol=1e-12)
        np.testing.assert_allclose(both[name].floor, alone.floor, atol=1e-12)
        assert both[name].per_condition == pytest.approx(alone.per_condition)
    with pytest.raises(InputError, match="one shape together"):
        decode_each(x, {"one": targets["cos"], "two": orientation_target(angle)}, place)


def test_axes_of_wide_populations_are_those_of_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(8)
    z = rng.standard_normal((40, 7)) @ rng.standard_normal((7, 300)) + 0.1 * rng.standard_normal((40, 300))
    z -= z.mean(axis=0)
    axes, (_, _, right) = principal_axes(z, 20), np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(np.abs(axes.T @ right[:20].T), np.eye(20), atol=1e-8)
    low = z[:, :1] * rng.standard_normal((1, 300))
    assert principal_axes(low, 20).shape == (300, 1)
    assert principal_axes(np.zeros((5, 300)), 20).shape == (300, 0)


def test_units_that_hardly_varied_in_training_do_not_outweigh_the_others() -> None:
    """Of units that look at one place each, those at the place left out were silent but for rounding."""
    angle, place = stimuli()
    rng = np.random.default_rng(10)
    shared = population(angle, place, "shared", 0.1)
    local = np.where(place[:, None] == np.arange(PLACES), 1.0, 1e-6) * rng.standard_normal((len(angle), PLACES))
    x = np.hstack([shared, local])
    target = {"orientation": orientation_target(angle)}
    assert decode_each(x, target, place)["orientation"].r2 < 0
    assert decode_each(x, target, place, clip=True)["orientation"].r2 > 0.8
    inside = decode_each(shared, target, place, clip=True)["orientation"].r2
    assert inside == pytest.approx(decode_each(shared, target, place)["orientation"].r2, abs=0.1)
