"""D for recordings: whether orientation stays readable across spatial frequencies and phases, against two references.

Responses to gratings are averaged within cells: orientation x spatial frequency x half of the phases. A ridge probe of
(cos 2 theta, sin 2 theta) learns from one half of the phases at all spatial frequencies but one, and is tested on the
other half at that one; its penalty is chosen by leaving out further frequencies. Random folds would be useless: they
read orientation from anything that was shown. What R2 a population could reach is another population's R2:

    D_k = R2_k / R2_ref,k       the reference reads S alone (lambda = 1): u_i = a_i' S, scaled to neuroid i's signal
                                variance, with its noise and repetitions
    complex-only reference      the same from the analyst's C; what it reaches, no S is needed for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.unique_variance import signal_variance
from comparisons.statistics import bootstrap_counts
from comparisons.verdicts.evidence import Estimate

Array = NDArray[np.float64]
PENALTIES = np.logspace(-4, 1.5, 12)
"""Ridge penalties over the number of training cells, for responses of unit mean square."""
GROUPS = 6
"""Groups of neuroids of the jackknife."""
REFERENCES = 4
"""Reference populations drawn; their errors are averaged."""


@dataclass(frozen=True)
class Cells:
    """Which stimuli are averaged into which cell, and what each cell shows.

    Cells stand [half of the phases, orientation, frequency]; `weights` [cell, n] average the stimuli.
    """

    weights: Array
    target: Array
    """(cos 2 theta, sin 2 theta), [cell, 2]."""
    frequency: NDArray[np.intp]
    """Number of the spatial frequency, [cell]."""
    half: NDArray[np.intp]
    """Which half of the phases, [cell]."""
    pair: NDArray[np.intp]
    """Number of orientation x frequency, [cell]: what the bootstrap draws."""


def grating_cells(orientation: Array, cycles: Array, phase: Array) -> Cells:
    """The cells of gratings [n] (degrees, cycles an image, degrees). Stimuli with NaN are no gratings.

    Raises InputError for fewer than four orientations, four frequencies or two phases, and for an orientation and
    frequency that one half of the phases lacks.
    """
    shown = np.isfinite(orientation) & np.isfinite(cycles) & np.isfinite(phase)
    angles, frequencies, phases = (np.unique(values[shown]) for values in (orientation, cycles, phase))
    if len(angles) < 4 or len(frequencies) < 4 or len(phases) < 2:
        raise InputError(
            f"Gratings of {len(angles)} orientations, {len(frequencies)} spatial frequencies and {len(phases)} phases "
            "cannot show whether orientation is read across frequencies and phases; it takes 4, 4 and 2 or more."
        )
    second = np.isin(phase, phases[1::2])
    rows, shows = [], []
    for half in (0, 1):
        for a, angle in enumerate(angles):
            for f, frequency in enumerate(frequencies):
                mine = shown & (orientation == angle) & (cycles == frequency) & (second == bool(half))
                if not mine.any():
                    raise InputError(
                        f"There is no grating of {angle:g} degrees and {frequency:g} cycles in one half of the phases; "
                        "give every combination."
                    )
                rows.append(mine / mine.sum())
                shows.append((2 * np.deg2rad(angle), f, half, a * len(frequencies) + f))
    doubled, *codes = (np.array(column) for column in zip(*shows, strict=True))
    target = np.stack([np.cos(doubled), np.sin(doubled)], axis=1)
    return Cells(np.array(rows), target, *(code.astype(np.intp) for code in codes))


@dataclass(frozen=True)
class Decodability:
    """One region's D with its error; `excess` over the complex-only reference in the same unit; and the three R2."""

    region: str
    d: Estimate
    excess: Estimate
    r2: float
    reference: float
    complex_only: float
    neuroids: int


def decodability(
    trials: np.ndarray,
    regions: Sequence[str],
    cells: Cells,
    simple: np.ndarray,
    complex_: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Decodability]:
    """D and the excess of every region, as they first appear in `regions` [neuroid].

    `trials` [rep, n, neuroid] are responses to the stimuli of `cells`, `simple` [n, p_s] and `complex_` [n, p_c] the
    analyst's features of the same stimuli. se^2 = se_cells^2 (bootstrap of orientation x frequency, no new fit) +
    se_neuroids^2 (jackknife over six groups, with the penalty of all). Neuroids that do not vary are left out; a region
    with fewer than 12 others, or whose reference cannot be decoded (R2 <= .05), is left out of what is returned: there
    D says nothing.
    Raises InputError for shapes that do not fit and fewer than two repetitions.
    """
    names = np.asarray(regions)
    n = cells.weights.shape[1]
    if trials.ndim != 3 or len(trials) < 2 or trials.shape[1:] != (n, len(names)):
        raise InputError(
            f"Trials of shape {list(trials.shape)} came with {n} stimuli and {len(names)} region names; expected "
            "[rep, n, neuroid] with two repetitions or more."
        )
    used = cells.weights.any(axis=0)
    shown = trials[:, used]
    mean = nanmean(shown)
    signal = np.maximum(signal_variance(shown), 0)
    noise = np.maximum(mean.var(axis=0, ddof=1) - signal_variance(shown), 0)
    average = cells.weights[:, used]
    found = {}
    for number, region in enumerate(dict.fromkeys(regions)):
        mine = (names == region) & (mean.var(axis=0) > 0)
        if mine.sum() < 2 * GROUPS:
            continue
        rng = np.random.default_rng([seed, number])
        populations = [mean[:, mine]]
        for features in (simple, complex_):
            for _ in range(REFERENCES):
                populations.append(matched(features[used], signal[mine], noise[mine], rng))
        group = rng.permutation(int(mine.sum())) % GROUPS
        kept = [np.ones(int(mine.sum()), bool), *(group != g for g in range(GROUPS))]
        stacked = [average @ population for population in populations]
        errors, totals = held_out_errors([[cell[:, keep] for cell in stacked] for keep in kept], cells)
        one = _estimates(errors, totals, cells, draws, rng)
        if one is not None:
            found[region] = Decodability(region, *one, int(mine.sum()))
    return found


def matched(features: Array, signal: Array, noise: Array, rng: np.random.Generator) -> Array:
    """Mean responses [n, neuroid] of neuroids that read `features` [n, p] with random weights, each with the signal and
    noise variance given. Features that do not vary count for nothing."""
    spread = features.std(axis=0)
    live = spread > 1e-9 * max(spread.max(initial=0), 1e-300)
    if not live.any():
        return np.sqrt(noise) * rng.standard_normal((len(features), len(signal)))
    unit = (features[:, live] - features[:, live].mean(axis=0)) / spread[live]
    u = unit @ rng.standard_normal((unit.shape[1], len(signal)))
    u *= np.sqrt(signal) / u.std(axis=0)
    return u + np.sqrt(noise) * rng.standard_normal(u.shape)


def held_out_errors(populations: list[list[Array]], cells: Cells) -> tuple[Array, Array]:
    """Squared errors of held-out predictions, [set, population, cell], and squared deviations from the training mean
    [cell], both summed over (cos, sin).

    `populations` are sets (of neuroids) of populations, each [cell, neuroid]; the first set chooses the penalty, and
    the others, parts of it, take the same. The kernel route: cells are few.
    """
    kernels = np.stack([np.stack([x @ x.T for x in one]) for one in populations])  # [set, population, cell, cell]
    errors = np.full(kernels.shape[:3], np.nan)
    totals = np.full(kernels.shape[-1], np.nan)
    for held in np.unique(cells.frequency):
        for half in (0, 1):
            test = np.flatnonzero((cells.frequency == held) & (cells.half == half))
            train = np.flatnonzero((cells.frequency != held) & (cells.half != half))
            y = cells.target[train] - cells.target[train].mean(axis=0)
            predictions = _predictions(kernels, train, test, y, cells.frequency[train])
            wanted = cells.target[test] - cells.target[train].mean(axis=0)
            errors[:, :, test] = ((predictions - wanted) ** 2).sum(axis=-1)
            totals[test] = (wanted**2).sum(axis=-1)
    return errors, totals


def _predictions(
    kernels: Array, train: NDArray[np.intp], test: NDArray[np.intp], y: Array, groups: NDArray[np.intp]
) -> Array:
    """Ridge predictions of centred targets y [train, 2] for the test cells, [set, population, test, 2]; the penalty of
    each population has the least error when each group of training cells is predicted from the others."""
    n = len(train)
    inner = kernels[..., train[:, None], train]
    row = inner.mean(axis=-2, keepdims=True)
    whole = inner.mean(axis=(-2, -1), keepdims=True)
    across = kernels[..., test[:, None], train]
    across = across - row - across.mean(axis=-1, keepdims=True) + whole
    inner = inner - row - np.swapaxes(row, -1, -2) + whole
    size = np.trace(inner, axis1=-2, axis2=-1)[..., None, None] / n
    size = np.where(size > 0, size, 1)
    inner, across = inner / size, across / size
    penalty = _penalties(inner[0], y, groups) * n
    return across @ np.linalg.solve(inner + penalty[:, None, None] * np.eye(n), y)


def _penalties(inner: Array, y: Array, groups: NDArray[np.intp]) -> Array:
    """The penalty, over the number of cells, with which centred kernels [population, n, n] predict each group of cells
    best from the others, [population]: exact, from one decomposition (the hat matrix of the group left out)."""
    n = len(y)
    values, vectors = np.linalg.eigh(inner)
    values = np.maximum(values, 0)
    z = np.swapaxes(vectors, -1, -2) @ y
    shrink = values[:, None] / (values[:, None] + PENALTIES[:, None] * n)  # [population, penalty, component]
    errors = np.zeros(shrink.shape[:2])
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        mine = vectors[:, rows]
        shrunk = mine[:, None] * shrink[:, :, None]  # [population, penalty, row, component]
        hat = shrunk @ np.swapaxes(mine, -1, -2)[:, None] + 1 / n
        residual = y[rows] - shrunk @ z[:, None]
        errors += (np.linalg.solve(np.eye(len(rows)) - hat, residual) ** 2).sum(axis=(-2, -1))
    best: Array = PENALTIES[errors.argmin(axis=-1)]
    return best


def _estimates(
    errors: Array, totals: Array, cells: Cells, draws: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate, float, float, float] | None:
    """(D, excess, R2, R2 of the simple reference, R2 of the complex-only one) from errors [1 + group, population,
    cell]; None where the reference cannot be decoded. Populations: the recorded one, references of S, then of C."""

    def scores(weights: Array, one: Array) -> tuple[Array, Array, Array]:
        """R2 of the three under cell weights [draw, cell]."""
        r2 = np.asarray(1 - (weights @ one.T) / (weights @ totals)[:, None], np.float64)
        return r2[:, 0], r2[:, 1 : 1 + REFERENCES].mean(axis=1), r2[:, 1 + REFERENCES :].mean(axis=1)

    flat = np.ones((1, len(totals)))
    r2, reference, complex_only = (float(values[0]) for values in scores(flat, errors[0]))
    if not reference > 0.05:
        return None
    pairs = int(cells.pair.max()) + 1
    weights = bootstrap_counts(rng, pairs, draws)[:, cells.pair]
    drawn = scores(weights, errors[0])
    left = [scores(flat, one) for one in errors[1:]]
    jackknife = [np.array([part[which][0] for part in left]) for which in range(3)]
    made = []
    for top, top_drawn, top_left in (
        (r2, drawn[0], jackknife[0]),
        (r2 - complex_only, drawn[0] - drawn[2], jackknife[0] - jackknife[2]),
    ):
        ratio = top_left / jackknife[1]
        by_neuroids = (GROUPS - 1) / GROUPS * ((ratio - ratio.mean()) ** 2).sum()
        by_cells = np.var(top_drawn / drawn[1], ddof=1)
        made.append(Estimate(top / reference, float(np.sqrt(by_cells + by_neuroids))))
    return made[0], made[1], r2, reference, complex_only
