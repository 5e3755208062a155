"""Brain-Score's assemblies, in and out.

A `NeuroidAssembly` has one presentation a trial; Recordings have repetitions on the first axis. The n-th presentation
of a stimulus (in the order of its coordinate `repetition` where there is one) becomes repetition n; stimuli that were
shown less often are padded with NaN. The index of a repetition says nothing about time: that trials of different
neuroids are the same moment is known only from a coordinate `trial_id` of the presentations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.recordings import Recordings

Window = tuple[float, float]
SUBJECT_NAMES = ("subject", "animal", "monkey")
"""Coordinates of neuroids that name the animal, in the order in which they are looked for."""


def from_assembly(
    assembly: Any,
    name: str,
    *,
    time_window: Window | None = None,
    time_bins: Sequence[Window] = (),
    citation: str = "",
) -> Recordings:
    """A NeuroidAssembly [presentation, neuroid(, time_bin)] in any order of its dimensions as Recordings.

    Responses are means over the assembly's time bins inside `time_window` (start, end in ms; all where left out), as
    Brain-Score's own benchmarks take them; `time_bins` gives means in further windows. All coordinates of neuroids
    become columns of the neuroid table, ids as text; where two subjects share an id, the subject is put before it.

    Raises InputError for other dimensions, a missing coordinate, or a window that holds no time bin.
    """
    import pandas as pd

    dims = tuple(assembly.dims)
    if set(dims) - {"time_bin"} != {"presentation", "neuroid"}:
        raise InputError(
            f"The assembly {name!r} has dimensions {dims}; expected presentation and neuroid, with or without time_bin."
        )
    values = assembly.transpose("presentation", "neuroid", *(["time_bin"] if "time_bin" in dims else [])).values
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    shown = _coordinates(assembly, "presentation")
    ids = shown.get("stimulus_id", shown.get("image_id"))
    if ids is None:
        raise InputError(
            f"The presentations of assembly {name!r} have no coordinate stimulus_id (they have: {', '.join(shown)}); "
            "add it."
        )
    neuroids = neuroid_table(_coordinates(assembly, "neuroid"), name)
    order, unique = pd.factorize(np.array([str(i) for i in ids], dtype=object))
    place = repetition_index(order, shown.get("repetition"))
    trial = shown.get("trial_id")
    trial_ids = None
    if trial is not None:
        trial_ids = np.full((place.max() + 1, len(unique)), "", dtype=object)
        trial_ids[place, order] = [str(i) for i in trial]
        trial_ids = trial_ids.astype(str)

    def arranged(responses: NDArray[Any]) -> NDArray[Any]:
        out = np.full((place.max() + 1, len(unique), responses.shape[1]), np.nan, responses.dtype)
        out[place, order] = responses
        return out

    bins = windows_of(assembly) if values.ndim == 3 else ()
    if values.ndim == 2:
        if time_window is not None or time_bins:
            raise InputError(f"The assembly {name!r} is not resolved in time; leave time_window and time_bins out.")
        whole = values
    else:
        whole = values[:, :, inside(bins, time_window, name)].mean(axis=2)
    return Recordings(
        name=name,
        data=arranged(whole),
        stimulus_ids=tuple(unique),
        neuroids=neuroids,
        # One presentation is one trial of all neuroids only where its id says so, and animals are never one.
        simultaneous=trial is not None and neuroids["subject"].nunique() == 1,
        citation=citation,
        trial_ids=trial_ids,
        time_bins=tuple((float(start), float(end)) for start, end in time_bins),
        binned=np.stack([arranged(values[:, :, inside(bins, window, name)].mean(axis=2)) for window in time_bins])
        if time_bins
        else None,
    )


def to_assembly(recordings: Recordings, stimulus_set: Any = None) -> Any:
    """Recordings as Brain-Score's NeuronRecordingAssembly [presentation, neuroid(, time_bin)].

    Trials that no neuroid saw are left out. `stimulus_set` (Brain-Score's, such as `bridge.stimuli.brainscore
    .to_brainscore` gives) is attached, and its columns become coordinates of the presentations, as Brain-Score's
    loader does. Without time bins there is no dimension time_bin: Brain-Score then assumes 70-170 ms.
    `from_assembly` of the result gives the same recordings.
    """
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuronRecordingAssembly

    reps, stimuli = np.nonzero(np.isfinite(recordings.data).any(axis=2))
    by_stimulus = np.lexsort((reps, stimuli))
    reps, stimuli = reps[by_stimulus], stimuli[by_stimulus]
    ids = np.array(recordings.stimulus_ids, dtype=object)[stimuli]
    coords: dict[str, Any] = {"stimulus_id": ("presentation", ids), "repetition": ("presentation", reps)}
    if recordings.trial_ids is not None:
        coords["trial_id"] = ("presentation", recordings.trial_ids[reps, stimuli])
    if stimulus_set is not None:
        table = stimulus_set.set_index("stimulus_id").loc[list(ids)]
        coords.update({column: ("presentation", table[column].to_numpy()) for column in table.columns})
    for column in recordings.neuroids.columns:
        coords[column] = ("neuroid", recordings.neuroids[column].to_numpy())
    dims = ["presentation", "neuroid"]
    data = recordings.data[reps, stimuli]
    if recordings.binned is not None:
        data = np.moveaxis(recordings.binned[:, reps, stimuli], 0, -1)
        dims.append("time_bin")
        coords["time_bin_start"] = ("time_bin", [start for start, _ in recordings.time_bins])
        coords["time_bin_end"] = ("time_bin", [end for _, end in recordings.time_bins])
    assembly = NeuronRecordingAssembly(data, coords=coords, dims=dims)
    assembly.name = recordings.name
    if stimulus_set is not None:
        assembly.attrs["stimulus_set"] = stimulus_set
        assembly.attrs["stimulus_set_identifier"] = stimulus_set.identifier
    return assembly


def repetition_index(stimulus: NDArray[np.int_], repetition: Any = None) -> NDArray[np.int_]:
    """For each presentation how many presentations of its stimulus come before it, [presentation].

    Before means a lower `repetition` where that is given, and position where it is not or where two are equal.

    >>> repetition_index(np.array([0, 1, 0, 0])).tolist()
    [0, 0, 1, 2]
    """
    n = len(stimulus)
    by = np.lexsort((np.arange(n) if repetition is None else np.asarray(repetition), stimulus))
    ordered = stimulus[by]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    place = np.empty(n, int)
    place[by] = np.arange(n) - np.repeat(first, np.diff(np.r_[first, n]))
    return place


def neuroid_table(coordinates: dict[str, NDArray[Any]], name: str) -> Any:
    """The neuroid table of Recordings from the coordinates of an assembly's neuroids.

    Raises InputError where ids or regions are missing, or an id stands twice within a subject.
    """
    import pandas as pd

    table = pd.DataFrame({key: list(values) for key, values in coordinates.items()})
    for needed in ("neuroid_id", "region"):
        if needed not in table:
            raise InputError(
                f"The neuroids of assembly {name!r} have no coordinate {needed} (they have: "
                f"{', '.join(map(str, table.columns))}); add it."
            )
    subject = next((key for key in SUBJECT_NAMES if key in table), None)
    table["subject"] = "unknown" if subject is None else table[subject].astype(str)
    for key in ("neuroid_id", "region", "layer", "session"):
        if key in table:
            table[key] = table[key].astype(str)
    if table["neuroid_id"].duplicated().any():
        table["neuroid_id"] = table["subject"] + "-" + table["neuroid_id"]
    if (twice := table["neuroid_id"].duplicated()).any():
        raise InputError(
            f"The neuroids of assembly {name!r} hold the id {table['neuroid_id'][twice].iloc[0]!r} twice; give every "
            "neuroid an id of its own."
        )
    return table[["neuroid_id", "region", "subject", *table.columns.difference(["neuroid_id", "region", "subject"])]]


def windows_of(assembly: Any) -> tuple[Window, ...]:
    """(start, end) in ms of each time bin of an assembly."""
    at = _coordinates(assembly, "time_bin")
    if "time_bin_start" not in at or "time_bin_end" not in at:
        raise InputError("The time bins of the assembly have no coordinates time_bin_start and time_bin_end; add them.")
    return tuple((float(a), float(b)) for a, b in zip(at["time_bin_start"], at["time_bin_end"], strict=True))


def inside(bins: Sequence[Window], window: Window | None, name: str) -> NDArray[np.int_]:
    """The time bins that lie inside a window, all for None. Raises InputError where there is none."""
    if window is None:
        return np.arange(len(bins))
    found = [at for at, (start, end) in enumerate(bins) if start >= window[0] and end <= window[1]]
    if not found:
        raise InputError(
            f"Recordings {name!r} have no time bin inside {window[0]:g}-{window[1]:g} ms; theirs span "
            f"{min(start for start, _ in bins):g}-{max(end for _, end in bins):g} ms."
        )
    return np.array(found)


def _coordinates(assembly: Any, dim: str) -> dict[str, NDArray[Any]]:
    """All coordinates along one dimension, also those inside xarray's multi-index, by name."""
    from brainscore_core.supported_data_standards.brainio.assemblies import walk_coords

    return {str(name): np.asarray(values) for name, dims, values in walk_coords(assembly) if tuple(dims) == (dim,)}
