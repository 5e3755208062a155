"""Tables of recordings, long and wide, as Recordings: what `kind: table` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError, did_you_mean
from bridge.recordings.recordings import Recordings
from bridge.recordings.selection import missing_regions

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import RegionRDMs
    from bridge.recordings.table import TableDescription

NEUROID_COLUMNS = ("neuroid_id", "region", "subject", "layer", "session")
NEEDED = ("stimulus_id", "neuroid_id", "region", "subject")


def long(path: Path, described: TableDescription, name: str) -> list[Recordings | RegionRDMs]:
    """A table with a row for each value as Recordings, one a subject where trials are named."""
    columns = described.columns(*NEEDED, "repetition", "trial_id", "layer", "session")
    table = _read(path, columns, optional=("layer",))
    values = _numbers(path, table, described.value)
    if described.time_bin is not None:
        starts, ends = (_numbers(path, table, column) for column in described.time_bin)
    else:
        starts = ends = np.zeros(len(table))
    keys = _keyed(table, columns, described.constants)
    known = np.isfinite(values)
    notes = (f"{(~known).sum()} of {len(known)} rows, whose value is empty",) if not known.all() else ()
    keys = keys[known].assign(value=values[known], start=starts[known], end=ends[known])
    if not len(keys):
        raise InputError(f"The table {path} has no rows with a value; give at least one.")
    parts = keys.groupby("subject", sort=False) if "trial_id" in keys else [("", keys)]
    several = "trial_id" in keys and keys["subject"].nunique() > 1
    return [
        _long_part(path, part, described, f"{name} {subject}" if several else name, notes) for subject, part in parts
    ]


def _long_part(
    path: Path, keys: pd.DataFrame, described: TableDescription, name: str, notes: tuple[str, ...]
) -> Recordings:
    import pandas as pd

    neuroids, which = _neuroids(path, keys)
    order, ids = pd.factorize(keys["stimulus_id"])
    bins = sorted(set(zip(keys["start"], keys["end"], strict=True)))
    if described.time_bin is not None and any(end <= start for start, end in bins):
        raise InputError(f"The table {path} has a time bin that ends before it starts; give start and end in ms.")
    at = pd.Series(range(len(bins)), index=pd.MultiIndex.from_tuples(bins))
    when = at.reindex(pd.MultiIndex.from_frame(keys[["start", "end"]])).to_numpy()
    place, trial_ids, together = _repetitions(path, keys, order, which, when)
    shape = (len(bins), place.max() + 1, len(ids), len(neuroids))
    flat = np.ravel_multi_index((when, place, order, which), shape)
    _once(path, keys, flat)
    data = np.full(shape, np.nan)
    data.flat[flat] = keys["value"].to_numpy()
    return _recordings(
        name, data, ids, neuroids, described, bins if described.time_bin else [], _Trials(trial_ids, together), notes
    )


def wide(path: Path, about: Path, described: TableDescription, name: str) -> list[Recordings | RegionRDMs]:
    """A table with a row for each trial and a column for each neuroid as Recordings, one a subject."""
    import pandas as pd

    from bridge.stimuli.tables import read_table

    own = described.columns("neuroid_id", "region", "subject", "layer", "session")
    listed = _read(about, own, optional=("layer",))
    neuroids = _keyed(listed, own, described.constants)
    columns = described.columns("stimulus_id", "repetition", "trial_id")
    table = read_table(path, list(columns.values()))
    missing = [unit for unit in neuroids["neuroid_id"] if unit not in table]
    if missing:
        raise InputError(
            f"The table {path} has no column for {len(missing)} of {len(neuroids)} neuroids of {about.name} (the "
            f"first: {missing[0]!r}); give every neuroid a column of its name."
        )
    if neuroids["neuroid_id"].duplicated().any():
        twice = neuroids["neuroid_id"][neuroids["neuroid_id"].duplicated()].iloc[0]
        raise InputError(f"The table {about} lists the neuroid {twice!r} twice; give every neuroid one row.")
    keys = _keyed(table, columns, {})
    values = np.stack([_numbers(path, table, unit) for unit in neuroids["neuroid_id"]], axis=1)
    found: list[Recordings | RegionRDMs] = []
    for subject in dict.fromkeys(neuroids["subject"]):
        mine = (neuroids["subject"] == subject).to_numpy()
        rows = np.isfinite(values[:, mine]).any(axis=1)
        part, order_ids = keys[rows], pd.factorize(keys["stimulus_id"][rows])
        order, ids = order_ids
        if not len(part):
            continue
        none = np.zeros(len(part), int)
        place, trial_ids, together = _repetitions(path, part, order, none, none)
        shape = (1, place.max() + 1, len(ids))
        flat = np.ravel_multi_index((none, place, order), shape)
        _once(path, part.assign(neuroid_id="all neuroids"), flat)
        data = np.full((*shape, mine.sum()), np.nan)
        data.reshape(-1, mine.sum())[flat] = values[rows][:, mine]
        title = f"{name} {subject}" if neuroids["subject"].nunique() > 1 else name
        trials = _Trials(trial_ids, together)
        found.append(_recordings(title, data, ids, neuroids[mine], described, [], trials, ()))
    if not found:
        raise InputError(f"The table {path} has no rows with a value; give at least one.")
    return found


class _Trials(NamedTuple):
    """Trial ids [rep, n_stim], None where they are not named, and why trials are not simultaneous (empty if so)."""

    ids: NDArray[Any] | None
    why_not: str


def _recordings(
    name: str,
    data: NDArray[np.floating],
    ids: Any,
    neuroids: pd.DataFrame,
    described: TableDescription,
    bins: list[tuple[float, float]],
    trials: _Trials,
    notes: tuple[str, ...],
) -> Recordings:
    """Recordings of data [bin, rep, n_stim, neuroid]; over several bins a response is their mean."""
    gone = tuple(f"{region}: not in these recordings" for region in missing_regions(neuroids["region"]))
    simultaneous = trials.ids is not None and not trials.why_not
    apart = (f"trials are not taken as simultaneous: {trials.why_not}",) if trials.why_not else ()
    return Recordings(
        name=name,
        data=data.mean(axis=0) if bins else data[0],
        stimulus_ids=tuple(ids),
        neuroids=neuroids.reset_index(drop=True),
        simultaneous=simultaneous,
        citation=described.citation,
        dropped=(*notes, *gone, *apart),
        images=described.images,
        trial_ids=trials.ids,
        time_bins=tuple((float(start), float(end)) for start, end in bins),
        binned=data if bins else None,
    )


def _read(path: Path, columns: Mapping[str, str], optional: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table whose `columns` (by key) are there and filled in, apart from optional ones."""
    from bridge.stimuli.tables import read_table

    table = read_table(path, [column for key, column in columns.items() if key not in optional])
    for key in optional:
        if key in columns and columns[key] not in table:
            raise InputError(
                f"The table {path} has no column {columns[key]!r} ({did_you_mean(columns[key], map(str, table))})."
            )
    return table


def _keyed(table: pd.DataFrame, columns: Mapping[str, str], constants: Mapping[str, str]) -> pd.DataFrame:
    """The columns under their keys as text (empty where missing), and the constants."""
    import pandas as pd

    kept = pd.DataFrame({key: table[column].fillna("").astype(str) for key, column in columns.items()})
    return kept.assign(**constants)


def _numbers(path: Path, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where it is empty. Raises InputError for a missing column and for what is no number."""
    import pandas as pd

    if column not in table:
        raise InputError(f"The table {path} has no column {column!r}; {did_you_mean(column, map(str, table.columns))}.")
    given = table[column]
    values = pd.to_numeric(given, errors="coerce").to_numpy(np.float64)
    wrong = (~np.isfinite(values)) & given.notna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"The table {path} has {given.iloc[row]!r} as {column!r} in row {row + 1} ({wrong.sum()} such rows); "
            "expected a number, or nothing where a response is missing."
        )
    return values


def _neuroids(path: Path, keys: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int_]]:
    """The table of neuroids and, for each row of a long table, which neuroid it is of.

    A neuroid is an id within a subject; where two subjects share an id, the subject is put before it. Its session is
    kept where it is always the same. Raises InputError where one neuroid stands in two regions or layers.
    """
    import pandas as pd

    which = pd.factorize(pd.MultiIndex.from_frame(keys[["subject", "neuroid_id"]]))[0]
    columns = [column for column in NEUROID_COLUMNS if column in keys]
    first = keys[columns].iloc[np.unique(which, return_index=True)[1]].reset_index(drop=True)
    for column in columns[1:]:
        differs = (keys[column].to_numpy() != first[column].to_numpy()[which]).nonzero()[0]
        if not len(differs):
            continue
        if column == "session":
            first.loc[np.unique(which[differs]), "session"] = ""
            continue
        row = differs[0]
        raise InputError(
            f"The table {path} has neuroid {keys['neuroid_id'].iloc[row]!r} in {column} "
            f"{first[column].iloc[which[row]]!r} and in {keys[column].iloc[row]!r}; give every neuroid one {column}."
        )
    if first["neuroid_id"].duplicated().any():
        first["neuroid_id"] = first["subject"] + "-" + first["neuroid_id"]
    return first, which


def _repetitions(
    path: Path, keys: pd.DataFrame, order: NDArray[np.int_], which: NDArray[np.int_], when: NDArray[np.int_]
) -> tuple[NDArray[np.int_], NDArray[Any] | None, str]:
    """For each row which repetition of its stimulus it is; trial ids [rep, n_stim] where trials are named; and why
    these are not simultaneous, if they are not.

    Trials are simultaneous only if each of them holds every neuroid: then one trial id is one moment for all.
    """
    import pandas as pd

    from bridge.recordings.assembly import repetition_index

    if "trial_id" not in keys:
        cell = pd.factorize(pd.MultiIndex.from_arrays([order, which, when]))[0]
        given = None if "repetition" not in keys else _ordinal(keys["repetition"])
        if given is not None:
            # The number itself, so that one that stands twice is seen; counted from the lowest, without gaps.
            return given, None, ""
        return repetition_index(cell), None, ""
    named = [keys[key] for key in ("session", "trial_id") if key in keys]
    trial, first = np.unique(pd.factorize(pd.MultiIndex.from_arrays(named))[0], return_index=True)
    of = pd.factorize(pd.MultiIndex.from_arrays(named))[0]
    shows = order[first]
    if (mixed := (order != shows[of])).any():
        row = int(mixed.argmax())
        raise InputError(
            f"The table {path} has trial {keys['trial_id'].iloc[row]!r} with two stimuli "
            f"({keys['stimulus_id'].iloc[first[of[row]]]!r} and {keys['stimulus_id'].iloc[row]!r}); a trial shows one "
            "stimulus: name trials that do not return in another session, or give the column `session`."
        )
    repetition = _ordinal(keys["repetition"])[first] if "repetition" in keys else None
    place = repetition_index(shows, repetition)
    ids = np.full((place.max() + 1, order.max() + 1), "", dtype=object)
    ids[place, shows] = [":".join(parts) for parts in zip(*(column.iloc[first] for column in named), strict=True)]
    held = pd.Series(which).groupby(of).nunique().to_numpy()
    lacking = int((held < len(np.unique(which))).sum())
    why = f"{lacking} of {len(trial)} trials do not hold every neuroid" if lacking else ""
    return place[of], ids.astype(str), why


def _ordinal(repetition: pd.Series[Any]) -> NDArray[np.int_]:
    """The rank of each repetition's number (or name) among those of the table, from 0."""
    import pandas as pd

    numbers = pd.to_numeric(repetition, errors="coerce")
    return pd.factorize(repetition if numbers.isna().any() else numbers, sort=True)[0]


def _once(path: Path, keys: pd.DataFrame, flat: NDArray[np.int_]) -> None:
    """Raise InputError where two rows of a table are of the same neuroid, stimulus, repetition and time bin."""
    _, first, counts = np.unique(flat, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = keys.iloc[first[(counts > 1).argmax()]]
        trial = f", trial {row['trial_id']!r}" if "trial_id" in keys else ""
        repetition = f", repetition {row['repetition']!r}" if "repetition" in keys else ""
        raise InputError(
            f"The table {path} holds {int(counts.max())} values for stimulus {row['stimulus_id']!r}, neuroid "
            f"{row['neuroid_id']!r}{repetition}{trial} ({int((counts > 1).sum())} such cases); keep one, or number the "
            "repetitions apart."
        )
