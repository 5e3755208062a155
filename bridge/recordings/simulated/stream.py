"""The states of a simulated ventral stream, stage by stage and trial by trial.

A stage's state z_k has a simple part S and a complex part C. With fixed scalings that keep signals near unit variance,

    S_1 = whitened Gabor energies of the images + eta_1            C_1 = c_1(S_1) + eta_1
    S_k = r_k S_{k-1} + B sum_{j<k-1} S_j - eps g(x) D S_{k-1} + eta_k
    C_k = [C_{k-1} +] c_k(z_{k-1}) + eta_k                          (the first term is missing in a strict hierarchy)

eta is trial noise; it stands in the state, so later stages inherit it. c_k is a fixed random nonlinear map
(`maps.complex_map`). D projects on some of the dimensions of S, and g(x) is 1 for stimuli whose complex part in V1 lies
beyond a random plane, else 0.

    residual   r = 1                                                nhbt     r_k^2 = lambda_k / lambda_{k-1}
    recode     S_k = a nonlinear recoding of S_{k-1} + eta_k         parallel S_k = S_1 without its noise + eta_k

C is free of what could be read from it linearly about S: V is orthogonal to the covariance of c's hidden units with S_1
over all stimuli, among natural ones, among oriented patterns, and with orientation among those of each family and
spatial frequency. `leak` leaves it the covariance among natural stimuli, `coupled` all.

Where natural stimuli and oriented patterns are both shown, each stage is scaled within either, as after adaptation; S
is made of the leading components of natural stimuli. This decides whether orientation can be read at all: along the
components of both together, which full-contrast patterns dominate, a population that reads S alone (168 neuroids) is
decoded across spatial frequencies at R2 .4 only, along those of natural stimuli at .9. There, orientation is at floor
in nhbt's IT on raw counts, on their square roots and on their logarithms alike (D between -.10 and .00), and stays at
.75 to .9 in a residual stream: what an exponential of C shows of S within a set of gratings (squares of C, from which
random folds read S at R2 .7) does not carry over to a frequency that was not learnt from.

With objects, x, y and size take the place of three dimensions of C, with a weight that rises from 0 in the first stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.simulated.maps import (
    ComplexMap,
    Readout,
    Recoding,
    Scale,
    complex_map,
    readout,
    recoding,
    signal_covariance,
)
from bridge.recordings.simulated.seen import Array, Seen, Target
from bridge.recordings.simulated.spec import SimulatedRecordings

Bin = Literal["early", "late"]
BINS: tuple[Bin, ...] = ("early", "late")
LATE = 1_000_000
"""Number of the seed of what is new in the late time bin, among those of a run's trials."""


@dataclass(frozen=True)
class Stage:
    """One stage of the stream: states on every trial, [rep, n, dimension], and how its neuroids read them."""

    simple: Array
    complex: Array
    readout: Readout

    @cached_property
    def simple_drive(self) -> Array:
        """What neuroids read of S, a' S: [rep, n, neuroid]."""
        return self.simple @ self.readout.simple

    @cached_property
    def drive(self) -> Array:
        """u without private noise, a' S + b' C: [rep, n, neuroid]."""
        return self.simple_drive + self.complex @ self.readout.complex

    def realised(self, rows: NDArray[np.int_] | slice = slice(None)) -> float:
        """lambda: Var(a' E[S|x]) / Var(E[u|x]), both from the covariance of trial halves, mean over neuroids."""
        simple, drive = self.simple_drive[:, rows], self.drive[:, rows]
        return float(np.mean(signal_covariance(simple) / signal_covariance(drive)))

    @property
    def coupling(self) -> float:
        """R2 of C (trial average) from S by linear regression over the stimuli, pooled over dimensions of C."""
        s, c = (part.mean(0, dtype=np.float64) for part in (self.simple, self.complex))
        s, c = s - s.mean(0), c - c.mean(0)
        axes, sizes, _ = np.linalg.svd(s, full_matrices=False)
        axes = axes[:, sizes > 1e-6 * max(sizes[0], 1e-300)]
        return float(((axes.T @ c) ** 2).sum() / (c**2).sum())


@dataclass
class _Maps:
    """What is fixed of one stage once it was fitted."""

    inner: ComplexMap
    scale: Scale
    recoding: Recoding | None = None

    def at(self, rows: NDArray[np.int_]) -> _Maps:
        return _Maps(self.inner, self.scale.at(rows), self.recoding and self.recoding.at(rows))


@dataclass
class Stream:
    """A stream with its maps and neuroids fixed: fitted to its stimuli in a first pass, it can be run again."""

    spec: SimulatedRecordings
    seen: Seen
    maps: list[_Maps] = field(default_factory=list)
    readouts: list[Readout] = field(default_factory=list)
    gate: Array | None = None
    """g(x), [n]: 1 where editing is on."""
    _first: list[tuple[Array, Array]] = field(default_factory=list)

    @staticmethod
    def of(spec: SimulatedRecordings, seen: Seen) -> Stream:
        """The stream that `spec` describes, fitted to these stimuli.

        Raises InputError for stimuli too few to tell signal from noise, and where `untangle` has no objects.
        """
        if spec.of("object_share") and seen.objects is None:
            raise InputError(
                f"truth {spec.truth!r} needs stimuli that show objects at different places and sizes, with columns x, "
                "y and size; add scenes or shapes, or set object_share to 0."
            )
        stream = Stream(spec, seen.balanced())
        maps, readers = (np.random.default_rng(child) for child in _seeds(spec)[:2])
        stream._first = stream._run("early", 0, len(spec.neuroids), maps)
        counts = spec.neuroids.values()
        for (simple, inner), count, share in zip(stream._first, counts, spec.asked, strict=True):
            stream.readouts.append(readout(readers, simple, inner, count, share))
        return stream

    def shown(self, rows: NDArray[np.int_], reps: int) -> Stream:
        """The same stream, its maps and neuroids fixed, that sees some of its stimuli, so many times each."""
        spec = self.spec.model_copy(update={"reps": reps})
        gate = None if self.gate is None else self.gate[rows]
        part = Stream(spec, self.seen.at(rows), [maps.at(rows) for maps in self.maps], self.readouts, gate)
        part._first = part._run("early", 0, len(part.readouts))
        return part

    def stages(self, bin: Bin = "early") -> list[Stage]:
        """The stages in the trials recorded. Without time bins there is one response, and `bin` means nothing; where
        regions were not recorded together, each has trials of its own."""
        spec = self.spec
        bin = bin if spec.time_bins else "early"
        states = self._first if bin == "early" else self._run(bin, 0, len(self.readouts))
        if not spec.simultaneous:
            others = [self._run(bin, k, k + 1)[-1] for k in range(1, len(self.readouts))]
            states = [states[0], *others]
        return [Stage(*state, read) for state, read in zip(states, self.readouts, strict=True)]

    def noiseless(self, bin: Bin = "early") -> list[Stage]:
        """The same without trial noise, in a single trial [1, n, dimension]: what stimuli alone do."""
        states = self._run(bin if self.spec.time_bins else "early", None, len(self.readouts))
        return [Stage(*state, read) for state, read in zip(states, self.readouts, strict=True)]

    def _run(
        self, bin: Bin, number: int | None, upto: int, fit: np.random.Generator | None = None
    ) -> list[tuple[Array, Array]]:
        """(S, C) of the first `upto` stages, in the trials of this number (None: one without noise). `fit` draws the
        maps that are not there yet."""
        spec, energies = self.spec, self.seen.energies[None]
        noise = _Noise(spec, number, bin)
        apart = spec.flow == "parallel"
        signal = energies + noise.common(energies.shape)
        simples = [signal + noise(energies.shape)]
        inners: list[Array] = []
        clean: Array | None = None  # C without this stage's own noise
        for k in range(upto):
            if apart:
                known = [np.repeat(energies, 2, axis=0)] + ([] if clean is None else [clean])
                before = clean
            else:
                known = [simples[-1]] + ([] if k == 0 else [inners[-1]])
                before = inners[-1] if k else None
            state = np.concatenate(known, axis=2)
            write = self.maps[k].inner(state) if fit is None else self._fit(fit, state, before, simples[-1])
            maps = self.maps[k]
            clean = maps.scale(write if before is None or spec.flow == "nhbt" else before + write)
            clean = self._with_objects(clean, k)
            if k == 0 and self.gate is None:
                self.gate = self._gate(clean)
            if k:
                new = signal if apart else self._passed_on(simples, k, maps.recoding, bin)
                simples.append(new + noise(energies.shape))
            own = clean[:1] if apart else clean
            inners.append(own + noise((1, *clean.shape[1:])))
        faded = np.float32(1 - spec.of("damping") if bin == "late" else 1)
        return [(s * faded, c * faded) for s, c in zip(simples, inners, strict=True)]

    def _fit(self, rng: np.random.Generator, state: Array, before: Array | None, simple: Array) -> Array:
        """Draw the next stage's maps and fix its scale; c(z)."""
        spec = self.spec
        groups = list(self.seen.groups().values())
        inner, write = complex_map(rng, state, spec.complex_dimensions, freed_of(spec, self.seen), groups)
        whole = write if before is None or spec.flow == "nhbt" else before + write
        scale = Scale.of(whole, groups)
        again = recoding(rng, simple, groups) if spec.flow == "recode" and self.maps else None
        self.maps.append(_Maps(inner, scale, again))
        return write

    def _passed_on(self, simples: list[Array], k: int, recoded: Recoding | None, bin: Bin) -> Array:
        """S_k before its own noise."""
        spec, before = self.spec, simples[-1]
        kept, strength = spec.keeps[k - 1], spec.of("bypass")
        new: Array = np.float32(kept) * (before if recoded is None else recoded(before))
        if strength and k > 1:
            new = new + np.float32(strength) * np.sum(simples[:-1], axis=0)
            new = new / np.float32(max(1.0, _signal_weights(spec)[k]))
        deleted = spec.of("edit")
        if deleted and self.gate is not None and (bin == "late" or not spec.time_bins):
            edited = np.float32(deleted) * self.gate[:, None] * _edited(spec)
            new = new - edited * before
        return new

    def _with_objects(self, inner: Array, k: int) -> Array:
        last = len(self.spec.neuroids) - 1
        weight = self.spec.of("object_share") * (k / last if last else 1.0)
        if not weight or self.seen.objects is None:
            return inner
        inner = inner.copy()
        three = inner[..., : self.seen.objects.shape[1]]
        three *= np.float32(np.sqrt(1 - weight**2))
        three += np.float32(weight) * self.seen.objects
        return inner

    def _gate(self, inner: Array) -> Array:
        """Stimuli whose complex part (trial average) has a large projection on a random direction."""
        rng = np.random.default_rng(_seeds(self.spec)[5])
        projection = inner.mean(0) @ rng.standard_normal(inner.shape[2]).astype(np.float32)
        gated = self.spec.of("gated")
        return (projection >= np.quantile(projection, 1 - gated)).astype(np.float32) * np.float32(gated > 0)


class _Noise:
    """The trial noise of one run through the stream, in the order in which its stages ask for it."""

    def __init__(self, spec: SimulatedRecordings, number: int | None, bin: Bin):
        trials, shared = _seeds(spec)[2], _seeds(spec)[4]
        if number:
            trials, shared = (_child(seed, number) for seed in (trials, shared))
        self.spec, self.quiet = spec, number is None
        self.early, self.shared = np.random.default_rng(trials), np.random.default_rng(shared)
        self.late = np.random.default_rng(_child(trials, LATE)) if bin == "late" else None

    def __call__(self, shape: tuple[int, ...]) -> Array:
        """eta of one part of one stage; in the late bin correlated with that of the early one."""
        if self.quiet:
            return np.zeros((1, *shape[1:]), np.float32)
        shape = (self.spec.reps, *shape[1:])
        eta = self.early.standard_normal(shape, np.float32)
        if self.late is not None:
            same = np.float32(self.spec.bin_correlation)
            eta = same * eta + np.sqrt(1 - same**2) * self.late.standard_normal(shape, np.float32)
        return np.float32(np.sqrt(self.spec.noise)) * eta

    def common(self, shape: tuple[int, ...]) -> Array | np.float32:
        """The noise that all stages receive together."""
        variance = self.spec.of("common_noise")
        if self.quiet or not variance:
            return np.float32(0)
        eta = self.shared.standard_normal((self.spec.reps, *shape[1:]), np.float32)
        return np.float32(np.sqrt(variance)) * eta


def _seeds(spec: SimulatedRecordings) -> list[np.random.SeedSequence]:
    """Of maps, neuroids, trials, counts, common noise, and gate and edited dimensions."""
    return np.random.SeedSequence(spec.seed).spawn(6)


def _child(seed: np.random.SeedSequence, number: int) -> np.random.SeedSequence:
    """A seed of its own, found without its siblings."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))


def _edited(spec: SimulatedRecordings) -> Array:
    """Which dimensions of S are edited, 0 or 1 [d_s]."""
    rng = np.random.default_rng(_child(_seeds(spec)[5], 0))
    count = round(spec.edited_dimensions * spec.simple_dimensions)
    chosen = np.zeros(spec.simple_dimensions, np.float32)
    chosen[rng.permutation(spec.simple_dimensions)[:count]] = 1
    return chosen


def _signal_weights(spec: SimulatedRecordings) -> list[float]:
    """The weight of S_1's signal in S_k before S_k is scaled back, by stage."""
    arrives, scaled = [1.0], [1.0]
    for k, kept in enumerate(spec.keeps, start=1):
        arrives.append(kept * scaled[-1] + spec.of("bypass") * sum(scaled[:-1]))
        scaled.append(arrives[-1] / max(1.0, arrives[-1]) if k > 1 else arrives[-1])
    return arrives


def freed_of(spec: SimulatedRecordings, seen: Seen) -> list[Target]:
    """What the complex part must not carry linearly, and among which stimuli."""
    if spec.coupled:
        return []
    groups = seen.groups()
    if spec.truth == "leak":
        groups = {name: rows for name, rows in groups.items() if name == "factorial"}
        everywhere: list[Target] = []
    else:
        everywhere = [(np.arange(len(seen.energies)), seen.energies)]
    return [*everywhere, *((rows, seen.energies[rows]) for rows in groups.values()), *seen.targets]


def simulate(
    spec: SimulatedRecordings, energies: Array, targets: Sequence[Target] = (), objects: Array | None = None
) -> list[Stage]:
    """The stages of a stream that has seen stimuli of these whitened energies [n, simple_dimensions].

    `targets` are (rows, values [row, d]) that the complex part is freed of besides S, each within its own rows. With
    time bins these are the early ones (`Stream` has both).
    """
    return Stream.of(spec, Seen(energies, targets, objects)).stages()


def at_rows(stages: Sequence[Stage], rows: NDArray[np.int_]) -> list[Stage]:
    """The same stages for some of the stimuli."""
    return [replace(stage, simple=stage.simple[:, rows], complex=stage.complex[:, rows]) for stage in stages]
