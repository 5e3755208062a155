"""Recordings of a public data set, for the stimuli of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from bridge.data import all_datasets, dataset
from bridge.errors import did_you_mean
from bridge.recordings.base import RecordingsSpec
from bridge.recordings.selection import aligned, of_regions

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings, RegionRDMs
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
        if (kind := known[name].kind) != "dataset":
            raise ValueError(f"data set {name!r} has a kind of its own; give `kind: {kind}`")
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

    def images(self) -> bool:
        """Whether the data set's images are public."""
        return dataset(self.name).images

    def check_reachable(self) -> None:
        """Raise UnreachableError where the data set is not here and its source does not answer."""
        dataset(self.name).check_reachable()

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The data set's recordings of the chosen regions, brought to the ids of `stimuli`.

        RDMs need all of the stimuli. Responses are kept for those of their stimuli that are among `stimuli`, in their
        own order; what that leaves out is said in `dropped`.

        Raises ConfigError for a region that the data set does not have, InputError where ids do not fit.
        """
        found = dataset(self.name).recordings(**self.options)
        return aligned(of_regions(found, self.regions, f"Data set {self.name!r}"), stimuli)
