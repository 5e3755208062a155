"""The fixed maps of a simulated stream, and the moments by which they are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.simulated.seen import Array, Rows, Target


def signal_covariance(x: Array, y: Array | None = None) -> NDArray[np.float64]:
    """Covariance over stimuli of what x and y (default x) share over trials: [rep, n, d] twice to [d].

    Products of the two halves of the trials, in which trial noise does not count.
    """
    y = x if y is None else y
    half = len(x) // 2
    (x1, x2), (y1, y2) = (
        [part.mean(0, dtype=np.float64) for part in (values[:half], values[half : 2 * half])] for values in (x, y)
    )
    first, second = (((a - a.mean(0)) * (b - b.mean(0))).mean(0) for a, b in ((x1, y2), (x2, y1)))
    return (first + second) / 2


def signal_variance(x: Array) -> Array:
    """Variance over stimuli of the signal in each column of x, [rep, n, d] to [d].

    Raises InputError where no signal can be told from trial noise: to divide by what is left would blow up noise.
    """
    found = signal_covariance(x)
    if (weak := found <= 1e-3 * x.var(axis=(0, 1), dtype=np.float64)).any():
        raise InputError(
            f"{x.shape[1]} stimuli with {x.shape[0]} repetitions carry too little signal for {weak.sum()} of "
            f"{len(weak)} dimensions of a simulated stage; give more stimuli, or lower complex_dimensions or noise."
        )
    return found.astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """The fixed scaling after which the signal of each dimension had mean 0 and variance 1 when it was fitted, in each
    group of stimuli: `centre` and `spread` [n or 1, d]."""

    centre: Array
    spread: Array

    @staticmethod
    def of(state: Array, groups: Sequence[Rows] = ()) -> Scale:
        """Fitted to a state [rep, n, d]. Raises InputError where a dimension has no signal."""
        if not groups:
            return Scale(state.mean((0, 1))[None], np.sqrt(signal_variance(state))[None])
        centre, spread = (np.empty(state.shape[1:], np.float32) for _ in range(2))
        for rows in groups:
            own = state[:, rows]
            centre[rows], spread[rows] = own.mean((0, 1)), np.sqrt(signal_variance(own))
        return Scale(centre, spread)

    def at(self, rows: Rows) -> Scale:
        """The same for some of the stimuli."""
        return self if len(self.centre) == 1 else Scale(self.centre[rows], self.spread[rows])

    def __call__(self, state: Array) -> Array:
        """The state scaled; all trials alike."""
        return (state - self.centre) / self.spread


@dataclass(frozen=True)
class ComplexMap:
    """c(z) = V' tanh(W z * U z): `pairs` [2, d, hidden] hold W and U, `axes` [hidden, d_c] is V."""

    pairs: Array
    axes: Array

    def __call__(self, state: Array) -> Array:
        """On every trial, [rep, n, d] to [rep, n, d_c]."""
        return self.hidden(state) @ self.axes

    def hidden(self, state: Array) -> Array:
        """tanh(W z * U z), [rep, n, hidden]."""
        return _hidden(self.pairs, state)


def _hidden(pairs: NDArray[Any], state: NDArray[Any]) -> NDArray[Any]:
    product = state @ pairs[0]
    product *= state @ pairs[1]
    return np.tanh(product, out=product)


def complex_map(
    rng: np.random.Generator, state: Array, d_c: int, freed_of: Sequence[Target], groups: Sequence[Rows] = ()
) -> tuple[ComplexMap, Array]:
    """A random map of states like `state` [rep, n, d] into d_c dimensions, and what it makes of `state`.

    V is orthogonal to the covariance of the trial-averaged hidden units with every target, within the target's rows; of
    the directions that this leaves, it takes those with the most signal for their trial noise (a generalised
    eigenproblem), or noise would grow from stage to stage until nothing else is left. Signal in each of the `groups` of
    stimuli counts alike. All in double precision: in single, eigenvectors that nearly tie would be others at another
    number of threads, and with them a fifth of all counts. (A last digit of the stimuli's energies, as another
    processor may round it, still makes them others.)
    """
    from scipy.linalg import eigh

    hidden_units = 12 * d_c + sum(values.shape[1] for _, values in freed_of)
    pairs = rng.standard_normal((2, state.shape[2], hidden_units), np.float32) / np.float32(np.sqrt(state.shape[2]))
    hidden = _hidden(pairs.astype(np.float64), state.astype(np.float64))
    mean = (np.full(len(hidden), 1 / len(hidden)) @ hidden.reshape(len(hidden), -1)).reshape(hidden.shape[1:])
    left = np.eye(hidden_units)
    if freed_of:
        covariances = [(mean[rows] - mean[rows].mean(0)).T @ (v - v.mean(0)) for rows, v in freed_of]
        constraints = np.concatenate(covariances, axis=1)
        left = _complement(constraints)
    signals = [np.cov(mean[rows].T) for rows in (groups or [np.arange(len(mean))])]
    signal = left.T @ np.sum([one * (np.trace(signals[0]) / np.trace(one)) for one in signals], axis=0) @ left
    every = max(1, state.shape[1] // 100)  # trial noise needs no more stimuli than that
    residual = (hidden[:, ::every] - hidden[:, ::every].mean(0)).reshape(-1, hidden_units)
    noise = left.T @ (residual.T @ residual / len(residual)) @ left
    floor = 1e-3 * (np.trace(noise) + np.trace(signal)) / len(noise)
    axes = left @ eigh(signal, noise + floor * np.eye(len(noise)))[1][:, -d_c:]
    # Signs of eigenvectors are arbitrary: fix them, so that libraries agree.
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(d_c)])
    return ComplexMap(pairs, axes.astype(np.float32)), (hidden @ axes).astype(np.float32)


def _complement(constraints: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis [n, n - rank] of what is orthogonal to the columns [n, c].

    By rank: a column that depends on others (all stimuli's covariance is the sum of their groups') would take a
    direction out of its own rounding errors away.
    """
    from scipy.linalg import qr

    basis, triangle, _ = qr(constraints, pivoting=True)
    sizes = np.abs(np.diag(triangle))
    return basis[:, np.count_nonzero(sizes > 1e-6 * sizes.max(initial=0)) :]


@dataclass(frozen=True)
class Recoding:
    """A nonlinear change of the simple part's code, S' = scale(tanh(S Q) P) with orthogonal Q and P: it can be undone,
    and keeps S readable, in another basis."""

    first: Array
    second: Array
    scale: Scale | None = None

    def at(self, rows: Rows) -> Recoding:
        """The same for some of the stimuli."""
        return self if self.scale is None else replace(self, scale=self.scale.at(rows))

    def __call__(self, simple: Array) -> Array:
        """On every trial, [rep, n, d] to the same shape."""
        recoded = np.tanh(simple @ self.first) @ self.second
        return recoded if self.scale is None else self.scale(recoded)


def recoding(rng: np.random.Generator, simple: Array, groups: Sequence[Rows] = ()) -> Recoding:
    """A random recoding of states like `simple` [rep, n, d]."""
    d = simple.shape[2]
    first, second = (np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32) for _ in range(2))
    unscaled = Recoding(first, second)
    return Recoding(first, second, Scale.of(unscaled(simple), groups))


@dataclass(frozen=True)
class Readout:
    """How neuroids read a state: u = S a + C b, with `simple` a [d_s, neuroid] and `complex` b [d_c, neuroid]."""

    simple: Array
    complex: Array


def readout(rng: np.random.Generator, simple: Array, inner: Array, count: int, share: float) -> Readout:
    """Random weights on S `simple` [rep, n, d_s] and C `inner` [rep, n, d_c], scaled so that the signal of each u has
    variance 1 and S carries `share` of it."""
    a = rng.standard_normal((simple.shape[2], count), np.float32)
    b = rng.standard_normal((inner.shape[2], count), np.float32)
    c = inner @ b
    spread = np.sqrt(signal_variance(c))
    b, c = b / spread, c / spread
    if share == 0:
        return Readout(np.zeros_like(a), b)
    s = simple @ a
    spread = np.sqrt(signal_variance(s))
    a, s = a / spread, s / spread
    # Var(alpha s + beta c) = 1 with alpha^2 = share: S and C may covary, by r.
    r = signal_covariance(s, c)
    alpha = np.sqrt(share)
    beta = -alpha * r + np.sqrt(alpha**2 * r**2 + 1 - share)
    return Readout(a * np.float32(alpha), b * beta.astype(np.float32))
