"""Is a feature tuned at all? Permutation of stimulus labels, with the false discovery rate over all features.

Each test permutes one factor's labels and leaves the others alone, so that a feature which depends on those only is
not called tuned to this one. The permuted unit is a whole condition, with whatever else varies within it:

    orientation   the 12 orientations change places, each with all its frequencies and phases
    frequency     within each orientation, the frequencies change places, each with all its phases
    phase         the phases change places, in all conditions alike

Under the null hypothesis that the factor plays no part, the permuted responses are as likely as the observed ones,
and p = (1 + permutations with a statistic at least as large) / (1 + permutations) is exact (Phipson & Smyth 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.tuning.grid import GratingGrid
from probes.tuning.modulation import Harmonics, harmonics

Array = NDArray[np.float64]
TIES = 1 - 1e-9
"""Statistics within this part of the observed one count as at least as large: equal sums differ by rounding."""
BLOCK = 512


@dataclass(frozen=True)
class TuningTests:
    """p of each test, [feature], uncorrected; NaN for features without finite responses."""

    orientation: Array
    frequency: Array
    phase: Array


def tuning_tests(
    grid: GratingGrid, permutations: int = 2000, seed: int = 0, found: Harmonics | None = None
) -> TuningTests:
    """The three permutation tests of every feature; all features see the same permutations.

    The statistics: orientation, the largest |sum_o C_o e^{2 i theta_o}| of three curves C, the mean over phases, F1
    and their sum over sqrt 2, each a mean over frequencies weighted by their power; frequency, the variance over
    frequencies of the components summed over orientations; phase, sum over conditions of F1^2.
    """
    found = harmonics(grid) if found is None else found
    rng = np.random.default_rng(seed)
    usable = np.isfinite(grid.responses).all(axis=(1, 2, 3))
    components = np.stack([found.mean, found.f1])[:, usable]
    tests = (
        _orientation(components, grid.orientations, permutations, rng),
        _frequency(components, permutations, rng),
        _phase(grid.responses[usable], grid.phases, permutations, rng),
    )
    out = np.full((3, len(usable)), np.nan)
    out[:, usable] = tests
    return TuningTests(*out)


def _p(observed: Array, exceeding: NDArray[np.intp], permutations: int) -> Array:
    # Without any response every permutation ties: p = 1 by the same rule.
    return (1 + exceeding) / (1 + permutations)


def _orders(rng: np.random.Generator, count: int, length: int) -> NDArray[np.intp]:
    """`count` random permutations of `length` things, [count, length]."""
    return rng.random((count, length)).argsort(axis=1)


def _orientation(components: Array, orientations: Array, permutations: int, rng: np.random.Generator) -> Array:
    # Frequencies count by their power, which permutations of orientations leave alone: where nothing is evoked, there
    # is only noise.
    curves = (components * (components**2).sum(axis=2, keepdims=True)).sum(axis=3)  # [component, feature, orientation]
    curves /= np.maximum((components**2).sum(axis=(2, 3)), 1e-300)[:, :, None]
    curves = np.concatenate([curves, curves.sum(axis=0, keepdims=True) / np.sqrt(2)])
    curves = curves - curves.mean(axis=2, keepdims=True)  # the resultant is the same, and rounding less
    angle = 2 * np.deg2rad(orientations)
    observed = np.abs(curves @ np.exp(1j * angle)).max(axis=0)
    exceeding = np.zeros(len(observed), np.intp)
    for start in range(0, permutations, BLOCK):
        moved = angle[_orders(rng, min(BLOCK, permutations - start), len(angle))].T
        size = (curves @ np.cos(moved)) ** 2 + (curves @ np.sin(moved)) ** 2
        exceeding += (size.max(axis=0) >= (TIES * observed[:, None]) ** 2).sum(axis=1)
    return _p(observed, exceeding, permutations)


def _frequency(components: Array, permutations: int, rng: np.random.Generator) -> Array:
    # Without each orientation's mean, which its permutations leave alone.
    centred = components - components.mean(axis=3, keepdims=True)
    observed = (centred.sum(axis=2) ** 2).sum(axis=(0, 2))
    orientations, frequencies = centred.shape[2:]
    flat = np.ascontiguousarray(centred.reshape(*centred.shape[:2], -1), np.float32)
    exceeding = np.zeros(len(observed), np.intp)
    for start in range(0, permutations, BLOCK):
        count = min(BLOCK, permutations - start)
        orders = _orders(rng, count * orientations, frequencies).reshape(count, orientations, frequencies)
        # Indicator matrices: column (permutation, frequency) sums what stands there after the permutation.
        place = np.zeros((orientations, frequencies, frequencies, count), np.float32)
        where = np.broadcast_to(np.arange(orientations)[:, None, None], (orientations, frequencies, count))
        which = np.broadcast_to(np.arange(count), where.shape)
        to = np.broadcast_to(np.arange(frequencies)[None, :, None], where.shape)
        place[where, orders.transpose(1, 2, 0), to, which] = 1
        columns = place.reshape(orientations * frequencies, -1)
        statistic = np.zeros((len(observed), count), np.float32)
        for component in flat:
            sums = component @ columns
            sums *= sums
            statistic += sums.reshape(len(observed), frequencies, count).sum(axis=1)
        exceeding += (statistic >= (1 - 1e-5) * observed[:, None]).sum(axis=1)
    return _p(observed, exceeding, permutations)


def _phase(responses: Array, phases: Array, permutations: int, rng: np.random.Generator) -> Array:
    # sum over conditions of |sum_p r_p e^{-i p}|^2 = w' G w with G_pq = sum over conditions of r_p r_q.
    rows = responses.reshape(len(responses), -1, len(phases))
    rows = rows - rows.mean(axis=2, keepdims=True)
    gram = (rows.swapaxes(1, 2) @ rows).reshape(len(responses), -1)
    radians = np.deg2rad(phases)

    def weights(moved: Array) -> Array:
        """e^{i(p - q)} for each pair of phases, [pair, permutation]."""
        return np.cos(moved[:, :, None] - moved[:, None, :]).reshape(len(moved), -1).T

    observed = (gram @ weights(radians[None]))[:, 0]
    exceeding = np.zeros(len(observed), np.intp)
    for start in range(0, permutations, BLOCK):
        moved = radians[_orders(rng, min(BLOCK, permutations - start), len(phases))]
        exceeding += (gram @ weights(moved) >= TIES * observed[:, None]).sum(axis=1)
    return _p(observed, exceeding, permutations)


def adjusted(p: Array) -> Array:
    """p adjusted for the false discovery rate over all features (Benjamini & Hochberg 1995), NaN staying NaN."""
    from scipy.stats import false_discovery_control

    out = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out


def response_p(responses: Array, baseline: Array) -> Array:
    """Two-sided p that the mean response to all gratings is the baseline, [feature], of [feature, n] and [feature].

    A t test over stimuli, asymptotic for skewed responses. 1 for features whose every response is the baseline, 0 for
    those that differ from it by the same amount on every stimulus.
    """
    from scipy.stats import t

    above = responses - baseline[:, None]
    n = above.shape[1]
    mean, sd = above.mean(axis=1), above.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(sd > 0, mean / (sd / np.sqrt(n)), np.where(mean == 0, 0, np.inf))
    statistic = np.where(np.isfinite(above).all(axis=1), statistic, np.nan)
    return 2 * t.sf(np.abs(statistic), n - 1)
