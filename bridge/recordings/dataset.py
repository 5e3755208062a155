"""Recordings of a public data set, for the stimuli of a comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from bridge.data import all_datasets, dataset
from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.recordings.base import RecordingsSpec
from bridge.recordings.recordings import Recordings, RegionRDMs

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class DatasetRecordings(RecordingsSpec):
    """Recordings of a public data set (`ventral data list`)."""

    kind: Literal["dataset"] = "dataset"
    name: str
    """Name of the data set."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these regions; all where left out."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of this data set's recordings, such as the sessions of cowley2023_v4."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known = all_datasets()
        if name not in known:
            raise ValueError(f"there is no data set {name!r}; {did_you_mean(name, known)}")
        if known[name].read_recordings is None:
            having = [other for other, data in known.items() if data.read_recordings]
            raise ValueError(f"data set {name!r} has no recordings; those that have: {', '.join(having)}")
        return name

    def fingerprint(self) -> dict[str, Any]:
        """The spec and the declared sha256 of the data set's files."""
        return {**self.content(), "data": dataset(self.name).fingerprint()}

    def datasets(self) -> tuple[str, ...]:
        """This one."""
        return (self.name,)

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The data set's recordings of the chosen regions, brought to the ids of `stimuli`.

        RDMs need all of the stimuli. Responses are kept for those of their stimuli that are among `stimuli`, in their
        own order; what that leaves out is said in `dropped`.

        Raises ConfigError for a region that the data set does not have, InputError where ids do not fit.
        """
        found = dataset(self.name).recordings(**self.options)
        if self.regions is not None:
            known = {region for one in found for region in regions_of(one)}
            for region in self.regions:
                if region not in known:
                    raise ConfigError(
                        f"Data set {self.name!r} has no region {region!r}; {did_you_mean(region, known)}."
                    )
            found = [kept for one in found for kept in _of_regions(one, self.regions)]
        return [
            one.aligned_to(stimuli.ids) if isinstance(one, RegionRDMs) else shown_among(one, stimuli) for one in found
        ]


def regions_of(one: Recordings | RegionRDMs) -> tuple[str, ...]:
    """The regions that a piece of a data set holds."""
    return (one.region,) if isinstance(one, RegionRDMs) else one.regions


def _of_regions(one: Recordings | RegionRDMs, regions: tuple[str, ...]) -> list[Recordings | RegionRDMs]:
    if isinstance(one, RegionRDMs):
        return [one] if one.region in regions else []
    keep = one.neuroids["region"].isin(regions).to_numpy()
    if not keep.any():
        return []
    return [replace(one, data=one.data[:, :, keep], neuroids=one.neuroids[keep].reset_index(drop=True))]


def shown_among(recordings: Recordings, stimuli: StimulusSet) -> Recordings:
    """The responses to those of the recordings' stimuli that are in `stimuli`, in the recordings' order.

    Raises InputError where none is.
    """
    among = set(stimuli.ids)
    rows = np.array([row for row, name in enumerate(recordings.stimulus_ids) if name in among], int)
    total = len(recordings.stimulus_ids)
    if len(rows) == total:
        return recordings
    if not len(rows):
        raise InputError(
            f"None of the {total} stimuli of recordings {recordings.name!r} (the first: "
            f"{recordings.stimulus_ids[0]!r}) is in stimulus set {stimuli.name!r} (the first: "
            f"{stimuli.ids[0] if stimuli.ids else 'none'!r}); stimuli are aligned by id only: give both sides the same."
        )
    note = f"{total - len(rows)} of {total} recorded stimuli, which are not in stimulus set {stimuli.name!r}"
    return replace(
        recordings,
        data=recordings.data[:, rows],
        stimulus_ids=tuple(recordings.stimulus_ids[row] for row in rows),
        dropped=(*recordings.dropped, note),
    )
