"""Models with parameters in RSA: weighted, interpolated or selected RDMs, cross-validated over stimuli and subjects.

A model is fitted to the training subjects' RDMs of the training stimuli, and scored on the test subjects' RDMs of the
test stimuli. Within a bootstrap draw all copies of a stimulus or subject are in the same fold, so nothing is fitted to
a copy of what it is tested on. Fits and scores need inner products of RDMs alone, so all draws share one computation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from bridge.errors import InputError
from comparisons.rsa.bootstrap import Draws, Resampled, Resampling, draw_counts
from comparisons.rsa.evaluation import check_rdms
from comparisons.rsa.inference import RSA
from comparisons.rsa.linear_scores import MEASURES, InnerProducts, inner_products

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class FlexibleModel:
    """RDMs [k, pair] and how they become one prediction.

    "weighted" is their sum with non-negative weights, "interpolated" lies between two neighbours of the list,
    "selected" is the best one, each as fitted to the training data; "fixed" holds one RDM.
    """

    kind: Literal["fixed", "weighted", "interpolated", "selected"]
    rdms: np.ndarray


@dataclass(frozen=True)
class Folds:
    """One assignment: bool [fold, n_stim] and [fold, n_subjects], True where an item is tested in the fold."""

    stimuli: np.ndarray
    subjects: np.ndarray

    @classmethod
    def make(cls, counts: np.ndarray, multiplicity: np.ndarray, k: tuple[int, int], rng: np.random.Generator) -> Folds:
        """Random folds of the distinct stimuli and subjects of a draw; one fold tests and trains on everything."""
        return cls(_split(counts > 0, k[0], rng), _split(multiplicity > 0, k[1], rng))


def evaluate_flexible(
    models: Sequence[FlexibleModel],
    region: np.ndarray,
    *,
    measure: str = "corr",
    folds: tuple[int, int] | None = None,
    assignments: int = 2,
    draws: int = 1000,
    seed: int = 0,
    resampling: Resampling | None = None,
    replay: Draws | None = None,
) -> RSA:
    """Cross-validated evaluations of flexible models against a region's RDMs [s, pair].

    `folds` (over stimuli, over subjects) default to rsatoolbox's: two to five by size, one where there is one subject.
    The estimate and the ceiling are means over twenty assignments to folds of all data; each draw has `assignments` of
    them, and the variance is corrected to infinitely many. The statistics are those of
    `rsatoolbox.inference.eval_dual_bootstrap` with cross-validation. `measure` is "corr", "cosine" or a whitened one.

    Raises InputError for other measures, RDMs that do not fit, and too few stimuli or subjects for the folds.
    """
    if measure not in MEASURES:
        raise InputError(f"Flexible models are fitted by {', '.join(MEASURES)}; {measure!r} was given.")
    if assignments < 2:
        raise InputError(f"{assignments} assignment to folds a draw cannot be corrected for; use two or more.")
    for model in models:
        n = check_rdms(model.rdms, region, f"{model.kind} model")
        if model.kind == "fixed" and len(model.rdms) != 1:
            raise InputError(f"A fixed model holds one RDM; {len(model.rdms)} were given.")
    s = len(region)
    k = folds or (_default_folds(n, (12, 24, 40)), 1 if s == 1 else _default_folds(s, (6, 12, 20)))
    if n < 3 * k[0] or s < k[1]:
        raise InputError(f"{n} stimuli and {s} subjects are too few for {k[0]} x {k[1]} folds; ask for fewer folds.")
    kind = resampling or ("dual" if s > 1 else "stimuli")
    rng = np.random.default_rng([seed, 1])
    engine = _CrossValidated(models, region, measure, k)
    every = np.ones((20, n)), np.ones((20, s))
    full, bounds, _ = engine.scores(*every, 1, rng)
    estimate = full.mean(axis=(0, 2))
    ceiling = None if s == 1 else (float(bounds[:, 0].mean()), float(bounds[:, 1].mean()))
    notes: tuple[str, ...] = (f"cross-validated over {k[0]} folds of stimuli and {k[1]} of subjects",)
    nothing = np.full(len(models), np.nan)
    if (draws == 0 and replay is None) or kind == "fixed":
        return RSA(estimate, nothing, s - 1, ceiling, 0, notes, np.full((len(models), s), np.nan))
    drawn = replay or Draws.make(kind, draws, n, s, seed)
    drawn.check(n, s)
    kind = drawn.kind
    counts = np.ones((len(drawn), n)) if drawn.stimuli is None else draw_counts(drawn.stimuli, n)
    multiplicity = np.ones((len(drawn), s)) if drawn.subjects is None else draw_counts(drawn.subjects, s)
    pairs = [(counts, multiplicity)]
    if kind == "dual":
        pairs += [(np.ones_like(counts), multiplicity), (counts, np.ones_like(multiplicity))]
    parts = [engine.scores(*pair, assignments, rng) for pair in pairs]
    usable = np.all([ok for *_, ok in parts], axis=0)
    evaluations, ceilings = (np.stack([part[side] for part in parts]) for side in (0, 1))
    evaluations[:, ~usable] = np.nan
    single = tuple((evaluations[..., r], ceilings[..., r]) for r in range(assignments))
    resampled = Resampled(kind, evaluations.mean(axis=-1), ceilings.mean(axis=-1), n, s, single)
    if (left := int(usable.sum())) < 2:
        raise InputError(
            f"{left} of {len(drawn)} draws hold enough items for {k[0]} x {k[1]} folds; ask for fewer folds."
        )
    if left < len(drawn):
        notes += (f"{len(drawn) - left} of {len(drawn)} draws held too few distinct items for the folds: left out",)
    error = np.sqrt(np.maximum(resampled.variance(), 0))
    dof = {"dual": min(n, s), "stimuli": n, "subjects": s}[kind] - 1
    unknown = np.full((len(models), s), np.nan)
    return RSA(estimate, error, dof, ceiling, len(drawn), notes, unknown, resampled)


class _CrossValidated:
    """Scores of flexible models under draws and assignments to folds."""

    def __init__(self, models: Sequence[FlexibleModel], region: np.ndarray, measure: str, k: tuple[int, int]):
        self._models, self._k, self._measure, self._s = models, k, measure, len(region)
        self._rdms = np.concatenate([region, *(model.rdms for model in models)]).astype(np.float64)
        ends = np.cumsum([len(region), *(len(model.rdms) for model in models)])
        self._of_model = [slice(start, stop) for start, stop in pairwise(ends)]

    def scores(
        self, counts: np.ndarray, multiplicity: np.ndarray, assignments: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evaluations [d, m, r], ceilings [d, 2, r] and whether draws [d, n_stim], [d, s] fill their folds."""
        d, k = len(counts), self._k
        evaluations = np.full((d, len(self._models), assignments), np.nan)
        ceilings = np.full((d, 2, assignments), np.nan)
        usable = ((counts > 0).sum(axis=1) >= 3 * k[0]) & ((multiplicity > 0).sum(axis=1) >= k[1])
        rows_a_draw = 1 + 2 * k[0] * assignments
        step = max(_ROWS_AT_ONCE // rows_a_draw, 1)
        chosen = np.flatnonzero(usable)
        for start in range(0, len(chosen), step):
            here = chosen[start : start + step]
            folds = [[Folds.make(counts[i], multiplicity[i], k, rng) for _ in range(assignments)] for i in here]
            rows = []
            for i, of_draw in zip(here, folds, strict=True):
                tested = np.concatenate([one.stimuli for one in of_draw])
                trained = ~tested if k[0] > 1 else tested
                rows += [counts[i][None], counts[i] * tested, counts[i] * trained]
            products = inner_products(self._rdms[:1], self._rdms, self._measure, np.concatenate(rows))
            for place, (i, of_draw) in enumerate(zip(here, folds, strict=True)):
                first = place * rows_a_draw
                scale = products.pooling[first, : self._s]
                for r, one in enumerate(of_draw):
                    test = first + 1 + r * k[0]
                    result = [
                        self._fold(products, test + f, test + f + k[0] * assignments, multiplicity[i], tested, scale)
                        for f in range(k[0])
                        for tested in one.subjects
                    ]
                    evaluations[i, :, r] = np.mean([values for values, _ in result], axis=0)
                    ceilings[i, :, r] = np.mean([bounds for _, bounds in result], axis=0)
        return evaluations, ceilings, usable

    def _fold(
        self,
        products: InnerProducts,
        test: int,
        train: int,
        multiplicity: np.ndarray,
        tested: np.ndarray,
        scale: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evaluations [m] and ceilings [2] of one fold; `test` and `train` are the rows of its stimuli."""
        s = self._s
        weights = multiplicity * tested
        training = multiplicity * ~tested if self._k[1] > 1 else weights
        fit, score = products.subjects[train], products.subjects[test]
        norms = np.sqrt(np.diag(score)[:s])
        pool = training * _inverse(np.sqrt(np.diag(fit)[:s]))
        values = []
        for model, own in zip(self._models, self._of_model, strict=True):
            theta = fitted(model.kind, fit[own, own], fit[own, :s] @ pool)
            values.append(_agreement(theta, score[own, own], score[own, :s], norms, weights))
        if s == 1:
            return np.array(values), np.full(2, np.nan)
        among = score[:s, :s]
        lower = training * _inverse(products.pooling[test, :s])
        upper = multiplicity * _inverse(scale)
        return np.array(values), np.array([_agreement(side, among, among, norms, weights) for side in (lower, upper)])


def fitted(kind: str, gram: np.ndarray, with_target: np.ndarray) -> np.ndarray:
    """Weights [k] of a model's RDMs, from their inner products [k, k] and those with the pooled training RDM [k].

    For linear measures the weights that fit the pool best by least squares are those with the highest mean similarity
    to the subjects. Equal, up to scale, to rsatoolbox's `fit_regress_nn`, `fit_interpolate` and `fit_select`.
    """
    k = len(gram)
    if kind == "weighted":
        return _non_negative(gram, with_target)
    quality = with_target * _inverse(np.sqrt(np.diag(gram)))
    candidates = [np.eye(k)[int(np.argmax(quality))]]
    if kind == "interpolated":
        for pair in (slice(i, i + 2) for i in range(k - 1)):
            theta = np.zeros(k)
            theta[pair] = _non_negative(gram[pair, pair], with_target[pair])
            candidates.append(theta)

    def similarity(theta: np.ndarray) -> float:
        return float(theta @ with_target * _inverse(np.sqrt(np.array(theta @ gram @ theta))))

    return max(candidates, key=similarity)


def _non_negative(gram: np.ndarray, with_target: np.ndarray) -> np.ndarray:
    """min_{theta >= 0} theta' gram theta - 2 theta' with_target."""
    from scipy.optimize import nnls

    values, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.maximum(values, values[-1] * 1e-14))
    return nnls(root[:, None] * vectors.T, (vectors.T @ with_target) / root)[0]


def _agreement(
    theta: np.ndarray, gram: np.ndarray, with_subjects: np.ndarray, norms: np.ndarray, weights: np.ndarray
) -> float:
    """Weighted mean over subjects of the similarity between sum theta_i x_i and the subject."""
    size = np.sqrt(max(theta @ gram @ theta, 0))
    similarity = (theta @ with_subjects) * _inverse(norms) * _inverse(np.array(size))
    return float(similarity @ weights / weights.sum())


def _inverse(values: np.ndarray) -> np.ndarray:
    return np.divide(1, values, out=np.zeros_like(values, dtype=np.float64), where=values > 0)


def _split(present: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Random folds, bool [k, n], of the items that are present, as equal as can be."""
    out = np.zeros((k, len(present)), dtype=bool)
    for fold, items in enumerate(np.array_split(rng.permutation(np.flatnonzero(present)), k)):
        out[fold, items] = True
    return out


def _default_folds(n: int, steps: tuple[int, int, int]) -> int:
    """rsatoolbox's number of folds for what a bootstrap draw of n items holds on average."""
    return 2 + sum(step <= (1 - math.exp(-1)) * n for step in steps)
