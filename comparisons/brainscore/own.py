"""Own recordings as a Brain-Score benchmark, offline.

A benchmark is Brain-Score's own `NeuralBenchmark`: responses averaged over repetitions, its metric, its ceiling, its
normalisation. Everything that names it holds a hash of the responses and images, because Brain-Score keeps ceilings and
converted images by name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.store import digest

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.stimulus_set import StimulusSet

METRICS = ("pls", "ridge", "neuron_to_neuron", "rdm")
"""Brain-Score's metrics that own recordings are offered with; all but `rdm` are fitted and judged on its ten splits."""
WINDOW = (70, 170)
"""Time bin in ms that a benchmark states where recordings do not: only models with a time of their own heed it."""
DEGREES = 8.0
"""Width in degrees of images whose width is not known; a model of the same width sees them as they are."""


def benchmark_of(
    recordings: Recordings,
    region: str,
    metric: str = "pls",
    *,
    stimuli: StimulusSet,
    folder: Path | None = None,
    stratify: str | None = None,
    degrees: float | None = None,
) -> Any:
    """The responses of one region as a Brain-Score `NeuralBenchmark`: `benchmark(model)` gives its score.

    `stimuli` hold the images that `recordings` name; they are written to `folder` as PNG for models that look at
    them, and need not be for features that are ready (`PrecomputedFeatures`). `stratify` is the column of the stimulus
    table whose values are balanced over splits. `degrees` is the width of the images (default: the stimulus set's,
    else 8).

    The metric is `load_metric(metric)` with seed and splits as Brain-Score has them. The ceiling of `rdm` is the
    consistency of RDMs of two halves of the repetitions, of all others `internal_consistency` (Pearson r of halves),
    both over ten draws with Spearman-Brown; it is NaN where no stimulus was repeated.

    Equal to the assembly that `neural_common.average_repetition` gives, and so to its splits. Raises ConfigError for
    an unknown region, metric or column; InputError where a neuroid lacks a stimulus (`complete` leaves it out), too few
    stimuli can be split, or ids are not among `stimuli`.
    """
    from bridge.brainscore import imported

    brainscore = imported()
    from brainscore_vision.benchmark_helpers.neural_common import NeuralBenchmark

    if metric not in METRICS:
        raise ConfigError(f"Own recordings have no Brain-Score metric {metric!r}; {did_you_mean(metric, METRICS)}.")
    one = of_region(recordings, region)
    check_complete(one)
    # Brain-Score averages by groups, which come out sorted by id; the splits depend on that order.
    one = one.select(stimuli=np.argsort(np.array(one.stimulus_ids, dtype=object), kind="stable"))
    shown = stimuli.select(stimuli.rows_of(one.stimulus_ids))
    strata = None if stratify is None else strata_of(shown, stratify)
    if metric != "rdm":
        from comparisons.encoding import brainscore_splits

        brainscore_splits(len(shown), strata)  # says in a sentence what is wrong with them
    width = degrees or shown.degrees or DEGREES
    images = stimulus_set_of(shown, folder)
    if stratify is not None:
        images[stratify] = strata
    trials, _ = ceiling_trials(one)
    repeated = trials_assembly(one, trials, strata, stratify)
    assembly = trials_assembly(one, mean_responses(one)[None], strata, stratify)
    assembly.attrs.update(stimulus_set=images, stimulus_set_identifier=images.identifier)
    if metric == "rdm":
        from brainscore_vision.metrics.rdm.metric import RDMMetric

        similarity = brainscore.load_metric("rdm")
        ceiling = brainscore.load_ceiling("internal_consistency", consistency_metric=RDMMetric())
    else:
        similarity = brainscore.load_metric(metric, crossvalidation_kwargs={"stratification_coord": stratify})
        ceiling = brainscore.load_ceiling("internal_consistency")
    return NeuralBenchmark(
        identifier=f"{named(one)}.{region}-{metric}{'' if stratify is None else f'-{plain(stratify)}'}",
        version=1,
        assembly=assembly,
        similarity_metric=similarity,
        visual_degrees=width,
        number_of_trials=max(1, int(np.isfinite(one.data).any(axis=2).sum(axis=0).max())),
        ceiling_func=lambda: ceiling(repeated) if len(trials) > 1 else no_ceiling(),
        parent=region,
        bibtex=one.citation or None,
    )


def of_region(recordings: Recordings, region: str) -> Recordings:
    """The neuroids of one region. Raises ConfigError, with the nearest name, where there is none."""
    if region not in recordings.regions:
        known = did_you_mean(region, recordings.regions)
        raise ConfigError(f"Recordings {recordings.name!r} have no region {region!r}; {known}.")
    return recordings.region(region)


def complete(recordings: Recordings) -> Recordings:
    """The recordings without neuroids that lack a response to any stimulus, which `dropped` says.

    Raises InputError where none is left.
    """
    whole = np.isfinite(recordings.data).any(axis=0).all(axis=0)
    if whole.all():
        return recordings
    gone = f"{int((~whole).sum())} of {len(whole)} neuroids, which lack responses to some of the stimuli"
    if not whole.any():
        raise InputError(
            f"Every neuroid of recordings {recordings.name!r} lacks a response to some of the "
            f"{len(recordings.stimulus_ids)} stimuli; Brain-Score needs all: give stimuli that were shown to all."
        )
    return replace(recordings.select(neuroids=whole), dropped=(*recordings.dropped, gone))


def check_complete(one: Recordings) -> None:
    """Raise InputError unless every neuroid has a response to every stimulus: Brain-Score's maps take no NaN."""
    lacking = ~np.isfinite(one.data).any(axis=0).all(axis=0)
    if lacking.any():
        raise InputError(
            f"{int(lacking.sum())} of {len(lacking)} neuroids of recordings {one.name!r} lack responses to some of the "
            f"{len(one.stimulus_ids)} stimuli (the first: {one.neuroids['neuroid_id'][lacking].iloc[0]!r}), and "
            "Brain-Score needs all; leave them out (`complete`), or give stimuli that were shown to all."
        )


def mean_responses(one: Recordings) -> np.ndarray:
    """Responses averaged over the repetitions that were shown, float64 [n, neuroid]."""
    from comparisons.encoding import nanmean

    return nanmean(one.data.astype(np.float64))


def ceiling_trials(one: Recordings) -> tuple[np.ndarray, str]:
    """Responses float64 [repetition, n, neuroid] from which a split-half ceiling is drawn, and what was done to them.

    The trials as they are, where each half that Brain-Score draws of their numbers holds all stimuli. Otherwise its
    classes would stop, so every stimulus's own repetitions are dealt into two halves, even and odd (as Brain-Score
    does for `Cowley2026`), each then averaged. One repetition, if some stimulus was shown only once: no ceiling.
    """
    from sklearn.model_selection import ShuffleSplit

    from comparisons.encoding import nanmean

    data = one.data.astype(np.float64)
    known = np.isfinite(data)
    times = known.sum(axis=0)
    if len(data) < 2 or times.min() < 2:
        return data[:1], "no ceiling: some stimuli were shown once"
    halves = ShuffleSplit(n_splits=10, train_size=0.5, random_state=1).split(np.zeros(len(data)))
    if all(known[half].any(axis=0).all() for pair in halves for half in pair):
        return data, ""
    order = np.cumsum(known, axis=0) - 1  # the how-manyth repetition of its stimulus and neuroid a trial is
    dealt = [np.where(known & (order % 2 == half), data, np.nan) for half in (0, 1)]
    return np.stack(
        [nanmean(values) for values in dealt]
    ), "ceiling: repetitions differ in number, so each stimulus's were dealt into even and odd ones"


def trials_assembly(one: Recordings, trials: np.ndarray, strata: Sequence[Any] | None, stratify: str | None) -> Any:
    """Responses [repetition, n, neuroid] as Brain-Score's assembly [presentation, neuroid] with one time bin.

    Presentations that no neuroid has are left out; a single repetition has no coordinate `repetition`, as averages.
    """
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuronRecordingAssembly

    rows, reps = np.nonzero(np.isfinite(trials).any(axis=2).T)
    ids = np.array(one.stimulus_ids, dtype=object)[rows]
    coords: dict[str, Any] = {"stimulus_id": ("presentation", ids), "stimulus_row": ("presentation", rows)}
    if strata is not None and stratify is not None:
        coords[stratify] = ("presentation", np.asarray(strata, dtype=object)[rows])
    if len(trials) > 1:
        coords["repetition"] = ("presentation", reps)
    for column in ("neuroid_id", "region", "subject"):
        coords[column] = ("neuroid", one.neuroids[column].astype(str).to_numpy(dtype=object))
    start, end = WINDOW
    coords |= {"time_bin_start": ("time_bin", [start]), "time_bin_end": ("time_bin", [end])}
    dims = ["presentation", "neuroid", "time_bin"]
    return NeuronRecordingAssembly(trials[reps, rows][:, :, None], coords=coords, dims=dims).squeeze("time_bin")


def stimulus_set_of(stimuli: StimulusSet, folder: Path | None) -> Any:
    """A stimulus set as Brain-Score's, its identifier with the hash of the images; files only where there is a folder.

    Its width stands in the benchmark, and Brain-Score refuses one that stands in both.
    """
    from bridge.stimuli.brainscore import to_brainscore

    identifier = f"{plain(stimuli.name)}-{stimuli.content_hash[:12]}"
    if folder is not None:
        converted = to_brainscore(stimuli, folder)
    else:
        from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet as BrainScoreSet

        converted = BrainScoreSet(stimuli.table.reset_index())
        converted.stimulus_paths = {}
    if "degrees" in converted:
        paths = converted.stimulus_paths
        converted = converted.drop(columns="degrees")
        converted.stimulus_paths = paths
    converted.identifier = identifier
    return converted


def strata_of(stimuli: StimulusSet, column: str) -> list[str]:
    """The values of a column of the stimulus table as text. Raises ConfigError where there is no such column."""
    if column not in stimuli.table:
        known = did_you_mean(column, map(str, stimuli.table.columns))
        raise ConfigError(f"stratify: the stimuli {stimuli.name!r} have no column {column!r}; {known}.")
    return [str(value) for value in stimuli.table[column]]


def named(one: Recordings) -> str:
    """A name for what is made of some recordings, with a hash of their responses, stimuli and neuroids."""
    sha = hashlib.sha256(np.ascontiguousarray(one.data).tobytes()).hexdigest()
    of = [
        sha,
        list(one.data.shape),
        str(one.data.dtype),
        one.stimulus_ids,
        list(one.neuroids["neuroid_id"].astype(str)),
    ]
    return f"{plain(one.name)}-{digest(of)[:12]}"


def plain(text: str) -> str:
    """A name without what identifiers and files cannot hold: letters, digits and dashes."""
    return "".join(sign if sign.isalnum() else "-" for sign in text).strip("-") or "unnamed"


def no_ceiling() -> Any:
    """The ceiling of a benchmark without repetitions: NaN."""
    from brainscore_core.metrics import Score

    return Score(np.nan)
