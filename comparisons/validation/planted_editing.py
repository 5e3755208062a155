"""Streams in which the truth about P3 is planted: what deletes what, and when, is known.

    x     = sum_f a_f d_f + noise      m sparse features in d < m dimensions; a topic an image makes them co-occur
    Delta = write(x) - deletion        by cell, see `CELLS`

The analyst does not see a and d: her dictionary has decoder directions at cosine .9 to the true ones, as dictionaries
have, and her activations are the sparse non-negative code of x in them. All is SIMULATED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Encoder = Literal["sparse code", "top-k"]
COSINE = 0.9
"""Of the analyst's decoder directions with the true ones."""


@dataclass(frozen=True)
class Cell:
    """One planted truth. `edits` is what P3 asks about: deletion of a part of the features, gated by context."""

    write: Literal["trained", "untrained"] = "trained"
    """Sparse neurons that each read a few features and write new directions, or a random dense network."""
    deletion: float = 0.0
    """Share of an edited feature's activation that is taken away where the gate is open."""
    gate: float | None = None
    """Share of the tokens at which the gate is open; None: always (static deletion)."""
    hidden: bool = False
    """The gate depends on nothing in the stream."""
    damping: float = 0.0
    """Share of the whole stream that is taken away, everywhere."""
    plain: bool = False
    """The block passes nothing on: Delta = write - x."""
    share: float = 0.3
    """Share of the features that are deleted."""
    own: bool = False
    """Deletion grows with the feature's own activation (as its square): static, though not linear."""
    strength: float = 1.0
    """Size of the write, in that of its kind."""

    @property
    def edits(self) -> bool:
        """Whether the truth is: edited, dynamically."""
        return self.deletion > 0 and self.gate is not None


CELLS: dict[str, Cell] = {
    "no deletion": Cell(),
    "untrained": Cell(write="untrained"),
    "static .5": Cell(deletion=0.5),
    "static .8": Cell(deletion=0.8),
    "damping .2": Cell(damping=0.2),
    "damping .5": Cell(damping=0.5),
    "plain": Cell(plain=True),
    "gated .5, a quarter": Cell(deletion=0.5, gate=0.25),
    "gated .5, a half": Cell(deletion=0.5, gate=0.5),
    "gated .8, a quarter": Cell(deletion=0.8, gate=0.25),
    "gated .8, a half": Cell(deletion=0.8, gate=0.5),
    "gated .8, a half, 6% of features": Cell(deletion=0.8, gate=0.5, share=0.06),
    "hidden gate .8, a half": Cell(deletion=0.8, gate=0.5, hidden=True),
    "untrained, 10 times as strong": Cell(write="untrained", strength=10.0),
    "static, of the square": Cell(deletion=0.5, own=True),
    "plain, 3 times as strong": Cell(plain=True, strength=3.0),
}
"""`gated ..., 6% of features` and `hidden gate` are limits of the rule: too few edited features, and a gate that cannot
be read. The last three are harder nulls than those that its thresholds were chosen on."""


@dataclass(frozen=True)
class Stream:
    """The stream before a block, and the analyst's dictionary of it: the same for all cells of a seed."""

    x: Array
    """[n, d]"""
    activations: Array
    """True a, [n, m]."""
    directions: Array
    """True d, [m, d]."""
    decoder: Array
    """The analyst's directions, [m, d], unit rows."""
    latents: Array
    """The analyst's activations, [n, m]."""
    images: NDArray[np.intp]
    """The image of each token, [n]."""
    seed: int


def planted_stream(
    seed: int,
    *,
    images: int = 1024,
    tokens: int = 16,
    width: int = 128,
    features: int = 256,
    noise: float = 0.05,
    cosine: float = COSINE,
    encoder: Encoder = "sparse code",
) -> Stream:
    """A stream of images x tokens. Features are active at 2 to 8% of the tokens (more in their topic), at 1 on average.

    Equal seeds give equal streams, bit by bit on one machine. Single precision: a trained network's is no better.
    """
    rng = np.random.default_rng([seed, 1])
    n = images * tokens
    directions = unit(rng.standard_normal((features, width), np.float32))
    rates = np.exp(rng.uniform(np.log(0.02), np.log(0.08), features))
    topics = 8
    liking = np.exp(0.8 * rng.standard_normal((topics, features)))
    liking /= liking.mean(axis=0)
    topic = np.repeat(rng.integers(topics, size=images), tokens)
    active = rng.random((n, features)) < np.minimum(rates * liking[topic], 0.5)
    activations = active * rng.standard_gamma(4.0, (n, features), np.float32) * np.float32(0.25)
    x = activations @ directions + np.float32(noise) * rng.standard_normal((n, width), np.float32)
    aside = rng.standard_normal((features, width), np.float32)
    aside = unit(aside - (aside * directions).sum(axis=1, keepdims=True) * directions)
    decoder = (cosine * directions + np.sqrt(1 - cosine**2) * aside).astype(np.float32)
    latents = (
        sparse_codes(x, decoder) if encoder == "sparse code" else top_codes(x, decoder, round(active.mean() * features))
    )
    return Stream(x, activations, directions, decoder, latents, np.repeat(np.arange(images), tokens), seed)


def planted_delta(stream: Stream, cell: Cell) -> Array:
    """What the block adds to the stream, [n, d]. Equal seeds give equal writes, features and gates in all cells."""
    rng = np.random.default_rng([stream.seed, 2])
    delta = trained_write(stream, rng) if cell.write == "trained" else untrained_write(stream.x, rng)
    delta = np.float32(cell.strength) * delta
    rng = np.random.default_rng([stream.seed, 3])
    if cell.deletion:
        m = len(stream.directions)
        edited = rng.permutation(m)[: round(cell.share * m)]
        reading = rng.standard_normal(stream.x.shape[1])
        context = rng.standard_normal(len(stream.x)) if cell.hidden else stream.x.astype(np.float64) @ reading
        open_ = context > np.quantile(context, 1 - cell.gate) if cell.gate is not None else np.ones(len(context), bool)
        gone = stream.activations[:, edited] ** (2 if cell.own else 1) * open_[:, None]
        delta = delta - np.float32(cell.deletion) * (gone @ stream.directions[edited])
    delta = delta - np.float32(cell.damping) * stream.x
    return delta - stream.x if cell.plain else delta


def trained_write(stream: Stream, rng: np.random.Generator, neurons: int = 256, size: float = 0.5) -> Array:
    """Neurons that each read three features above a threshold and write a random direction; `size` is the write's root
    mean square as a share of the stream's."""
    m, width = stream.directions.shape
    read = np.zeros((neurons, m), np.float32)
    for neuron in read:
        neuron[rng.choice(m, 3, replace=False)] = rng.choice([-0.5, 1.0, 1.0], 3, replace=False)
    driven = np.maximum(stream.activations @ read.T - np.float32(0.3), 0)
    return _sized(driven @ unit(rng.standard_normal((neurons, width), np.float32)), stream.x, size)


def untrained_write(x: Array, rng: np.random.Generator, neurons: int = 512, size: float = 0.7) -> Array:
    """A random two-layer network of the normalised stream."""
    z = (x - x.mean(axis=0)) / x.std()
    width = x.shape[1]
    hidden = np.maximum(z @ (rng.standard_normal((width, neurons), np.float32) / np.float32(np.sqrt(width))), 0)
    return _sized(hidden @ rng.standard_normal((neurons, width), np.float32), x, size)


def sparse_codes(x: Array, decoder: Array, penalty: float = 0.15, steps: int = 25) -> Array:
    """The non-negative code of x [n, d] that minimises |x - a D|^2 / 2 + penalty |a|_1, by FISTA (Beck & Teboulle
    2009): what an encoder of a trained dictionary approximates. float32 [n, m]."""
    x, decoder = x.astype(np.float32, copy=False), decoder.astype(np.float32, copy=False)
    gram, drive = decoder @ decoder.T, x @ decoder.T - np.float32(penalty)
    step = np.float32(1 / np.linalg.norm(gram, 2))
    code = ahead = np.zeros_like(drive)
    momentum = 1.0
    for _ in range(steps):
        new = np.maximum(ahead + step * (drive - ahead @ gram), 0)
        larger = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + np.float32((momentum - 1) / larger) * (new - code)
        code, momentum = new, larger
    return code


def top_codes(x: Array, decoder: Array, k: int) -> Array:
    """The k largest projections on the decoder's directions at each token, if positive: a one-step encoder, whose codes
    are full of what their neighbours leak. [n, m]"""
    projected = (x - x.mean(axis=0)) @ decoder.T
    least = np.partition(projected, -k, axis=1)[:, -k, None]
    return np.where((projected >= least) & (projected > 0), projected, np.float32(0))


def unit(rows: Array) -> Array:
    """Rows at unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _sized(write: Array, x: Array, size: float) -> Array:
    ratio = x.var(axis=0, dtype=np.float64).mean() / write.var(axis=0, dtype=np.float64).mean()
    return write * np.float32(size * np.sqrt(ratio))
