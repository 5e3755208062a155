"""What is still missing in a study: its parts are loaded one by one, as a run would, and nothing is computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bridge.errors import UserError

if TYPE_CHECKING:
    from bridge.recordings.base import RecordingsSpec
    from bridge.stimuli.stimulus_set import StimulusSet

CONFIG = "study.yaml"


class Finding(NamedTuple):
    """One part of a study: whether it is there, and what it is or what to do."""

    part: str
    there: bool
    told: str


def findings(folder: Path) -> Iterator[Finding]:
    """Every part of the study in `folder`, as it is now."""
    from comparisons import config as configs

    if not folder.is_dir():
        yield Finding("folder", False, f"{folder} is no folder; `ventral init {folder}` makes it")
        return
    with contextlib.chdir(folder):
        try:
            config = configs.load(CONFIG)
        except UserError as error:
            yield Finding(CONFIG, False, str(error))
            return
        yield Finding(CONFIG, True, f"{len(config.models)} models, {len(config.comparisons)} comparisons")
        stimuli: StimulusSet | None = None
        try:
            stimuli = config.stimuli.load()
            yield Finding("stimuli", True, f"{len(stimuli)} images")
        except UserError as error:
            yield Finding("stimuli", False, str(error))
        for model in config.models:
            try:
                blocks = len(model.load().blocks)
                yield Finding(f"model {model.name}", True, f"{blocks} residual blocks, {model.shown_as}")
            except UserError as error:
                yield Finding(f"model {model.name}", False, str(error))
        for recordings in config.recordings:
            yield _recorded(recordings, stimuli)


def _recorded(spec: RecordingsSpec, stimuli: StimulusSet | None) -> Finding:
    part = f"recordings {spec.name}"
    try:
        spec.fingerprint()
        if stimuli is None:
            return Finding(part, True, "there; whether their ids are those of the stimuli is seen once these are there")
        told = []
        for one in spec.load(stimuli):
            reps = f", up to {len(one.data)} repetitions" if hasattr(one, "data") else ""
            regions = one.regions if hasattr(one, "regions") else (one.region,)
            left = f"; left out: {'; '.join(one.dropped)}" if one.dropped else ""
            told.append(f"{', '.join(regions)}: {len(one.stimulus_ids)} stimuli{reps}{left}")
    except UserError as error:
        return Finding(part, False, str(error))
    return Finding(part, True, "; ".join(told))
