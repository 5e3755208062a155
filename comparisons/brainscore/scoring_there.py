"""A plugin on one's own recordings, here and in the environment that it is checked in: the scores must be the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError
from bridge.store import digest

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.stimulus_set import StimulusSet

SAME = 1e-6
"""Scores that differ by less are the same."""


def recordings_of(config: Any) -> tuple[StimulusSet, Recordings]:
    """A config's stimuli, and its first recordings of neuroids in a region of the ventral stream.

    Raises InputError where it has none.
    """
    from bridge.recordings.recordings import Recordings
    from comparisons.brainscore.own import complete
    from comparisons.brainscore.submission import REGIONS

    for part in (config.stimuli, *config.recordings):
        part.prepare()
    stimuli = config.stimuli.load()
    for spec in config.recordings:
        for one in spec.load(stimuli):
            if isinstance(one, Recordings) and set(one.regions) & set(REGIONS):
                return stimuli, complete(one)
    raise InputError(f"The config {config.name!r} has no recordings of V1, V2, V4 or IT to score a plugin on.")


def written(stimuli: StimulusSet, recordings: Recordings, folder: Path) -> dict[str, Any]:
    """Each region's benchmark by this project's own making, and the same for the program that scores there, in
    `folder`."""
    from comparisons.brainscore.own import benchmark_of, ceiling_trials, mean_responses, of_region
    from comparisons.brainscore.submission import REGIONS

    benchmarks: dict[str, Any] = {}
    for region in [name for name in recordings.regions if name in REGIONS]:
        made = benchmark_of(recordings, region, "pls", stimuli=stimuli, folder=folder / "images")
        benchmarks[region] = made
        one = of_region(recordings, region)
        one = one.select(stimuli=np.argsort(np.array(one.stimulus_ids, dtype=object), kind="stable"))
        np.savez(
            folder / f"{region}.npz",
            averaged=mean_responses(one),
            trials=ceiling_trials(one)[0],
            neuroid_id=np.array(one.neuroids["neuroid_id"].astype(str).tolist()),
        )
        shown = made._assembly.stimulus_set
        ids = list(one.stimulus_ids)
        about = {
            "ids": ids,
            "files": [str(shown.get_stimulus(name)) for name in ids],
            "degrees": made._visual_degrees,
            "digest": digest([shown.identifier, ids]),
        }
        (folder / "stimuli.json").write_text(json.dumps(about))
    return benchmarks


def scores_here(plugin: Path, identifiers: list[str], benchmarks: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Brain-Score's score of each model on each region's benchmark, in this process."""
    from comparisons.brainscore.verifying import imported

    with uncached(), imported(plugin) as model:
        return {
            identifier: {
                region: float(benchmark(model.commitment(identifier))) for region, benchmark in benchmarks.items()
            }
            for identifier in identifiers
        }


@contextmanager
def uncached() -> Iterator[None]:
    """Brain-Score's caches are off: their keys hold neither weights nor data."""
    before = os.environ.get("RESULTCACHING_DISABLE")
    os.environ["RESULTCACHING_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["RESULTCACHING_DISABLE"]
        else:
            os.environ["RESULTCACHING_DISABLE"] = before
