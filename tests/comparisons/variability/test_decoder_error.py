"""Decoder-error transport on populations whose errors are planted, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from bridge.errors import InputError
from comparisons.variability.decoder_error import (
    PENALTIES,
    checked,
    free_of_gain,
    moments,
    ridge,
    statistics,
    transports,
    two_stage,
)

N, REPS, D, Q = 80, 16, 3, 40
AREAS = ("V1", "V4", "IT")


def planted(
    weights: dict[tuple[int, int], float], *, own: float = 0.3, seed: int = 0, read: float = 0.4, tells: bool = True
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(trials, areas, s): each area's state is s plus an error e_k = sum_j weights[j, k] e_j + fresh noise, and
    neuroids read it linearly with noise of their own. Without `tells` IT's neuroids read something unrelated to s."""
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((N, D))
    errors: list[np.ndarray] = []
    parts = []
    for k in range(len(AREAS)):
        fresh = own * rng.standard_normal((REPS, N, D))
        errors.append(fresh + sum(weights.get((j, k), 0.0) * errors[j] for j in range(k)))
        state = s + errors[k]
        if k == 2 and not tells:
            state = rng.standard_normal((N, D)) + own * rng.standard_normal((REPS, N, D))
        reader = rng.standard_normal((D, Q)) / np.sqrt(D)
        parts.append(state @ reader + read * rng.standard_normal((REPS, N, Q)) - 1)
    return np.concatenate(parts, axis=2), [name for name in AREAS for _ in range(Q)], s


RELAY = {(0, 1): 1.0, (1, 2): 1.0}
APART: dict[tuple[int, int], float] = {}


def test_errors_arrive_in_a_relay_and_not_where_areas_have_their_own() -> None:
    found = transports(*planted(RELAY), draws=200)
    assert [(part.earlier, part.later) for part in found] == [("V1", "IT"), ("V1", "V4"), ("V4", "IT")]
    for part in found:
        assert part.cal.value == pytest.approx(1, abs=0.1)
        assert part.rel.lower > 0.3
    apart = transports(*planted(APART), draws=200)[0]
    assert apart.cal.lower < 0 < apart.cal.upper < 0.1
    assert apart.gain.lower > 0.5  # IT tells s well, and yet errs on its own


def test_calibration_is_the_share_of_the_first_areas_error_that_arrives() -> None:
    half = transports(*planted({(0, 1): 0.5, (1, 2): 1.0}), draws=200)[0]
    assert half.cal.value == pytest.approx(0.5, abs=0.06)


def test_an_area_that_does_not_tell_the_variable_is_decoded_as_its_mean() -> None:
    one = transports(*planted(RELAY, tells=False), draws=200)[0]
    assert one.gain.upper < 0.05
    assert abs(one.t.value) < 0.05


def test_the_direct_path_is_seen_and_naive_regression_sees_one_in_every_relay() -> None:
    relay = transports(*planted(RELAY), draws=200)[0]
    assert relay.direct is not None
    assert relay.direct.lower < 0.1
    around = transports(*planted({(0, 1): 1.0, (1, 2): 0.5, (0, 2): 0.5}), draws=200)[0]
    assert around.direct is not None
    assert around.direct.value == pytest.approx(0.5, abs=0.12)
    assert around.direct.lower > 0.1
    # The trap: e_V4 is measured with error, so e_V1 beside it takes part of its coefficient.
    y, areas, s = checked(*planted(RELAY), AREAS)
    made = moments(y, areas, AREAS, s, correct_gain=False, rng=np.random.default_rng(0))
    c = made.errors.mean(axis=0).sum(axis=2)
    first, middle, last = 2, 5, 8  # whole areas
    naive = np.linalg.solve(c[np.ix_([middle, first], [middle, first])], c[[middle, first], last])
    assert naive[1] > 0.1
    top, determinant = two_stage(c[None], 3, 0, last)
    assert abs(top[0] / determinant[0]) < 0.1


def test_two_stage_least_squares_gives_the_structural_coefficient() -> None:
    """Exact moments of e_m = e_j + u, e_k = .7 e_m + .2 e_j, halves A and B measured with independent errors."""
    loads = np.array([[1.0, 0], [1, 0], [1, 1], [1, 1], [0.9, 0.7]])  # j_A, j_B, m_A, m_B, k on (e_j, u)
    c = loads @ np.diag([2.0, 1.0]) @ loads.T + np.diag([3, 2, 1, 4, 0.5])
    top, determinant = two_stage(c[None], 2, 0, 4)
    assert top[0] / determinant[0] == pytest.approx(0.2)


def test_ridge_equals_scikit_learns_leave_one_out() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((50, 70)), rng.standard_normal((50, 4))
    y[:, 0] += x[:, :5].sum(1)
    x, y = x - x.mean(0), y - y.mean(0)
    theirs = RidgeCV(alphas=PENALTIES * 50, fit_intercept=True).fit(x, y)
    np.testing.assert_allclose(ridge(x, y), theirs.coef_.T, atol=1e-10)


def test_weights_over_stimuli_are_repeated_stimuli() -> None:
    y, areas, s = checked(*planted(RELAY), AREAS)
    made = moments(y, areas, AREAS, s, correct_gain=True, rng=np.random.default_rng(0))
    counts = np.random.default_rng(2).multinomial(N, np.full(N, 1 / N))
    rows = np.repeat(np.arange(N), counts)
    again = type(made)(made.regions, made.errors[rows], made.decoded[rows], made.values[rows])
    pairs = [(0, 2), (0, 1), (1, 2)]
    ours = statistics(made, counts[None].astype(float), pairs)
    theirs = statistics(again, np.ones((1, N)), pairs)
    for key, values in ours.items():
        np.testing.assert_allclose(values, theirs[key], rtol=1e-9)


def test_a_gain_is_taken_out_of_errors() -> None:
    rng = np.random.default_rng(3)
    gain, mean = rng.standard_normal((REPS, N)), rng.standard_normal((N, D))
    gain -= gain.mean(0)
    clean = rng.standard_normal((REPS, N, D)) * 0.1
    found = free_of_gain(clean + gain[..., None] * (0.5 + 2 * mean), gain, mean)
    assert np.corrcoef(found.ravel(), clean.ravel())[0, 1] > 0.999


def test_missing_trials_and_silent_neuroids_are_left_out() -> None:
    trials, areas, s = planted(RELAY)
    trials[-3:, ::2] = np.nan
    trials[:, :, 5] = 0
    found = transports(trials, areas, s, draws=100)[0]
    assert found.cal.lower < 1 < found.cal.upper


def apart(y: np.ndarray) -> np.ndarray:
    """Trials of the first stimulus in which V1 was never recorded together with IT."""
    y[::2, 0, :Q] = np.nan
    y[1::2, 0, -Q:] = np.nan
    return y


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, a, s: (y[:1], a, s), "one repetition"),
        (lambda y, a, s: (y[:, :30], a, s[:30]), "30 stimuli are too few"),
        (lambda y, a, s: (y[:, :, :Q], a[:Q], s), "one area"),
        (lambda y, a, s: (y[:, :, :-35], a[:-35], s), "IT has 5 reliable neuroids"),
        (lambda y, a, s: (y, a, s[:-1]), r"expected \[rep, n, neuroid\]"),
        (lambda y, a, s: (y, a, np.ones(N)), "do not vary"),
        (lambda y, a, s: (apart(y), a, s), "1 of 80 stimuli have fewer than two trials in which all"),
    ],
)
def test_what_cannot_be_tested_is_said(change: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        transports(*change(*planted(APART)), draws=100)  # type: ignore[operator]
