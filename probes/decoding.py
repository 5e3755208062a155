"""What a linear reader can tell from a population, tested where the stimuli differ in everything else.

A probe is trained on some conditions (phases, positions, contrasts, backgrounds) and tested on others: what it reads
then is the variable itself, not the pictures it was trained on. Random folds overstate that greatly. Populations are
brought to the same number of dimensions before they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]
PENALTIES = np.logspace(-6, 1.5, 12)
"""Ridge penalties over the number of training stimuli, for components of unit total variance."""


def orientation_target(degrees: ArrayLike) -> Array:
    """(cos 2 theta, sin 2 theta), [n, 2]: the form in which an orientation is a linear target."""
    angle = 2 * np.deg2rad(np.asarray(degrees, np.float64))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def one_hot(labels: ArrayLike) -> Array:
    """One column a class in sorted order, [n, class]: the form in which an identity is a linear target."""
    _, codes = np.unique(np.asarray(labels), return_inverse=True)
    return np.eye(codes.max() + 1)[codes]


@dataclass(frozen=True)
class Decoded:
    """`r2` over all held-out conditions together, each condition's own, the held-out predictions [n, target] (NaN for
    stimuli that were never held out), and R2 under permuted targets [permutation]."""

    r2: float
    per_condition: dict[str, float]
    predictions: Array
    floor: Array

    @property
    def p(self) -> float:
        """Share of permutations that decode at least as well; NaN without permutations."""
        return float((1 + (self.floor >= self.r2).sum()) / (1 + len(self.floor))) if len(self.floor) else float("nan")


def decode_across(
    responses: NDArray,
    target: NDArray,
    conditions: ArrayLike,
    *,
    components: int = 50,
    permutations: int = 0,
    seed: int = 0,
) -> Decoded:
    """Train on all conditions but one, test on that one, in turn: R2 of the target from responses [n, d].

    `target` is [n] or [n, k]; `conditions` [n] name what is held out whole. Responses are standardised and brought to
    `components` principal components (of the training stimuli); the penalty is chosen by leaving out further
    conditions. R2 = 1 - squared error / squared deviation from the training mean, targets' columns together: it can be
    negative, and is NaN where the target does not vary. The floor permutes targets among the stimuli of a condition.

    Raises InputError for fewer than three conditions, for arrays of different lengths, and for values that are not
    finite.
    """
    return decode_each(
        responses, {"": target}, conditions, components=components, permutations=permutations, seed=seed
    )[""]


def decode_each(
    responses: NDArray,
    targets: Mapping[str, NDArray],
    conditions: ArrayLike,
    *,
    components: int = 50,
    permutations: int = 0,
    seed: int = 0,
    clip: bool = False,
) -> dict[str, Decoded]:
    """`decode_across` of several targets by name, each [n] or all [n, k], with the responses decomposed once for all.

    Every target has a penalty of its own. With `clip`, a unit that answers to held-out stimuli beyond its range in
    training is taken at the end of that range: else one that hardly varied in training, such as a unit that looks where
    no stimulus was, would outweigh all others where it does. Raises InputError as `decode_across`, and for targets of
    different widths.
    """
    x = np.asarray(responses, np.float64)
    given = [np.asarray(target, np.float64) for target in targets.values()]
    given = [y[:, None] if y.ndim == 1 else y for y in given]
    if len({y.shape for y in given}) != 1:
        raise InputError(f"Targets have shapes {[list(y.shape) for y in given]}; decode those of one shape together.")
    width, y = given[0].shape[1], np.concatenate(given, axis=1)
    names, codes = np.unique(np.asarray(conditions), return_inverse=True)
    _check(x, y, codes)
    if len(names) < 3:
        raise InputError(
            f"{len(names)} conditions ({', '.join(map(str, names))}) were given, which leaves none to choose the "
            "penalty on; give three or more."
        )
    stacked = np.concatenate([y, *_shuffled(y, codes, permutations, np.random.default_rng(seed))], axis=1)
    predictions, means = np.full_like(stacked, np.nan), np.full_like(stacked, np.nan)
    for held in range(len(names)):
        test = codes == held
        predictions[test], means[test] = _predicted(x, stacked, codes, test, components, width, clip)
    error, total = (stacked - predictions) ** 2, (stacked - means) ** 2
    found = {}
    for number, name in enumerate(targets):
        r2 = [_r2(error[:, at : at + width], total[:, at : at + width])
              for at in range(number * width, stacked.shape[1], y.shape[1])]  # fmt: skip
        own = slice(number * width, (number + 1) * width)
        per = {str(condition): _r2(error[codes == code][:, own], total[codes == code][:, own])
               for code, condition in enumerate(names)}  # fmt: skip
        found[name] = Decoded(r2[0], per, predictions[:, own], np.array(r2[1:]))
    return found


def _predicted(
    x: Array, y: Array, codes: NDArray, test: NDArray, components: int, width: int, clip: bool = False
) -> tuple[Array, Array]:
    """Predictions for the test stimuli and the training mean, each [n_test, target]; columns of `width` belong
    together and share a penalty."""
    train = ~test
    probe = Probe.fit(x[train], y[train], codes[train], components, width)
    shown = np.clip(x[test], x[train].min(axis=0), x[train].max(axis=0)) if clip else x[test]
    return probe(shown), np.broadcast_to(y[train].mean(axis=0), y[test].shape)


@dataclass(frozen=True)
class Probe:
    """A ridge read-out: (x - centre) / scale @ weights + intercept."""

    centre: Array
    scale: Array
    weights: Array
    intercept: Array

    def __call__(self, x: NDArray) -> Array:
        """Predicted targets, [n, target], of responses [n, d]."""
        return (np.asarray(x, np.float64) - self.centre) / self.scale @ self.weights + self.intercept

    @staticmethod
    def fit(x: Array, y: Array, codes: NDArray, components: int, width: int = 0, scale: Array | None = None) -> Probe:
        """Fit to responses [n, d] and targets [n, target]; the penalty by leaving out the conditions `codes` in turn.

        Targets in runs of `width` columns share a penalty (default: all of them). Units are divided by `scale` [d]
        (default: their standard deviation over these stimuli); those that do not vary count for nothing.
        """
        width = width or y.shape[1]
        centre = x.mean(axis=0)
        if scale is None:
            spread = x.std(axis=0)
            scale = np.where(spread > 1e-9 * max(spread.max(), 1e-300), spread, np.inf)
        z = (x - centre) / scale
        axes = principal_axes(z, components)
        scores = z @ axes
        size = np.sqrt((scores**2).sum() / max(len(scores), 1)) or 1.0
        scores, mean = scores / size, y.mean(axis=0)
        errors = np.zeros((len(PENALTIES), y.shape[1] // width))
        for held in np.unique(codes):
            out = codes == held
            weights = np.stack(_paths(scores[~out], y[~out]))  # [penalty, component, target]
            wrong = (scores[out] - scores[~out].mean(axis=0)) @ weights + (y[~out].mean(axis=0) - y[out])
            errors += (wrong**2).sum(axis=1).reshape(len(PENALTIES), -1, width).sum(axis=2)
        chosen = errors.argmin(axis=0).repeat(width)
        paths = np.stack(_paths(scores, y))  # [penalty, component, target]
        return Probe(centre, scale, axes @ paths[chosen, :, np.arange(y.shape[1])].T / size, mean)


def principal_axes(z: Array, components: int) -> Array:
    """The first principal axes [d, components] of centred responses [n, d] (fewer where there are fewer).

    Of more units than stimuli by the eigenvectors of z z', whose squares hold singular values to half of the digits:
    there, axes of less than 1e-7 of the largest are left out, instead of 1e-9.
    """
    if z.shape[1] <= 2 * len(z):
        _, size, right = np.linalg.svd(z, full_matrices=False)
        keep = min(components, int((size > 1e-9 * max(size.max(initial=0), 1e-300)).sum()))
        return np.asarray(right[:keep].T)
    values, vectors = np.linalg.eigh(z @ z.T)
    size = np.sqrt(np.maximum(values[::-1], 0))
    keep = min(components, int((size > 1e-7 * max(size[0], 1e-300)).sum()))
    return np.asarray(z.T @ (vectors[:, ::-1][:, :keep] / size[:keep]))


def _paths(scores: Array, y: Array) -> list[Array]:
    """Ridge weights [component, target] for every penalty."""
    x, centred = scores - scores.mean(axis=0), y - y.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x)
    rotated = vectors.T @ (x.T @ centred)
    return [vectors @ (rotated / (np.maximum(values, 0) + penalty * len(x))[:, None]) for penalty in PENALTIES]


def transfer_matrix(
    sites: Sequence[NDArray], target: NDArray, conditions: ArrayLike, components: int = 50
) -> NDArray[np.float64]:
    """T[j, k]: R2 of a probe fitted at site j and read out at site k without refitting, on conditions held out.

    Sites are arrays [n, d] that share one basis. What is read at every depth by one and the same probe stands in the
    stream at the same place. The probe keeps site j's weights and takes site k's own mean, so that a constant which
    blocks add does not count against it. Raises InputError as `decode_across`, and for sites of different widths.
    """
    arrays = [np.asarray(site, np.float64) for site in sites]
    if len({array.shape for array in arrays}) != 1:
        raise InputError(
            f"Sites have shapes {[list(a.shape) for a in arrays]}; probes transfer only between sites that share a "
            "basis: give sites of one stage, with the same stimuli."
        )
    y = np.asarray(target, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    _, codes = np.unique(np.asarray(conditions), return_inverse=True)
    _check(arrays[0], y, codes)
    error, total = np.zeros((len(arrays), len(arrays))), 0.0
    for held in np.unique(codes):
        test = codes == held
        means = [array[~test].mean(axis=0) for array in arrays]
        total += ((y[test] - y[~test].mean(axis=0)) ** 2).sum()
        for j, array in enumerate(arrays):
            probe = Probe.fit(array[~test], y[~test], codes[~test], components)
            for k, other in enumerate(arrays):
                error[j, k] += ((probe(other[test] - means[k] + means[j]) - y[test]) ** 2).sum()
    return 1 - error / total if total > 0 else np.full_like(error, np.nan)


def split_half_ceiling(
    trials: NDArray, target: NDArray, conditions: ArrayLike, *, components: int = 50, splits: int = 10, seed: int = 0
) -> float:
    """How well decoding could do if only trial noise stood in its way: the reliability of the decoded values.

    `trials` is [rep, n, d]. Held-out predictions are made from two random halves of the repetitions; their correlation
    r, stepped up to all repetitions by 2r / (1 + r) (Spearman 1910; Brown 1910), is averaged over splits and columns of
    the target. Raises InputError for fewer than two repetitions.
    """
    if trials.ndim != 3 or len(trials) < 2:
        raise InputError(f"Trials have shape {list(trials.shape)}; give two repetitions or more, [rep, n, d].")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = rng.permutation(len(trials))
        halves = [trials[order[start::2]].mean(axis=0) for start in (0, 1)]
        one, two = (decode_across(half, target, conditions, components=components).predictions for half in halves)
        r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, two.T, strict=True)])
        found.append(np.mean(2 * r / (1 + r)))
    return float(np.mean(found))


def information_complexity(
    depths: Sequence[NDArray], feature: NDArray, conditions: ArrayLike, components: int | None = None
) -> NDArray[np.float64]:
    """K = 1 - mean over depths of the V-information on each feature, [feature]: how late it becomes readable.

    Fel et al. 2024, eq. 2, with linear readers: the information of depth l on feature z is the share of z's variance
    that a ridge probe reads out of it (not below 0). 0 for what the input holds already, near 1 for what only the last
    depth has. Secondary by design: it is defined by decodability over depth, so it must not be used to ask whether
    what is simple stays decodable. `depths` are [n, d_l] from the input on, `feature` [n, feature]; conditions [n]
    are held out. Readers see `components` principal components of each depth (default: all). NaN for features that do
    not vary.
    """
    z = np.asarray(feature, np.float64)
    _, codes = np.unique(np.asarray(conditions), return_inverse=True)
    information = []
    for depth in depths:
        x = np.asarray(depth, np.float64)
        _check(x, z, codes)
        predictions, means = np.empty_like(z), np.empty_like(z)
        for held in np.unique(codes):
            test = codes == held
            predictions[test], means[test] = _predicted(x, z, codes, test, components or x.shape[1], 1)
        error, total = ((z - predictions) ** 2).sum(axis=0), ((z - means) ** 2).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            information.append(np.where(z.std(axis=0) > 0, np.maximum(1 - error / total, 0), np.nan))
    return 1 - np.mean(information, axis=0)


def _shuffled(y: Array, codes: NDArray, count: int, rng: np.random.Generator) -> list[Array]:
    """Targets permuted among the stimuli of each condition."""
    found = []
    for _ in range(count):
        order = np.empty(len(y), np.intp)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            order[rows] = rng.permutation(rows)
        found.append(y[order])
    return found


def _r2(error: Array, total: Array) -> float:
    return float(1 - error.sum() / total.sum()) if total.sum() > 0 else float("nan")


def _check(x: Array, y: Array, codes: NDArray) -> None:
    if x.ndim != 2 or y.ndim != 2 or not len(x) == len(y) == len(codes):
        raise InputError(
            f"Responses {list(x.shape)}, targets {list(y.shape)} and {len(codes)} conditions do not fit together; give "
            "one row of each for every stimulus."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("Responses or targets are not finite; leave out stimuli or units that are undefined.")
