"""Robust decodability D: what a linear reader finds of a variable where everything else differs, with its error.

    R2 = 1 - sum_c w_c E_c / sum_c w_c T_c

over the cells c of a design (orientation x spatial frequency, say). E_c is the squared error of predictions for stimuli
that differ from all training stimuli in the condition held out and in the one kept apart (frequency and phase), T_c the
squared deviation from the training mean. Probes are fitted once; the bootstrap draws cells (multinomial weights w) and
never fits again, since copies of a stimulus on both sides of a fold would be found again. D = R2 / R2_ref; for networks
R2_ref = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.errors import InputError
from comparisons.statistics import bootstrap_counts
from comparisons.verdicts.evidence import Estimate
from probes.decoding import Probe

Array = NDArray[np.float64]
COMPONENTS = 50
"""Principal components that every probe reads from, whatever the site."""
DRAWS = 1000
"""Bootstrap draws of cells behind each standard error."""


@dataclass(frozen=True)
class Fold:
    """Stimuli to fit on and stimuli to predict, bool [n] each. What is in neither plays no part."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def crossed_folds(held: ArrayLike, apart: ArrayLike | None = None) -> list[Fold]:
    """Leave out each level of `held` [n] in turn; with `apart` [n], also fit on one half of its levels and predict the
    other, both ways (every second level in sorted order, so that the halves are spread alike).

    Raises InputError for fewer than three levels held out in turn (the penalty needs two to be chosen on), and for
    fewer than two to keep apart.
    """
    levels, codes = np.unique(np.asarray(held), return_inverse=True)
    if len(levels) < 3:
        raise InputError(
            f"{len(levels)} conditions ({', '.join(map(str, levels))}) can be held out, which leaves none to choose "
            "the penalty on; give three or more."
        )
    if apart is None:
        return [Fold(codes != level, codes == level) for level in range(len(levels))]
    kept, half = np.unique(np.asarray(apart), return_inverse=True)
    if len(kept) < 2:
        raise InputError(f"Only one level ({kept[0]}) is there to be kept apart; give stimuli of two or more.")
    half = half % 2
    return [
        Fold((codes != level) & (half == side), (codes == level) & (half != side))
        for level in range(len(levels))
        for side in (0, 1)
    ]


@dataclass(frozen=True)
class Decodability:
    """R2 across conditions, its bootstrap draws over cells [draw], R2 under permuted labels [permutation], and the R2
    of each level held out."""

    r2: float
    draws: Array
    floor: Array
    per_condition: dict[str, float]
    n_stimuli: int
    components: int
    """Principal components that there were to read from, at most `COMPONENTS`."""

    @property
    def se(self) -> float:
        """Standard error over cells: the standard deviation of the draws."""
        return float(self.draws.std(ddof=1)) if len(self.draws) > 1 else float("nan")

    @property
    def estimate(self) -> Estimate:
        """R2 with its standard error: D of a network, whose R2_ref is 1."""
        return Estimate(self.r2, self.se)

    @property
    def p(self) -> float:
        """Share of permutations that decode at least as well; NaN without permutations."""
        return float((1 + (self.floor >= self.r2).sum()) / (1 + len(self.floor))) if len(self.floor) else float("nan")


@dataclass(frozen=True)
class Standardised:
    """Responses ready to be decoded, [n, r]: finite units at unit variance over all stimuli of the design, turned to no
    more coordinates than there are stimuli. Made once for all variables of the same stimuli."""

    values: Array


def standardised(responses: NDArray) -> Standardised:
    """Responses [n, d] as `Standardised`; r is 0 where no unit is finite, one constant coordinate where none varies.

    Of more units than stimuli, the principal coordinates of all stimuli: a rotation, so that every principal component
    of some of the stimuli, and every probe on them, stays what it was (coordinates below 1e-7 of the first, which is
    the rounding of activations, are left out). Raises InputError for responses that are not [n, d].
    """
    x = np.asarray(responses, np.float64)
    if x.ndim != 2:
        raise InputError(f"Responses have shape {list(x.shape)}; give [n_stim, units].")
    x = x[:, np.isfinite(x).all(axis=0)]
    spread = x.std(axis=0)
    if x.shape[1] and not spread.any():
        return Standardised(np.zeros((len(x), 1)))
    varies = spread > 1e-9 * max(spread.max(initial=0), 1e-300)
    x = (x[:, varies] - x[:, varies].mean(axis=0)) / spread[varies]
    if x.shape[1] > len(x):
        values, vectors = np.linalg.eigh(x @ x.T)
        large = values > 1e-14 * values[-1]
        x = vectors[:, large] * np.sqrt(values[large])
    return Standardised(x)


def decodability(
    responses: NDArray | Standardised,
    target: NDArray,
    *,
    held: ArrayLike,
    cells: ArrayLike,
    apart: ArrayLike | None = None,
    components: int = COMPONENTS,
    draws: int = DRAWS,
    permutations: int = 0,
    seed: int = 0,
) -> Decodability:
    """D of `target` [n] or [n, k] from `responses` [n, d] on the folds of `crossed_folds(held, apart)`.

    Probes are those of `probes.decoding`: units brought to `components` principal components of the training stimuli,
    ridge with the penalty chosen by leaving out further levels of `held`. Units are standardised over all stimuli of
    the design, which takes no label: one that is all but silent on the training stimuli would else be blown up by as
    much as it is silent. `cells` [n] name what the bootstrap draws; a cell has one target. The floor gives the cells of
    each held level one another's targets. Units that are not finite are left out; R2 is NaN where none is left or the
    target does not vary, and about 0 where no unit varies. R2 under generalisation can be negative.

    Raises InputError for lengths that differ, for a cell with several targets, and as `crossed_folds`.
    """
    x = (responses if isinstance(responses, Standardised) else standardised(responses)).values
    y = np.asarray(target, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    levels, codes = np.unique(np.asarray(held), return_inverse=True)
    names, cell = np.unique(np.asarray(cells), return_inverse=True)
    if y.ndim != 2 or not len(x) == len(y) == len(codes) == len(cell):
        raise InputError(
            f"Responses {list(x.shape)}, targets {list(y.shape)}, {len(codes)} conditions and {len(cell)} cells do not "
            "fit together; give one row of each for every stimulus."
        )
    folds = crossed_folds(held, apart)
    first = np.array([np.flatnonzero(cell == number)[0] for number in range(len(names))])
    if not np.array_equal(y, y[first][cell], equal_nan=True):
        raise InputError("A cell holds stimuli with different targets; name cells so that each has one.")
    if not x.shape[1] or not np.isfinite(y).all() or not np.ptp(y, axis=0).any():
        nothing = np.full(draws, np.nan)
        return Decodability(float("nan"), nothing, np.full(permutations, np.nan), {}, len(x), 0)
    rng = np.random.default_rng(seed)
    width = y.shape[1]
    stacked = np.concatenate([y, *(_permuted(y[first], codes[first], rng)[cell] for _ in range(permutations))], axis=1)
    groups = stacked.shape[1] // width
    error, total = np.zeros((len(names), groups)), np.zeros((len(names), groups))
    by_level = np.zeros((len(levels), 2))
    for fold in folds:
        scores = x @ training_axes(x[fold.train], components)
        one = np.ones(scores.shape[1])  # components keep their own variances
        probe = Probe.fit(scores[fold.train], stacked[fold.train], codes[fold.train], components, width, one)
        true = stacked[fold.test]
        wrong = ((probe(scores[fold.test]) - true) ** 2).reshape(len(true), groups, width).sum(axis=2)
        spread = ((true - probe.intercept) ** 2).reshape(len(true), groups, width).sum(axis=2)
        np.add.at(error, cell[fold.test], wrong)
        np.add.at(total, cell[fold.test], spread)
        by_level[codes[fold.test][0]] += wrong[:, 0].sum(), spread[:, 0].sum()
    drawn = _cell_weights(len(names), draws, seed)
    r2 = 1 - error.sum(axis=0) / total.sum(axis=0)
    return Decodability(
        r2=float(r2[0]),
        draws=1 - (drawn @ error[:, 0]) / (drawn @ total[:, 0]),
        floor=r2[1:],
        per_condition={str(level): float(1 - e / t) for level, (e, t) in zip(levels, by_level, strict=True) if t > 0},
        n_stimuli=len(x),
        components=min(components, *x.shape),
    )


def training_axes(x: Array, components: int) -> Array:
    """The first principal axes [r, components] of x [n, r] (one zero axis where nothing varies).

    From the smaller of the two Gram matrices: a third of the time of an SVD, and as good down to 1e-6 of the first.
    """
    z = x - x.mean(axis=0)
    wide = z.shape[1] > len(z)
    values, vectors = np.linalg.eigh(z @ z.T if wide else z.T @ z)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    large = values > 1e-12 * max(values[0], 1e-300)
    if not large.any():
        return np.zeros((z.shape[1], 1))
    return z.T @ (vectors[:, large] / np.sqrt(values[large])) if wide else vectors[:, large]


@lru_cache(maxsize=16)
def _cell_weights(cells: int, draws: int, seed: int) -> Array:
    """How often each cell stands in each bootstrap draw, [draw, cell]: the same for all sites of a design."""
    weights = bootstrap_counts(np.random.default_rng([seed, cells]), cells, draws)
    weights.setflags(write=False)
    return weights


def _permuted(y: Array, held: NDArray, rng: np.random.Generator) -> Array:
    """Targets of cells [cell, k], permuted among the cells of each held level [cell]."""
    order = np.arange(len(y))
    for level in np.unique(held):
        rows = np.flatnonzero(held == level)
        order[rows] = rng.permutation(rows)
    return y[order]


def ratio_of_losses(full: Decodability, ablated: Decodability) -> tuple[float, Array]:
    """(D_full - D_ablated) / D_full and its draws, from bootstraps of the same cells (one seed and one design).

    NaN where D_full is not above 0: a share of nothing. Raises InputError where the draws do not belong together.
    """
    if full.draws.shape != ablated.draws.shape:
        raise InputError(f"{len(full.draws)} and {len(ablated.draws)} draws do not belong together; draw both alike.")
    draws = np.where(full.draws > 0, (full.draws - ablated.draws) / np.where(full.draws > 0, full.draws, 1), np.nan)
    return ((full.r2 - ablated.r2) / full.r2 if full.r2 > 0 else float("nan")), draws


def mean_of(parts: Sequence[Decodability]) -> tuple[float, Array]:
    """The mean R2 of several variables and the mean of their draws (independent where the stimuli are others)."""
    return float(np.mean([part.r2 for part in parts])), np.mean([part.draws for part in parts], axis=0)
