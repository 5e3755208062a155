"""D: a planted stream that carries orientation has D near 1, one that does not has 0, and random folds are a trap."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from comparisons.persistence.decodability import crossed_folds, decodability, ratio_of_losses
from probes.decoding import decode_across, orientation_target

ORIENTATION, FREQUENCY, PHASE = (
    axis.ravel() for axis in np.meshgrid(np.arange(0, 180, 15), np.arange(5), np.arange(0, 360, 45), indexing="ij")
)
TARGET = orientation_target(ORIENTATION)
CELLS = ORIENTATION * 10 + FREQUENCY


def stream(kind: str, d: int = 60, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Populations of one truth each, over the gratings above."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0] * np.sqrt(d)
    others = np.eye(5)[FREQUENCY] @ axes[:5] + np.outer(np.cos(np.deg2rad(PHASE)), axes[5])
    if kind == "carries":
        x = TARGET @ axes[6:8] + others
    elif kind == "lost":
        x = others
    elif kind == "own code at every frequency":
        x = np.einsum("nk,nkd->nd", TARGET, rng.standard_normal((5, 2, d))[FREQUENCY]) + others
    elif kind == "linear":  # the sign of every response turns with the phase: nothing that a linear reader can keep
        x = np.cos(np.deg2rad(PHASE))[:, None] * (TARGET @ axes[6:8]) + others
    else:
        raise AssertionError(kind)
    return x + noise * rng.standard_normal(x.shape)


def found(kind: str, **options: object):
    return decodability(stream(kind), TARGET, held=FREQUENCY, apart=PHASE, cells=CELLS, **options)  # type: ignore[arg-type]


def test_a_stream_that_carries_orientation_has_d_near_one() -> None:
    one = found("carries", permutations=50)
    assert one.r2 > 0.97
    assert one.estimate.lower > 0.95
    assert one.floor.max() < 0.3
    assert one.p == pytest.approx(1 / 51)
    assert set(one.per_condition) == {"0", "1", "2", "3", "4"}
    assert (one.n_stimuli, one.components) == (480, 50)


@pytest.mark.parametrize("kind", ["lost", "linear"])
def test_one_that_does_not_has_none(kind: str) -> None:
    one = found(kind, permutations=50)
    assert one.r2 < 0.05
    assert one.estimate.upper_one_sided < 0.3
    assert one.p > 0.01


def test_random_folds_are_a_trap_that_cross_conditions_avoid() -> None:
    kind = "own code at every frequency"
    random = np.random.default_rng(1).integers(0, 5, len(TARGET))
    naive = decode_across(stream(kind), TARGET, random).r2
    assert naive > 0.9
    assert found(kind).estimate.upper < 0.3


def test_the_error_is_that_of_new_cells() -> None:
    """Against fresh populations of the same truth: D lies within its interval about as often as it says."""
    values = [decodability(stream("carries", noise=3.0, seed=seed), TARGET, held=FREQUENCY, apart=PHASE, cells=CELLS)
              for seed in range(12)]  # fmt: skip
    spread, said = np.std([one.r2 for one in values], ddof=1), np.mean([one.se for one in values])
    assert 0.4 < said / spread < 2.5
    assert 0.3 < np.mean([one.r2 for one in values]) < 0.95


def test_folds_share_neither_condition() -> None:
    for fold in crossed_folds(FREQUENCY, PHASE):
        assert not set(FREQUENCY[fold.train]) & set(FREQUENCY[fold.test])
        assert not set(PHASE[fold.train]) & set(PHASE[fold.test])
    tested = np.sum([fold.test for fold in crossed_folds(FREQUENCY, PHASE)], axis=0)
    assert (tested == 1).all(), "every stimulus is predicted once"
    with pytest.raises(InputError, match="three or more"):
        crossed_folds(FREQUENCY > 2)
    with pytest.raises(InputError, match="two or more"):
        crossed_folds(FREQUENCY, np.zeros(len(FREQUENCY)))


def test_dead_constant_and_undefined_units_have_a_stated_result() -> None:
    x = stream("carries")
    bad = np.hstack([x, np.full((len(x), 3), np.nan), np.ones((len(x), 2))])
    options = {"held": FREQUENCY, "apart": PHASE, "cells": CELLS}
    assert decodability(bad, TARGET, **options).r2 == pytest.approx(found("carries").r2, abs=1e-9)  # type: ignore[arg-type]
    assert abs(decodability(np.ones((len(x), 4)), TARGET, **options).r2) < 1e-9  # type: ignore[arg-type]
    nothing = decodability(np.full((len(x), 2), np.nan), TARGET, permutations=3, **options)  # type: ignore[arg-type]
    assert np.isnan(nothing.r2)
    assert not nothing.estimate.known
    assert np.isnan(decodability(x, np.ones(len(x)), **options).r2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="different targets"):
        decodability(x, TARGET, held=FREQUENCY, cells=FREQUENCY)
    with pytest.raises(InputError, match="one row of each"):
        decodability(x[1:], TARGET, held=FREQUENCY, cells=CELLS)


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two, other = found("carries", seed=1), found("carries", seed=1), found("carries", seed=2)
    np.testing.assert_array_equal(one.draws, two.draws)
    assert one.r2 == other.r2
    assert not np.array_equal(one.draws, other.draws)


def test_losses_are_shares_of_what_was_there() -> None:
    full, gone = found("carries"), found("lost")
    share, draws = ratio_of_losses(full, gone)
    assert share == pytest.approx(1, abs=0.1)
    assert len(draws) == len(full.draws)
    assert ratio_of_losses(full, full)[0] == 0
    assert np.isnan(ratio_of_losses(gone, full)[0]) or gone.r2 > 0
    with pytest.raises(InputError, match="draw both alike"):
        ratio_of_losses(full, found("lost", draws=10))
