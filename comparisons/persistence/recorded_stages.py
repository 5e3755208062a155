"""The stages of `kind: persistence` for recordings: the analyst's bands, the statistics, results and verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.recordings.selection import layer_clause
from bridge.store import write_atomically
from comparisons.features import Features, site_features
from comparisons.persistence.rdm_only import judged_rdms
from comparisons.persistence.recorded import Bands, RecordedPersistence, recorded_persistence, verdict_on
from comparisons.responses import comparable

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.recordings.base import RecordingsSpec
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from comparisons.kinds.persistence import ComplexBand, PersistenceComparison
    from comparisons.plan import Planner, Progress

RECORDED = "recorded.json"
COMPONENTS = 24
"""Components of Gabor amplitudes that are the simple band of real recordings: as many as a simulated stream has."""


def add_recordings(planner: Planner, spec: PersistenceComparison) -> list[str]:
    """A stage for each of the recordings with single neuroids and images; the ids.

    Raises ConfigError for names that do not exist.
    """
    if not planner.config.recordings or spec.recordings == []:
        return []
    chosen, left_out = comparable(planner.config, "kind: persistence", spec.recordings)
    return [_add_one(planner, spec, one, left_out if number == 0 else ()) for number, one in enumerate(chosen)]


def _add_one(planner: Planner, spec: PersistenceComparison, one: RecordingsSpec, left_out: tuple[str, ...]) -> str:
    config = planner.config
    band = spec.complex
    model = _model(planner, band) if band is not None else None
    features = site_features(planner, model, band.sites) if band is not None and model is not None else None

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.recordings.recordings import Recordings

        results: list[dict[str, Any]] = []
        verdicts, dropped, kept = [], list(left_out), {}
        only_rdms: dict[str, list[RegionRDMs]] = {}
        for recordings in one.load(planner.stimuli):
            if not isinstance(recordings, Recordings):
                only_rdms.setdefault(recordings.name, []).append(recordings)
                continue
            bands = _bands(planner, spec, one, recordings, features, model, needed)
            progress(0.3)
            table = planner.stimuli.table.loc[list(recordings.stimulus_ids)]
            found = recorded_persistence(recordings, table, bands, draws=spec.draws, seed=config.seed)
            verdict = verdict_on(found, recordings.name, simulated=recordings.simulated)
            told = (*verdict.reasons, bands.told, layer_clause([recordings]))
            verdicts.append(verdict.model_copy(update={"reasons": tuple(filter(None, told))}).model_dump())
            results += region_results(found, recordings, bands, spec.draws, config.seed)
            dropped += [f"persistence of {recordings.name}: no {name}: {why}" for name, why in found.untestable.items()]
            kept[recordings.name] = as_curves(found, recordings.simulated)
            progress(1.0)
        for regions in only_rdms.values():
            own = [_bands(planner, spec, one, region, features, model, needed) for region in regions]
            more, verdict, left = judged_rdms(regions, own, planner.stimuli, draws=spec.draws, seed=config.seed)
            results, dropped = results + more, dropped + left
            verdicts.append(verdict.model_dump())
        write_atomically(folder / RECORDED, json.dumps(kept, indent=1))
        content = {"results": results, "verdicts": verdicts, "dropped": dropped}
        write_atomically(folder / "results.json", json.dumps(content))

    inputs = {
        "recordings": [one.name, one.fingerprint()],
        "stimuli": config.stimuli.fingerprint(),
        "complex": band.content() if band is not None else None,
        "model": model.fingerprint() if model is not None else None,
        "draws": spec.draws,
        "simplicity": [spec.simplicity_images, spec.image_seed],
        "seed": config.seed,
    }
    return planner.add(
        f"persistence of {one.name}",
        "persistence-recorded",
        inputs,
        build,
        needs=features.needs if features is not None else (),
        libraries=("numpy", "scipy"),
        code=(__name__, "bridge.recordings", "bridge.stimuli", "comparisons.feature_simplicity"),
    )


def _model(planner: Planner, band: ComplexBand) -> ModelSpec:
    """The model of the complex band. Raises ConfigError for one that the config does not have."""
    from bridge.errors import ConfigError, did_you_mean

    if band.model not in planner.models:
        raise ConfigError(f"complex: names the model {band.model!r}; {did_you_mean(band.model, planner.models)}.")
    return planner.models[band.model]


def _bands(
    planner: Planner,
    spec: PersistenceComparison,
    one: RecordingsSpec,
    recordings: Recordings | RegionRDMs,
    features: Features | None,
    model: ModelSpec | None,
    needed: Mapping[str, Path],
) -> Bands:
    """The analyst's bands for the stimuli of these recordings."""
    from bridge.recordings.simulated import SimulatedRecordings, Stream, analyst_bands
    from bridge.recordings.simulated.seen import gabor_amplitudes, grey_images, seen, whitened

    if isinstance(one, SimulatedRecordings):
        made = analyst_bands(Stream.of(one, seen(planner.stimuli, one.simple_dimensions)))
        told = "bands: the simulated stream's own simple and complex features"
        return Bands(np.asarray(made.simple, np.float64), np.asarray(made.complex, np.float64), told)
    row_of = {name: row for row, name in enumerate(planner.stimuli.ids)}
    stimuli = planner.stimuli.select([row_of[name] for name in recordings.stimulus_ids])
    dimensions = min(COMPONENTS, max(2, len(stimuli) // 8))
    simple = whitened(gabor_amplitudes(grey_images(stimuli)), dimensions).astype(np.float64)
    if features is None or model is None or spec.complex is None:
        why = "no complex features were named, beside which simple ones could be unique; name `complex`"
        return Bands(simple, None, "", why)
    complex_, told = _complex(planner, spec, spec.complex, recordings, features, model, needed)
    return Bands(simple, complex_, f"bands: {dimensions} components of Gabor amplitudes, and {told}")


def _complex(
    planner: Planner,
    spec: PersistenceComparison,
    band: ComplexBand,
    recordings: Recordings | RegionRDMs,
    features: Features,
    model: ModelSpec,
    needed: Mapping[str, Path],
) -> tuple[np.ndarray, str]:
    """The features of a network's sites that are not simple (Gabor simplicity below .5, scored on other images)."""
    from comparisons.feature_simplicity import feature_simplicity
    from probes.simplicity import SIMPLE_FROM

    backbone = model.load()
    device = planner.config.capture.resolved_device()
    scores = feature_simplicity(
        backbone, {site: lambda tokens: tokens for site in features.sites}, images=spec.simplicity_images,
        image_seed=spec.image_seed, seed=planner.config.seed, device=device,
    )  # fmt: skip
    columns, total = [], 0
    for site in features.sites:
        values = np.asarray(features.read(needed, site, recordings.stimulus_ids, band.pool), np.float64)
        total += values.shape[1]
        columns.append(values[:, ~(scores[site] >= SIMPLE_FROM)])
    joined = np.concatenate(columns, axis=1)
    told = (
        f"{joined.shape[1]} of {total} units of {model.name} at {', '.join(features.sites)} whose Gabor simplicity is "
        f"below {SIMPLE_FROM:g}"
    )
    return joined, told


def region_results(
    found: RecordedPersistence, recordings: Recordings, bands: Bands, draws: int, seed: int
) -> list[dict[str, Any]]:
    """phi and D of every region as results."""
    about = {
        "comparison": "persistence",
        "model": "simple features",
        "role": "reference",
        "site": None,
        "recordings": recordings.name,
        "n_subjects": int(recordings.neuroids["subject"].nunique()),
        "n_draws": draws,
        "seed": seed,
        "simulated": recordings.simulated,
        "dropped": list(recordings.dropped),
    }
    results = []
    for region, one in found.phi.items():
        notes = [f"{one.reliable} of {one.neuroids} neuroids are reliable", bands.told]
        if one.leak_bound > 0:
            notes.append(f"up to {one.leak_bound:.3f} could be what the complex band lacks")
        results.append({**about, "measure": "phi, unique simple share", "region": region, "interval": one.interval,
                        "estimate": one.estimate.value, "n_stimuli": found.natural, "notes": notes})  # fmt: skip
    for region, d in found.d.items():
        notes = [
            f"R2 {d.r2:.3f}; of simple neuroids alone {d.reference:.3f}, of complex ones {d.complex_only:.3f}",
            bands.told,
        ]
        results.append({**about, "measure": "D of orientation", "region": region, "estimate": d.d.value,
                        "interval": (d.d.lower, d.d.upper), "n_stimuli": found.gratings, "notes": notes})  # fmt: skip
    return results


def as_curves(found: RecordedPersistence, simulated: bool) -> dict[str, Any]:
    """phi and D by region with their intervals, as JSON values, for figures."""
    phi = {name: [one.estimate.value, *one.interval, one.leak_bound] for name, one in found.phi.items()}
    d = {name: [one.d.value, one.d.lower, one.d.upper] for name, one in found.d.items()}
    return {"regions": list(found.regions), "phi": phi, "D": d, "simulated": simulated}
