"""Spike counts of the neuroids that read a simulated stream.

    u_i = a_i' S + b_i' C + private noise          count_i ~ Poisson(r0 exp(m L(u_i) - m^2 / 2) G^beta_i g_i)

L(u) = 4 tanh(u / 4) keeps log rates within four standard deviations, or a few outlying stimuli would drive a neuroid at
a thousand times its mean count.
g_i is gamma with mean 1, one a neuroid and trial (Goris et al. 2014); G is gamma with mean 1, one a trial for all
neuroids that were recorded together, and beta_i is normal with mean 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bridge.recordings.recordings import Recordings
from bridge.recordings.simulated.poisson import poisson_quantiles
from bridge.recordings.simulated.seen import Array
from bridge.recordings.simulated.spec import TIME_BINS, SimulatedRecordings, truth_of
from bridge.recordings.simulated.stream import BINS, Bin, Stage, Stream

LIMIT = np.float32(4)
"""Standard deviations of u at which log rates saturate."""


def limited(u: Array) -> Array:
    """L(u) = 4 tanh(u / 4)."""
    return LIMIT * np.tanh(u / LIMIT)


def record(
    spec: SimulatedRecordings, ids: tuple[str, ...], stages: Sequence[Stage], bin: Bin | None = None
) -> Recordings:
    """Spike counts of the stages' neuroids, float32 [rep, n, neuroid], with the truth they were made from.

    `bin` names the time bin that the stages are of: their counts are drawn apart, and the name says so.
    """
    import pandas as pd

    seeds = np.random.SeedSequence(spec.seed).spawn(8)
    rng = np.random.default_rng(seeds[3] if bin != "late" else seeds[6])
    shared = _shared_gains(spec, len(ids), np.random.default_rng(seeds[7]))
    gains = np.linspace(*spec.gain_variance, len(stages))
    m, counts, tables = spec.modulation, [], []
    for number, ((region, count), stage) in enumerate(zip(spec.neuroids.items(), stages, strict=True)):
        u = stage.drive - stage.drive.mean((0, 1))
        u = u + np.float32(np.sqrt(spec.private_noise)) * rng.standard_normal(u.shape, np.float32)
        rate = np.exp(np.float32(m) * limited(u) - np.float32(m**2 / 2))
        rate *= np.float32(spec.mean_count)
        if gains[number] > 0:
            rate *= np.float32(gains[number]) * rng.standard_gamma(1 / gains[number], u.shape, np.float32)
        if shared is not None:
            part = np.float32(1 + spec.shared_gain_spread * rng.standard_normal(count))
            rate *= np.exp(np.log(shared[number])[:, :, None] * part)
        counts.append(poisson_quantiles(rate, rng.random(rate.shape)))
        ids_of = [f"simulated-{region}-{n:03d}" for n in range(count)]
        animals = [f"simulated {1 + n % spec.subjects}" for n in range(count)]
        tables.append(pd.DataFrame({"neuroid_id": ids_of, "region": region, "subject": animals}))
    truth = {
        "generator": spec.fingerprint(),
        "lambda_asked": dict(zip(spec.neuroids, spec.asked, strict=True)),
        "lambda": {region: stage.realised() for region, stage in zip(spec.neuroids, stages, strict=True)},
        "coupling": {region: stage.coupling for region, stage in zip(spec.neuroids, stages, strict=True)},
        **truth_of(spec),
        **({"time_bin": bin} if bin else {}),
    }
    return Recordings(
        name=f"{spec.name} ({bin})" if bin else spec.name,
        data=np.concatenate(counts, axis=2),
        stimulus_ids=ids,
        neuroids=pd.concat(tables, ignore_index=True),
        simultaneous=spec.simultaneous,
        simulated=True,
        citation=f"SIMULATED ({spec.truth}, seed {spec.seed})",
        truth=truth,
    )


def record_bins(stream: Stream, ids: tuple[str, ...]) -> Recordings:
    """Counts of a stream with time bins as one recordings: `data` are those of both bins, `binned` each's."""
    parts = {bin: record(stream.spec, ids, stream.stages(bin), bin) for bin in BINS}
    truth = dict(parts["early"].truth)
    del truth["time_bin"]
    truth["lambda_late"] = parts["late"].truth["lambda"]
    return replace(
        parts["early"],
        name=stream.spec.name,
        data=parts["early"].data + parts["late"].data,
        truth=truth,
        time_bins=tuple(TIME_BINS[bin] for bin in BINS),
        binned=np.stack([parts[bin].data for bin in BINS]),
    )


def _shared_gains(spec: SimulatedRecordings, n: int, rng: np.random.Generator) -> Array | None:
    """G of every trial, [region, rep, n]: the same for all regions if they were recorded together."""
    variance = spec.of("shared_gain")
    if not variance:
        return None
    apart = 1 if spec.simultaneous else len(spec.neuroids)
    drawn = np.float32(variance) * rng.standard_gamma(1 / variance, (apart, spec.reps, n), np.float32)
    return np.maximum(drawn, np.float32(1e-6)).repeat(len(spec.neuroids) // apart, axis=0)
