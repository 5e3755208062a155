"""Banded ridge regression: feature groups (bands) with a penalty each, chosen in nested cross-validation.

For bands X_g with ratios r_g and a penalty a, the map of neuroid y on training stimuli (all centred there) is

    w = (sum_g r_g X_g X_g' + a I)^-1 y,    prediction = sum_g r_g X_g* X_g' w    (Nunez-Elizalde et al. 2019, eq. 9)

which is `himalaya`'s multiple-kernel ridge with kernel weights r_g. Ratios and penalty are chosen by exact
leave-one-out within the training stimuli, for every neuroid by itself or once for a group of neuroids; the reported
stimuli take no part. One eigendecomposition per split and vector of ratios serves all penalties and neuroids, and every
model that leaves bands out, because those are the vectors with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from bridge.errors import InputError
from comparisons.encoding.evaluation import complete_blocks, within
from comparisons.encoding.gram import LinearKernel, double_centred
from comparisons.encoding.pls import Split
from comparisons.encoding.ridge import leave_one_out_errors
from comparisons.encoding.unique_variance import Banded

RATIOS = (0.1, 0.3, 1.0, 3.0)
"""Ratios of the first of two bands to the second; besides these either band stands alone."""
PENALTIES = 10.0 ** np.linspace(-3, 1.5, 19)
"""Penalties as multiples of the number of training stimuli."""
Scale = Literal["features", "bands", "none"]


def banded_ridge(
    bands: Mapping[str, Any],
    responses: np.ndarray,
    *,
    splits: Sequence[Split] | None = None,
    ratios: np.ndarray | None = None,
    penalties: Sequence[float] | np.ndarray = PENALTIES,
    groups: Sequence[Any] | None = None,
    scale: Scale = "features",
    choice: Literal["float64", "float32"] = "float64",
) -> Banded:
    """Predict `responses` [n, neuroid] from bands of features [n, p_g], and from all but each, and each alone.

    Bands are arrays, scipy sparse matrices or `LinearKernel`s of the same stimuli in the same order. Over the training
    stimuli every feature is brought to mean 0 and variance 1 (`scale="features"`; dead ones to 0; needs arrays), or
    every band to a mean sum of squares of 1 a stimulus (`"bands"`: bands of very different width stay comparable), or
    features are only centred (`"none"`). `ratios` [k, band] are the vectors to choose among (default: `band_ratios`);
    zeros leave bands out, and every band alone and all but every band must be among them. `penalties` are multiples of
    the number of training stimuli. `groups` [neuroid] names those that share their choice (default: none do). `splits`
    default to five folds. With `choice="float32"` the errors that ratios and penalties are chosen by are right to about
    1e-5 of their size, in half of the time; fits and predictions are double always.

    Raises InputError for shapes that do not fit, values that are not finite, and ratios without the models needed.
    """
    names = tuple(bands)
    values = [_checked(name, band, scale) for name, band in bands.items()]
    responses = np.asarray(responses, dtype=np.float64)
    counts = [value.n if isinstance(value, LinearKernel) else value.shape[0] for value in values]
    sizes = dict(zip(names, counts, strict=True))
    if responses.ndim != 2 or not responses.shape[1] or set(sizes.values()) != {len(responses)}:
        raise InputError(
            f"Responses have shape {responses.shape} and the bands' numbers of stimuli are {sizes}; expected one band "
            "at least, and the same stimuli everywhere."
        )
    if np.isinf(responses).any():
        raise InputError("Responses hold infinite values; give numbers, or NaN where a stimulus was not shown.")
    n, q = responses.shape
    splits = tuple(folds_of(n) if splits is None else splits)
    candidates = band_ratios(len(names)) if ratios is None else np.asarray(ratios, dtype=np.float64)
    models = _models(candidates, names)
    found = {model: [np.full((len(test), q), np.nan) for _, test in splits] for model in ((), *models)}
    parts = [np.full((len(names), len(test), q), np.nan) for _, test in splits]
    chosen_ratios = np.full((len(splits), q, len(names)), np.nan)
    chosen_penalties = np.full((len(splits), q), np.nan)
    labels = np.arange(q) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    notices: dict[str, None] = {}
    for rows, mine in complete_blocks(responses, np.zeros(q, int)):
        if len(rows) < n:
            notices[f"{len(mine)} neuroids lack responses to {n - len(rows)} of {n} stimuli"] = None
        here, kept = within(splits, rows, n)
        for number, (train, test) in enumerate(here):
            if len(train) < 3 or not len(test):
                continue
            fold = _Fold.make(values, rows[train], rows[test], scale)
            y = responses[np.ix_(rows[train], mine)]
            mean = y.mean(axis=0)
            strengths = np.asarray(penalties) * len(train)
            fits = _fit(fold, y - mean, candidates, models, strengths, labels[mine], choice)
            place = np.ix_(kept[number], mine)
            found[()][number][place] = mean
            for model, fit in fits.items():
                each = fold.parts(fit)
                found[model][number][place] = mean + each.sum(axis=0)
                if model == names:
                    parts[number][:, place[0], place[1]] = each
                    chosen_ratios[number, mine], chosen_penalties[number, mine] = fit.ratios, fit.penalties
    tests = np.concatenate([test for _, test in splits])
    stacked = {model: np.concatenate(predictions) for model, predictions in found.items()}
    whole = np.concatenate(parts, axis=1)
    return Banded(
        names,
        splits,
        tests,
        np.where(np.isfinite(stacked[names]), responses[tests], np.nan),
        stacked,
        whole,
        chosen_ratios,
        chosen_penalties,
        tuple(notices),
    )


def folds_of(n: int, folds: int = 5, seed: int = 0) -> list[Split]:
    """Rows (train, test) of each fold; every stimulus is left out once. Raises InputError for fewer than 2 a fold."""
    if folds < 2 or n < 2 * folds:
        raise InputError(f"{n} stimuli do not make {folds} folds of two or more; give more stimuli or 2 folds or more.")
    order = np.random.default_rng(seed).permutation(n)
    tests = [np.sort(test) for test in np.array_split(order, folds)]
    return [(np.setdiff1d(np.arange(n), test), test) for test in tests]


def band_ratios(bands: int, *, draws: int = 12, seed: int = 0) -> np.ndarray:
    """Vectors of ratios to choose among, [k, bands]; zeros leave a band out.

    Two bands: each alone and `RATIOS`. More: every band alone, all with equal ratios, all but each, and Dirichlet
    draws with concentrations 1 and .1 (as `himalaya` searches) on all bands and on all but each.
    """
    alone = np.eye(bands)
    if bands < 3:
        return np.concatenate([alone, [[ratio, 1.0] for ratio in RATIOS]]) if bands == 2 else alone
    rng = np.random.default_rng(seed)
    found = [*alone]
    for left_out in (None, *range(bands)):
        inside = np.array([band != left_out for band in range(bands)])
        found.append(inside / inside.sum())
        for draw in range(draws):
            ratios = np.zeros(bands)
            ratios[inside] = rng.dirichlet(np.full(inside.sum(), (1.0, 0.1)[draw % 2]))
            found.append(np.maximum(ratios, 1e-6 * inside))
    return np.stack(found)


# --------------------------------------------------------------------------------------------------------- one split


class _Fit(NamedTuple):
    """The chosen map of each neuroid: dual weights [n_train, q], ratios [q, band] and penalties [q]."""

    weights: np.ndarray
    ratios: np.ndarray
    penalties: np.ndarray


@dataclass(frozen=True)
class _Fold:
    """Bands of one split, centred and scaled by its training stimuli: features if they are few, else kernels."""

    train: list[np.ndarray]
    """[n_train, p_g], or kernels [n_train, n_train]."""
    test: list[np.ndarray]
    """[n_test, p_g], or kernels [n_test, n_train]."""
    tall: bool

    @classmethod
    def make(cls, bands: Sequence[Any], train: np.ndarray, test: np.ndarray, scale: Scale) -> _Fold:
        pairs = [_centred(band, train, test, scale == "features") for band in bands]
        tall = all(kind == "features" for kind, _, _ in pairs) and sum(x.shape[1] for _, x, _ in pairs) < len(train)
        if not tall:
            pairs = [
                pair if pair[0] == "kernel" else ("kernel", pair[1] @ pair[1].T, pair[2] @ pair[1].T) for pair in pairs
            ]
        if scale == "bands":
            sizes = [(x**2).sum() if tall else np.trace(x) for _, x, _ in pairs]
            factors = [np.sqrt(len(train) / size) if size > 0 else 0.0 for size in sizes]
            pairs = [
                (kind, x * (f if tall else f**2), z * (f if tall else f**2))
                for (kind, x, z), f in zip(pairs, factors, strict=True)
            ]
        return cls([x for _, x, _ in pairs], [z for _, _, z in pairs], tall)

    def spectrum(self, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvectors [n_train, r] and eigenvalues [r] of sum_g ratios_g K_g."""
        used = [(x, ratio) for x, ratio in zip(self.train, ratios, strict=True) if ratio > 0]
        if self.tall:
            x = np.concatenate([x * np.sqrt(ratio) for x, ratio in used], axis=1)
            values, vectors = np.linalg.eigh(x.T @ x)
            # What is left out is below 1e-13 of the largest, and no penalty lets so little through.
            keep = values > max(values[-1], 0) * 1e-13
            return (x @ vectors[:, keep]) / np.sqrt(values[keep]), values[keep]
        kernel = sum(x * ratio for x, ratio in used)
        values, vectors = np.linalg.eigh(kernel)
        values[values < values[-1] * len(values) * np.finfo(np.float64).eps] = 0
        return vectors, values

    def parts(self, fit: _Fit) -> np.ndarray:
        """Each band's part of the predictions, [band, n_test, q]."""
        weighted = (fit.weights * ratio for ratio in fit.ratios.T)
        if self.tall:
            return np.stack([z @ (x.T @ w) for x, z, w in zip(self.train, self.test, weighted, strict=True)])
        return np.stack([z @ w for z, w in zip(self.test, weighted, strict=True)])


def _fit(
    fold: _Fold,
    y: np.ndarray,
    candidates: np.ndarray,
    models: Mapping[tuple[str, ...], np.ndarray],
    penalties: np.ndarray,
    labels: np.ndarray,
    choice: Literal["float64", "float32"],
) -> dict[tuple[str, ...], _Fit]:
    """The fit of each model, with the least leave-one-out error among its candidates (a mask each) and the penalties.

    y [n_train, q] is centred; neuroids with one label share the choice.
    """
    q = y.shape[1]
    best = {model: np.full(q, np.inf) for model in models}
    fits = {model: _Fit(np.zeros_like(y), np.zeros((q, candidates.shape[1])), np.full(q, np.nan)) for model in models}
    shared = [np.flatnonzero(labels == label) for label in np.unique(labels)] if len(set(labels.tolist())) < q else []
    for number, ratios in enumerate(candidates):
        vectors, values = fold.spectrum(ratios)
        z = vectors.T @ y
        errors = leave_one_out_errors(vectors, values, z, y, penalties, choice)
        for mine in shared:
            errors[:, mine] = errors[:, mine].mean(axis=1, keepdims=True)
        own = np.argmin(errors, axis=0)
        least = errors[own, np.arange(q)]
        weights: np.ndarray | None = None
        for model, mask in models.items():
            better = (least < best[model]) if mask[number] else np.zeros(q, bool)
            if not better.any():
                continue
            if weights is None:
                weights = vectors @ (z / (values[:, None] + penalties[own]))
            best[model][better] = least[better]
            fits[model].weights[:, better] = weights[:, better]
            fits[model].ratios[better] = ratios
            fits[model].penalties[better] = penalties[own[better]]
    return fits


def _models(candidates: np.ndarray, names: tuple[str, ...]) -> dict[tuple[str, ...], np.ndarray]:
    """The models needed - all bands, all but each, each alone - and which candidates [k] each may choose.

    A model may also choose ratios that leave out bands of its own. Raises InputError where one has none.
    """
    count = len(names)
    if (
        candidates.ndim != 2
        or candidates.shape[1] != count
        or (candidates < 0).any()
        or not np.isfinite(candidates).all()
    ):
        raise InputError(f"Ratios have shape {candidates.shape}; expected [k, {count}], none of them negative.")
    if (candidates == 0).all(axis=1).any():
        raise InputError("Ratios hold a vector of zeros, which leaves out all bands.")
    sets = [set(range(count))]
    sets += [{band for band in range(count) if band != left_out} for left_out in range(count)]
    sets += [{band} for band in range(count)]
    found: dict[tuple[str, ...], np.ndarray] = {}
    for inside in filter(None, sets):
        outside = [band for band in range(count) if band not in inside]
        model = tuple(names[band] for band in sorted(inside))
        found[model] = (candidates[:, outside] == 0).all(axis=1)
        if not found[model].any():
            raise InputError(
                f"No vector of ratios has the bands {', '.join(model)} alone; add one with zeros elsewhere."
            )
    return found


def _checked(name: str, band: Any, scale: Scale) -> Any:
    """A band as float64 [n, p] or LinearKernel; raises InputError for values that are not finite."""
    if isinstance(band, LinearKernel):
        if scale == "features":
            raise InputError(
                f"Band {name!r} is a kernel, whose features cannot be scaled; give features, or scale bands."
            )
        return band
    kernel = LinearKernel(band)  # checks
    if kernel.sparse and scale == "features":
        return band.tocsr().astype(np.float64)
    if scale == "features" or kernel.tall:
        return np.asarray(band.toarray() if kernel.sparse else band, dtype=np.float64)
    return kernel


def _centred(band: Any, train: np.ndarray, test: np.ndarray, standardised: bool) -> tuple[str, np.ndarray, np.ndarray]:
    """("features", [n_train, p], [n_test, p]) or ("kernel", [n_train, n_train], [n_test, n_train]), less the training
    mean."""
    if isinstance(band, LinearKernel):
        return ("kernel", *_centred_kernels(band.part(train, train), band.part(test, train)))
    x, z = band[train], band[test]
    if hasattr(band, "tocsr"):  # scaled, and centred as a kernel: features would fill
        mean = np.asarray(x.mean(axis=0)).ravel()
        square = np.asarray(x.multiply(x).mean(axis=0)).ravel()
        spread = square - mean**2
        factor = np.divide(1, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(mean), where=spread > 1e-10 * square)
        x = x.multiply(factor).tocsr()
        z = z.multiply(factor).tocsr()
        return ("kernel", *_centred_kernels((x @ x.T).toarray(), (z @ x.T).toarray()))
    mean = x.mean(axis=0)
    x, z = x - mean, z - mean
    if standardised:
        size = x.std(axis=0)
        # Constant but for rounding: such a feature predicts nothing.
        live = size > 1e-10 * np.abs(mean)
        factor = np.divide(1, size, out=np.zeros_like(size), where=live & (size > 0))
        x, z = x * factor, z * factor
    return "features", x, z


def _centred_kernels(inner: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of training stimuli [n_train, n_train] and of test with training ones, less the training mean.

    Centred on both sides: weights sum to 0 but for rounding, which a small penalty blows up.
    """
    across = across - inner.mean(axis=0) - across.mean(axis=1, keepdims=True) + inner.mean()
    return double_centred(inner), across
