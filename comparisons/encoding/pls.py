"""Partial least squares over many splits at once, through the Gram matrix.

The numbers are those of `sklearn.cross_decomposition.PLSRegression(n_components, scale=False)`, split by split. Its
NIPALS power iteration stops at a tolerance of 1e-6 and is not converged there (the exact dominant direction moves a
neuroid's r by up to 7e-3), so its steps are replayed on the small matrix S = R' K R.

With K = X X' of the training stimuli, centred, and residual responses R = P Y (P projects out the scores so far):

    v  <- S v, |v| = 1           until 2 - 2 cos < 1e-6, cos in the S norm, from the first column of R that is not 0
    u  =  R v / sqrt(v' S v)     the weights are X' u
    t  =  P K u, |t| = 1         scores
    q  =  Y' t                   loadings of the responses
    S  -= q g' + g q' - (t' K t) q q',   g = Y' P K t
    prediction = (K U)_test (T' K U)^-1 Q' + mean
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from comparisons.encoding.gram import LinearKernel, double_centred, rank_up_to, tolerance

COMPONENTS = 25
"""Brain-Score's number of components."""
TOLERANCE, ITERATIONS = 1e-6, 500
"""scikit-learn's defaults for the power iteration."""
WEAK = 1e-9
"""A component that carries less than this share of the first one's squared covariance has lost, in K, the digits that
a per-neuroid r within 1e-6 needs: such splits are fitted on the reduced features themselves."""

Split = tuple[np.ndarray, np.ndarray]
"""(rows to fit on, rows to predict)."""


def pls_predictions(
    kernel: LinearKernel, responses: np.ndarray, splits: Sequence[Split], components: int = COMPONENTS
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Predicted responses of each split's test stimuli, float64 [n_test, neuroid], and what a reader must know.

    `responses` [n, neuroid] hold no NaN. Components are clipped to the rank of the training features, with a notice:
    beyond it scikit-learn fits rounding errors.
    """
    y = np.asarray(responses, dtype=np.float64)
    y = y - y.mean(axis=0)
    # The power iteration runs on the smaller side: neuroids, or directions of the features.
    replay = _replayed if y.shape[1] <= min(kernel.n, kernel.p) else _replayed_in_features
    found, weak = replay(kernel, y, splits, components)
    clipped: dict[int, int] = {}
    for number in np.flatnonzero(weak):
        found[number], used = _from_features(kernel, y, splits[number], components)
        if used < components:
            clipped[used] = clipped.get(used, 0) + 1
    notices = tuple(
        f"components clipped from {components} to {used}, the rank of the features, in {count} of {len(splits)} splits"
        for used, count in sorted(clipped.items())
    )
    mean = np.asarray(responses, dtype=np.float64).mean(axis=0)
    return [prediction + mean for prediction in found], notices


def _replayed(
    kernel: LinearKernel, y: np.ndarray, splits: Sequence[Split], components: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Predictions by the Gram route, and which splits it cannot do (bool [split])."""
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    n, folds = kernel.n, len(splits)
    inside = np.zeros((folds, n))
    for fold, (train, _) in enumerate(splits):
        inside[fold, train] = 1
    sizes = inside.sum(axis=1, keepdims=True)
    means = inside @ y / sizes
    s, start = _cross_products(kernel, y, splits, means)
    scores = np.zeros((folds, components, n))
    products = np.zeros((folds, components, n))
    loadings = np.zeros((folds, components, y.shape[1]))
    weak = sizes[:, 0] <= components + 1
    first = np.zeros(folds)

    def centred(values: np.ndarray) -> np.ndarray:
        return (values - (values * inside).sum(axis=1, keepdims=True) / sizes) * inside

    def projected(values: np.ndarray, k: int) -> np.ndarray:
        """P of each fold: [fold, n], free of the mean and of the k scores so far."""
        values = centred(values)
        for _ in range(2):  # once more, or rounding leaves a part that grows from component to component
            past = scores[:, :k]
            values = values - np.matmul(past.transpose(0, 2, 1), np.matmul(past, values[:, :, None]))[:, :, 0]
        return values

    for k in range(components):
        v = np.zeros((folds, y.shape[1]))
        strength = np.ones(folds)
        with blas.limit(limits=1):  # matrices this small are slower with threads
            for fold in np.flatnonzero(~weak):
                v[fold], strength[fold] = _direction(s[fold], start[fold])
                first[fold] = first[fold] or strength[fold]
                weak[fold] = not strength[fold] > WEAK * first[fold]
        v[weak], strength[weak] = 0, 1
        u = centred(v @ y.T - (means * v).sum(axis=1)[:, None])
        if k:
            u = projected(u, k)
        u /= np.sqrt(strength)[:, None]
        products[:, k] = kernel.times(u.T).T
        t = projected(products[:, k], k)
        norm = np.linalg.norm(t, axis=1, keepdims=True)
        scores[:, k] = t = t / np.where(norm > 0, norm, 1)
        kt = projected(kernel.times(t.T).T, k)
        q, g, tau = t @ y, kt @ y, (t * kt).sum(axis=1)
        loadings[:, k] = q
        for fold in np.flatnonzero(~weak):
            half = np.outer(q[fold], g[fold] - tau[fold] / 2 * q[fold])
            s[fold] -= half + half.T
    predictions = []
    for fold, (train, test) in enumerate(splits):
        if weak[fold]:
            predictions.append(np.zeros((len(test), y.shape[1])))
            continue
        inner = scores[fold] @ (products[fold] * inside[fold]).T
        ahead = products[fold][:, test].T - products[fold][:, train].mean(axis=1)
        predictions.append(ahead @ np.linalg.solve(inner, loadings[fold]) + means[fold])
    return predictions, weak


def _cross_products(
    kernel: LinearKernel, y: np.ndarray, splits: Sequence[Split], means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """S = R' K R of each split's training stimuli, [split, neuroid, neuroid], and the column to start from, [split]."""
    s, start = np.zeros((len(splits), y.shape[1], y.shape[1])), np.zeros(len(splits), int)
    ky = kernel.times(y)
    small = 10 * np.finfo(np.float64).eps
    for fold, (train, test) in enumerate(splits):
        residual = y[train] - means[fold]
        moving = np.abs(residual).max(axis=0) >= small  # scikit-learn's rule for a constant column
        start[fold] = int(np.argmax(moving))
        # K over training stimuli alone = K over all, less the test columns.
        left_out = np.setdiff1d(np.arange(kernel.n), train) if len(train) + len(test) != kernel.n else test
        inside = ky[train] - kernel.part(train, left_out) @ y[left_out]
        ones = np.zeros((kernel.n, 1))
        ones[train] = 1
        product = inside - kernel.times(ones)[train] * means[fold]
        s[fold] = (residual.T @ product) * moving * moving[:, None]
    return s, start


def _direction(s: np.ndarray, start: int) -> tuple[np.ndarray, float]:
    """scikit-learn's power iteration on S: the direction v [neuroid] of length 1 at which it stops, and v' S v."""
    v = np.zeros(len(s))
    v[start] = 1
    sv = s[:, start]
    old = v @ sv
    if not old > 0:
        return v, 0.0
    for _ in range(ITERATIONS - 1):
        length = np.sqrt(sv @ sv)
        if not length > 0:
            return v, 0.0
        ahead = sv / length
        s_ahead = s @ ahead
        new = ahead @ s_ahead
        if not new > 0:
            return ahead, 0.0
        difference = 2 - 2 * (ahead @ sv) / np.sqrt(new * old)
        v, sv, old = ahead, s_ahead, new
        if difference < TOLERANCE:
            break
    return v, float(old)


def _replayed_in_features(
    kernel: LinearKernel, y: np.ndarray, splits: Sequence[Split], components: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """As `_replayed`, for more neuroids than directions of the features, as when recordings predict a model.

    The same iteration on the weights w: w <- A w with A = X' P L P X, L = Y Y', until |w - w_old|^2 < 1e-6; then
    t = P X w, a = X' t, b = X' P L t and A -= a b' + b a' - (t' L t) a a'.
    """
    x = kernel.centred if kernel.tall else kernel.reduced
    gram = y @ y.T
    predictions, weak = [], np.zeros(len(splits), bool)
    for fold, (train, test) in enumerate(splits):
        centre, mean = x[train].mean(axis=0), y[train].mean(axis=0)
        inside, inner = x[train] - centre, double_centred(gram[np.ix_(train, train)])
        a = inside.T @ inner @ inside
        moving = np.abs(y[train] - mean).max(axis=0) >= 10 * np.finfo(np.float64).eps
        start = y[train, np.argmax(moving)] - mean[np.argmax(moving)]
        scores, weights = np.zeros((len(train), components)), np.zeros((x.shape[1], components))
        first = 0.0
        for k in range(components):
            past = scores[:, :k]
            w, strength = _weights(a, inside.T @ (start - past @ (past.T @ start)))
            first = first or strength
            if len(train) <= components + 1 or not strength > WEAK * first:
                weak[fold] = True
                break
            t = inside @ w
            for _ in range(2):
                t = t - past @ (past.T @ t)
            t /= np.linalg.norm(t)
            lt = inner @ t
            load, cross, tau = inside.T @ t, inside.T @ (lt - past @ (past.T @ lt)), t @ lt
            half = np.outer(load, cross - tau / 2 * load)
            a -= half + half.T
            scores[:, k], weights[:, k] = t, w
        if weak[fold]:
            predictions.append(np.zeros((len(test), y.shape[1])))
            continue
        rotated = weights @ np.linalg.inv(scores.T @ inside @ weights)
        predictions.append((x[test] - centre) @ rotated @ (scores.T @ y[train]) + mean)
    return predictions, weak


def _weights(a: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, float]:
    """scikit-learn's power iteration on A from w: the weights of length 1 at which it stops, and w' A w."""
    length = np.linalg.norm(w)
    if not length > 0:
        return w, 0.0
    w = w / length
    for _ in range(ITERATIONS - 1):
        ahead = a @ w
        length = np.linalg.norm(ahead)
        if not length > 0:
            return w, 0.0
        ahead /= length
        difference = ((ahead - w) ** 2).sum()
        w = ahead
        if difference < TOLERANCE:
            break
    return w, float(w @ a @ w)


def _from_features(kernel: LinearKernel, y: np.ndarray, split: Split, components: int) -> tuple[np.ndarray, int]:
    """Predictions [n_test, neuroid] by scikit-learn itself on features rotated into their row space, and the number
    of components used: at most the rank of the training features."""
    from sklearn.cross_decomposition import PLSRegression

    train, test = split
    x = kernel.reduced[train] - kernel.reduced[train].mean(axis=0)
    used = rank_up_to(x, min(components, len(train) - 1), 10 * tolerance(*x.shape)) if x.shape[1] else 0
    if not used:
        return np.broadcast_to(y[train].mean(axis=0), (len(test), y.shape[1])).copy(), 0
    with warnings.catch_warnings():
        # That a residual is used up, or an iteration not converged, is part of the reference and no news.
        warnings.simplefilter("ignore")
        fitted = PLSRegression(used, scale=False).fit(x, y[train])
        return fitted.predict(kernel.reduced[test] - kernel.reduced[train].mean(axis=0)).reshape(len(test), -1), used
