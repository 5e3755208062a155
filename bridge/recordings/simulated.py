"""A simulated ventral stream, V1 to IT, whose answer is known. SIMULATED wherever it is shown.

A stage's state z_k has a simple part S and a complex part C. With fixed scalings that keep signals at unit variance,

    S_1 = whitened Gabor energies of the images + eta_1          C_1 = c_1(S_1) + eta_1
    residual   S_k = S_{k-1} + eta_k                             C_k = C_{k-1} + c_k(z_{k-1}) + eta_k
    nhbt       S_k = r_k S_{k-1} + eta_k                         C_k = c_k(z_{k-1}) + eta_k

eta is trial noise; it stands in the state, so later stages inherit it. c_k is a fixed random nonlinear map
V' tanh(W z * U z) of the whole state. V is orthogonal to the covariance of the hidden units with S_1 over the stimuli,
and with orientation among those of each family and spatial frequency, so that C carries nothing simple that could be
read linearly (in a `coupled` residual stream it does). In nhbt (the naive strict hierarchy)
r_k^2 = lambda_k / lambda_{k-1}.

Neuroids read the state: u = a' S_k + b' C_k + private noise, with a and b scaled so that the share of the signal
variance of u that a' S_k carries is lambda_k; counts are Poisson(r0 exp(m u - m^2 / 2) g), g gamma with mean 1
(Goris et al. 2014). Counts are an exponential of u, so a linear read-out of raw counts sees squares of C as well, and
where stimuli have few parameters (gratings) it recovers S from them even in nhbt; logarithms of counts do not show
this.

A first version: editing, bypass, shared gain, time bins and leaks of S into C are not simulated yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from bridge.errors import InputError
from bridge.recordings.base import RecordingsSpec
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.spec import Seed

if TYPE_CHECKING:
    import pandas as pd

    from bridge.stimuli.stimulus_set import StimulusSet

Array = NDArray[np.float32]
Target = tuple[NDArray[np.int_], NDArray[np.floating]]
Truth = Literal["residual", "nhbt"]
LAMBDAS: dict[Truth, tuple[float, ...]] = {"residual": (0.5, 0.4, 0.35, 0.3), "nhbt": (0.5, 0.15, 0.03, 0.0)}
GENERATOR = 1
"""Version of the generator: raised whenever any count would come out differently."""
IMAGE_SIZE = 128
Count = Annotated[int, Field(ge=1, le=100_000)]
NotNegative = Annotated[float, Field(ge=0, le=100)]


class SimulatedRecordings(RecordingsSpec):
    """A simulated ventral stream that has seen the images of the comparison. Its truth is known."""

    kind: Literal["simulated"] = "simulated"
    name: str = "simulated ventral stream"
    """The name under which the recordings appear in results and figures."""
    truth: Truth = "residual"
    """`residual`: simple information stays; `nhbt`: the naive strict hierarchy, which uses it up."""
    seed: Seed = 0
    """Seed of the maps, the neuroids and the trials."""
    neuroids: dict[str, Annotated[int, Field(ge=1, le=100_000)]] = Field(
        default={"V1": 102, "V2": 103, "V4": 88, "IT": 168}, min_length=1
    )
    """Regions from early to late, with how many neuroids each has."""
    lambdas: tuple[float, ...] | None = None
    """The share of the neuroids' signal variance that the simple part carries, one a region; by default that of
    `truth`."""
    subjects: int = Field(1, ge=1)
    """Animals among whom each region's neuroids are dealt out evenly; they share the state, not the neuroids."""
    reps: int = Field(10, ge=2)
    """Repetitions of every stimulus."""
    mean_count: float = Field(5.0, gt=0, le=1e4)
    """Mean spike count of a neuroid."""
    modulation: float = Field(0.6, gt=0, le=3)
    """Standard deviation of a neuroid's log rate over stimuli (m)."""
    noise: float = Field(0.05, ge=0, le=100)
    """Variance of the trial noise that each stage adds, a dimension of the state, in parts of its signal variance."""
    private_noise: float = Field(0.1, ge=0, le=100)
    """Variance of each neuroid's own trial noise, in parts of its signal variance."""
    gain_variance: tuple[NotNegative, NotNegative] = (0.05, 0.2)
    """Variance of the gain in the first and in the last region; regions between lie on the line."""
    coupled: bool = False
    """Leave in the complex part what it carries of S linearly (`residual` only), so that the two cannot be told apart
    by regression alone."""
    simple_dimensions: int = Field(24, ge=2)
    """Dimensions of S."""
    complex_dimensions: int = Field(32, ge=2)
    """Dimensions of C."""

    @field_validator("lambdas")
    @classmethod
    def _shares(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and not all(0 <= value < 1 for value in values):
            raise ValueError(f"every lambda is a share, at least 0 and below 1; {list(values)} is not")
        return values

    @model_validator(mode="after")
    def _fits(self) -> SimulatedRecordings:
        if len(self.asked) != len(self.neuroids):
            raise ValueError(
                f"{len(self.neuroids)} regions need `lambdas`, one a region, and {len(self.asked)} are there"
            )
        if self.truth == "nhbt" and any(b > a for a, b in zip(self.asked, self.asked[1:], strict=False)):
            raise ValueError(f"in a strict hierarchy lambdas cannot rise again, as {list(self.asked)} do")
        if self.truth == "nhbt" and self.coupled:
            raise ValueError("a strict hierarchy whose complex part carries S is not one; leave `coupled` out")
        return self

    @property
    def asked(self) -> tuple[float, ...]:
        """Lambda by region."""
        return LAMBDAS[self.truth] if self.lambdas is None else self.lambdas

    def fingerprint(self) -> dict[str, Any]:
        """The spec without its display name, and the generator's version."""
        content = self.content()
        del content["name"]
        # Regions lie in a mapping, whose order a hash would not see, and the order is that of the stages.
        return {**content, "stages": list(self.neuroids), "generator": GENERATOR}

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """One `Recordings` of all regions, trials simultaneous; `truth` holds parameters and realised lambdas.

        Raises InputError for stimuli that are texts, or too few to whiten S.
        """
        energies = whitened_energies(grey_images(stimuli), self.simple_dimensions)
        return [record(self, stimuli.ids, simulate(self, energies, orientation_targets(stimuli.table)))]


def grey_images(stimuli: StimulusSet) -> Array:
    """All images as grey values in [0, 1], float32 [n, 128, 128]."""
    from bridge.filters import luminance

    return np.stack([luminance(stimuli.image(index), IMAGE_SIZE) for index in range(len(stimuli))])


def whitened_energies(images: Array, dimensions: int) -> Array:
    """The leading principal components of Gabor energies over the images, of mean 0 and variance 1: [n, dimensions].

    Amplitudes (square roots of energies) at 8 orientations x (2, 4, 8, 16) cycles x a 4 x 4 grid. The components are
    those of the images given: another set of images has others. Raises InputError for too few different images.
    """
    from bridge.filters import GaborBank, gabor_features

    n = len(images)
    energies = gabor_features(images, GaborBank(8, (2, 4, 8, 16)), 4, ("energy",)).reshape(n, -1)
    amplitudes = np.sqrt(energies)
    amplitudes -= amplitudes.mean(0)
    left, scale, _ = np.linalg.svd(amplitudes.astype(np.float64), full_matrices=False)
    if n < 4 * dimensions or scale[dimensions - 1] < max(1e-6 * scale[0], 1e-6 * np.sqrt(n)):
        raise InputError(
            f"{n} stimuli are too few, or too alike, for a simulated state of {dimensions} simple dimensions; give at "
            f"least {4 * dimensions} different ones, or lower simple_dimensions."
        )
    # Signs of singular vectors are arbitrary: fix them, so that libraries agree.
    signs = np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
    return (left * signs)[:, :dimensions].astype(np.float32) * np.float32(np.sqrt(n))


@dataclass(frozen=True)
class Stage:
    """One stage of the stream: states on every trial, [rep, n, dimension], and how its neuroids read them.

    `drive` is u without private noise, [rep, n, neuroid]; `simple_drive` its part a' S.
    """

    simple: Array
    complex: Array
    drive: Array
    simple_drive: Array

    @property
    def realised(self) -> float:
        """lambda: Var(a' E[S|x]) / Var(E[u|x]), both from the covariance of trial halves, mean over neuroids."""
        return float(np.mean(signal_covariance(self.simple_drive) / signal_covariance(self.drive)))

    @property
    def coupling(self) -> float:
        """R2 of C (trial average) from S by linear regression over the stimuli, pooled over dimensions of C."""
        s, c = (part.mean(0, dtype=np.float64) for part in (self.simple, self.complex))
        s, c = s - s.mean(0), c - c.mean(0)
        return float(1 - ((c - s @ np.linalg.lstsq(s, c, rcond=None)[0]) ** 2).sum() / (c**2).sum())


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


def orientation_targets(table: pd.DataFrame) -> list[Target]:
    """(cos 2 theta, sin 2 theta) of the oriented stimuli, apart for each family and spatial frequency in the table.

    Groups of fewer than 8 stimuli, or of fewer than 3 orientations, are left out.
    """
    if "orientation" not in table:
        return []
    orientation = table["orientation"].to_numpy(float)
    oriented = np.flatnonzero(np.isfinite(orientation))
    keys = [name for name in ("family", "cycles") if name in table]
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, *key in zip(oriented, *(table[name].iloc[oriented].astype(str) for name in keys), strict=True):
        groups.setdefault(tuple(key), []).append(row)
    found = []
    for rows in groups.values():
        angle = 2 * np.deg2rad(orientation[rows])
        if len(rows) >= 8 and len(np.unique(orientation[rows])) >= 3:
            found.append((np.array(rows), np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    return found


def simulate(spec: SimulatedRecordings, energies: Array, targets: Sequence[Target] = ()) -> list[Stage]:
    """The stages of a stream that has seen stimuli of these whitened energies [n, simple_dimensions].

    `targets` are (rows, values [row, d]) that the complex part is freed of besides S, each within its own rows.
    """
    maps, readers, trials, _ = (np.random.default_rng(child) for child in np.random.SeedSequence(spec.seed).spawn(4))
    hierarchy = spec.truth == "nhbt"

    def noisy(signal: Array) -> Array:
        eta = trials.standard_normal((spec.reps, *signal.shape[1:]), np.float32)
        return signal + np.float32(np.sqrt(spec.noise)) * eta

    simple, inner = noisy(energies[None]), None
    asked = np.array(spec.asked)
    freed_of = [] if spec.coupled else [(np.arange(len(energies)), energies), *targets]
    stages: list[Stage] = []
    for k, (count, share) in enumerate(zip(spec.neuroids.values(), asked, strict=True)):
        state = simple if inner is None else np.concatenate([simple, inner], axis=2)
        write = complex_map(maps, state, spec.complex_dimensions, freed_of)
        if k:
            kept = np.sqrt(asked[k] / asked[k - 1]) if asked[k - 1] > 0 else 0.0
            simple = noisy(simple * np.float32(kept if hierarchy else 1))
        inner = noisy(unit_signal(write if inner is None or hierarchy else inner + write))
        stages.append(_read(readers, simple, inner, count, float(share)))
    return stages


def unit_signal(state: Array) -> Array:
    """The state with each dimension's signal at mean 0 and variance 1 over stimuli; all trials are scaled alike."""
    return (state - state.mean((0, 1))) / np.sqrt(signal_variance(state))


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


def complex_map(rng: np.random.Generator, state: Array, d_c: int, freed_of: Sequence[Target]) -> Array:
    """c(z) = V' tanh(W z * U z), a fixed map, on every trial: [rep, n, d] to [rep, n, d_c].

    V is orthogonal to the covariance of the trial-averaged hidden units with every target; of the directions that this
    leaves, it takes those with the most signal for their trial noise (a generalised eigenproblem), or noise would grow
    from stage to stage until nothing else is left.
    """
    from scipy.linalg import eigh

    hidden_units = 12 * d_c + sum(values.shape[1] for _, values in freed_of)
    pairs = rng.standard_normal((2, state.shape[2], hidden_units), np.float32) / np.float32(np.sqrt(state.shape[2]))
    hidden = np.tanh((state @ pairs[0]) * (state @ pairs[1]))
    mean = hidden.mean(0, dtype=np.float64)
    left = np.eye(hidden_units)
    if freed_of:
        covariances = [(mean[rows] - mean[rows].mean(0)).T @ (v - v.mean(0)) for rows, v in freed_of]
        constraints = np.concatenate(covariances, axis=1)
        left = np.linalg.qr(constraints, mode="complete")[0][:, constraints.shape[1] :]
    signal = left.T @ np.cov(mean.T) @ left
    every = max(1, state.shape[1] // 500)  # trial noise needs no more stimuli than that
    residual = (hidden[:, ::every] - hidden[:, ::every].mean(0)).reshape(-1, hidden_units) @ left
    noise = residual.T @ residual / len(residual)
    floor = 1e-3 * (np.trace(noise) + np.trace(signal)) / len(noise)
    axes = left @ eigh(signal, noise + floor * np.eye(len(noise)))[1][:, -d_c:]
    # Signs of eigenvectors are arbitrary: fix them, so that libraries agree.
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(d_c)])
    return hidden @ axes.astype(np.float32)


def _read(rng: np.random.Generator, simple: Array, inner: Array, count: int, share: float) -> Stage:
    """Neuroids with random weights on both parts, scaled so that S carries `share` of each one's signal variance."""
    a = rng.standard_normal((simple.shape[2], count), np.float32)
    b = rng.standard_normal((inner.shape[2], count), np.float32)
    s, c = simple @ a, inner @ b
    c /= np.sqrt(signal_variance(c))
    if share == 0:
        return Stage(simple, inner, c, np.zeros_like(s))
    s /= np.sqrt(signal_variance(s))
    # Var(alpha s + beta c) = 1 with alpha^2 = share: S and C may covary, by r.
    r = signal_covariance(s, c)
    alpha = np.sqrt(share)
    beta = -alpha * r + np.sqrt(alpha**2 * r**2 + 1 - share)
    s *= np.float32(alpha)
    return Stage(simple, inner, s + beta.astype(np.float32) * c, s)


def record(spec: SimulatedRecordings, ids: tuple[str, ...], stages: list[Stage]) -> Recordings:
    """Spike counts of the stages' neuroids, float32 [rep, n, neuroid], with the truth they were made from."""
    import pandas as pd

    rng = np.random.default_rng(np.random.SeedSequence(spec.seed).spawn(4)[3])
    gains = np.linspace(*spec.gain_variance, len(stages))
    m, counts, tables = spec.modulation, [], []
    for (region, count), stage, gain_variance in zip(spec.neuroids.items(), stages, gains, strict=True):
        u = stage.drive - stage.drive.mean((0, 1))
        u = u + np.float32(np.sqrt(spec.private_noise)) * rng.standard_normal(u.shape, np.float32)
        rate = spec.mean_count * np.exp(m * u - m**2 / 2)
        if gain_variance > 0:
            rate *= rng.gamma(1 / gain_variance, gain_variance, u.shape)
        counts.append(rng.poisson(rate).astype(np.float32))
        ids_of = [f"simulated-{region}-{number:03d}" for number in range(count)]
        animals = [f"simulated {1 + number % spec.subjects}" for number in range(count)]
        tables.append(pd.DataFrame({"neuroid_id": ids_of, "region": region, "subject": animals}))
    truth = {
        "generator": spec.fingerprint(),
        "lambda_asked": dict(zip(spec.neuroids, spec.asked, strict=True)),
        "lambda": {region: stage.realised for region, stage in zip(spec.neuroids, stages, strict=True)},
        "coupling": {region: stage.coupling for region, stage in zip(spec.neuroids, stages, strict=True)},
    }
    return Recordings(
        name=spec.name,
        data=np.concatenate(counts, axis=2),
        stimulus_ids=ids,
        neuroids=pd.concat(tables, ignore_index=True),
        simultaneous=True,
        simulated=True,
        citation=f"SIMULATED ({spec.truth}, seed {spec.seed})",
        truth=truth,
    )
