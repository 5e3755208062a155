"""The responses of a run's recordings as one artefact, which comparisons with single neuroids share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.store import write_atomically

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings
    from comparisons.plan import Planner, Progress


def add_responses(planner: Planner, title: str, names: Sequence[str] | None = None) -> str:
    """A stage that holds the responses of the recordings `names` (default: all) to stimuli of the config; its id.

    Raises ConfigError where there are no recordings, or none of a name.
    """
    config = planner.config
    if not config.recordings:
        raise ConfigError(f"comparisons: {title} needs recordings; add at least one under `recordings`.")
    known = [_name(spec) for spec in config.recordings]
    for name in names or ():
        if name not in known:
            raise ConfigError(f"comparisons: there are no recordings {name!r}; {did_you_mean(name, known)}.")
    chosen = [spec for spec in config.recordings if names is None or _name(spec) in names]

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.recordings.recordings import Recordings

        found: list[Recordings] = []
        for done, spec in enumerate(chosen):
            for item in spec.load(planner.stimuli):
                if not isinstance(item, Recordings):
                    raise InputError(
                        f"Recordings {item.name!r} hold RDMs only, and encoding needs the responses of neuroids; "
                        "name the others under the comparison's `recordings`, or compare these by kind: rsa."
                    )
                found.append(item)
            progress((done + 1) / len(chosen))
        save_responses(folder, found)

    inputs = {
        "recordings": [[_name(spec), spec.fingerprint()] for spec in chosen],
        "stimuli": config.stimuli.fingerprint(),
    }
    code = (__name__, "bridge.recordings", "bridge.stimuli")
    return planner.add(f"responses for {title}", "responses", inputs, build, libraries=("numpy",), code=code)


def _name(spec: Any) -> str:
    """The display name that every kind of recordings has."""
    return spec.name


def save_responses(folder: Path, recordings: list[Recordings]) -> None:
    """Responses as responses.npz (one array [rep, n, neuroid] a recordings) and responses.json (everything else)."""
    np.savez(folder / "responses.npz", **{str(number): one.data for number, one in enumerate(recordings)})
    about = [
        {
            "name": one.name,
            "stimulus_ids": list(one.stimulus_ids),
            "neuroids": {key: one.neuroids[key].astype(str).tolist() for key in ("neuroid_id", "region", "subject")},
            "simulated": one.simulated,
            "citation": one.citation,
            "dropped": list(one.dropped),
        }
        for one in recordings
    ]
    write_atomically(folder / "responses.json", json.dumps(about))


def load_responses(folder: Path) -> list[Recordings]:
    """What `save_responses` wrote."""
    import pandas as pd

    from bridge.recordings.recordings import Recordings

    found = []
    with np.load(folder / "responses.npz", allow_pickle=False) as arrays:
        for number, about in enumerate(json.loads((folder / "responses.json").read_text())):
            about["neuroids"] = pd.DataFrame(about["neuroids"])
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in about.items()
            }
            found.append(Recordings(**fields, data=arrays[str(number)]))
    return found
