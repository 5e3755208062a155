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
    from bridge.recordings.base import RecordingsSpec
    from bridge.recordings.recordings import Recordings
    from comparisons.config import Config
    from comparisons.plan import Planner, Progress


def comparable(
    config: Config, title: str, names: Sequence[str] | None = None, *, images: bool = True
) -> tuple[list[RecordingsSpec], tuple[str, ...]]:
    """The recordings of a config that a comparison can use, of those named (default: all), and a sentence for each
    that is left out because it comes without images, where the comparison needs `images`.

    Raises ConfigError where there are none, or none of a name, or where one that was named cannot be used.
    """
    if not config.recordings:
        raise ConfigError(f"comparisons: {title} needs recordings; add at least one under `recordings`.")
    known = [spec.name for spec in config.recordings]
    for name in names or ():
        if name not in known:
            raise ConfigError(f"comparisons: there are no recordings {name!r}; {did_you_mean(name, known)}.")
    asked = [spec for spec in config.recordings if names is None or spec.name in names]
    chosen = [spec for spec in asked if spec.images() or not images]
    why = f"come without their images, which {title} shows to networks: they are for variability alone"
    left_out = [spec.name for spec in asked if spec not in chosen]
    if left_out and (names is not None or not chosen):
        listed = ", ".join(map(repr, left_out))
        raise ConfigError(f"comparisons: the recordings {listed} {why}; name others under `recordings`.")
    return chosen, tuple(f"recordings {name!r} {why}" for name in left_out)


def add_responses(planner: Planner, title: str, names: Sequence[str] | None = None, *, images: bool = True) -> str:
    """A stage that holds the responses of the recordings `names` (default: all) to stimuli of the config; its id.

    Recordings that come without `images` are left out where they are needed (`comparable` says which). Raises
    ConfigError where there are no recordings, or none of a name.
    """
    chosen, _ = comparable(planner.config, title, names, images=images)

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.recordings.recordings import Recordings

        found: list[Recordings] = []
        for done, spec in enumerate(chosen):
            for item in spec.load(planner.stimuli):
                if not isinstance(item, Recordings):
                    raise InputError(
                        f"Recordings {item.name!r} hold RDMs only, and {title} needs the responses of neuroids; "
                        "name the others under the comparison's `recordings`, or compare these by kind: rsa."
                    )
                found.append(item)
            progress((done + 1) / len(chosen))
        save_responses(folder, found)

    inputs = {
        "recordings": [[spec.name, spec.fingerprint()] for spec in chosen],
        "stimuli": planner.config.stimuli.fingerprint(),
    }
    code = (__name__, "bridge.recordings", "bridge.stimuli")
    return planner.add(f"responses for {title}", "responses", inputs, build, libraries=("numpy",), code=code)


def save_responses(folder: Path, recordings: Sequence[Recordings]) -> None:
    """All of some recordings: arrays in responses.npz, named `NUMBER field`, everything else in responses.json.

    Of `truth`, values that are arrays stand among the arrays; the others must be JSON.
    """
    arrays: dict[str, np.ndarray] = {}
    about = []
    for number, one in enumerate(recordings):
        fields = dict(one.__dict__)
        table = fields.pop("neuroids")
        truth = fields.pop("truth")
        fields["truth"] = {key: value for key, value in truth.items() if not isinstance(value, np.ndarray)}
        fields["neuroids"] = {str(name): _column(table[name]) for name in table.columns}
        for key, value in {**fields, **{f"truth {key}": value for key, value in truth.items()}}.items():
            if isinstance(value, np.ndarray):
                arrays[f"{number} {key}"] = value
        about.append({key: value for key, value in fields.items() if not isinstance(value, np.ndarray)})
    np.savez(folder / "responses.npz", **arrays)
    write_atomically(folder / "responses.json", json.dumps(about))


def load_responses(folder: Path) -> list[Recordings]:
    """What `save_responses` wrote."""
    import pandas as pd

    from bridge.recordings.recordings import Recordings

    about = json.loads((folder / "responses.json").read_text())
    with np.load(folder / "responses.npz", allow_pickle=False) as arrays:
        for name in arrays.files:
            number, _, key = name.partition(" ")
            of = about[int(number)]
            if key.startswith("truth "):
                of["truth"][key.removeprefix("truth ")] = arrays[name]
            else:
                of[key] = arrays[name]
    for of in about:
        of["neuroids"] = pd.DataFrame(of["neuroids"])
        for key in ("stimulus_ids", "dropped"):
            of[key] = tuple(of[key])
        of["time_bins"] = tuple((float(start), float(end)) for start, end in of["time_bins"])
    return [Recordings(**of) for of in about]


def _column(values: Any) -> list[Any]:
    """A column of a table as JSON: numbers as they are, everything else as text (empty where it is missing)."""
    if values.dtype.kind in "fiub":
        return values.tolist()
    return values.fillna("").astype(str).tolist()
