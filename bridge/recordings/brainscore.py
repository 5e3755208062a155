"""Recordings that Brain-Score knows, fetched by its own client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bridge.recordings.base import RecordingsSpec, Windowed
from bridge.recordings.selection import aligned, of_regions

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet


class BrainScoreRecordings(Windowed, RecordingsSpec):
    """Recordings that `brainscore_vision.load_dataset` knows; they are fetched where they are not cached.

    Their images are the stimuli of `kind: brainscore`: `FreemanZiemba2013.aperture-public` (4 degrees) for
    `FreemanZiemba2013.public` (V1, V2; Brain-Score's window is 50-200 ms), `hvm-public` (8 degrees) for
    `MajajHong2015.public` (V4, IT). Trials of these sets are never simultaneous: nothing says which belong together.
    """

    kind: Literal["brainscore"] = "brainscore"
    identifier: str
    """Brain-Score's name, e.g. `MajajHong2015.public`."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these regions; all where left out."""

    def fingerprint(self) -> dict[str, Any]:
        """The spec and Brain-Score's version, which declares the hash of the recordings. Nothing is fetched."""
        from importlib.metadata import version

        return {**self.content(), "brainscore_vision": version("brainscore-vision")}

    def check_reachable(self) -> None:
        """Raise UnreachableError unless the recordings are here or Brain-Score's storage answers."""
        from bridge.brainscore import check_reachable, check_registered

        check_registered("data", self.identifier)
        check_reachable([self.identifier])

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The recordings of the chosen regions, those of their stimuli that are among `stimuli`.

        Raises ConfigError for an unknown identifier or region, UnreachableError when they have to be fetched and
        cannot be, InputError where ids do not fit or no time bin lies in a window.
        """
        from bridge.brainscore import citation, load_registered
        from bridge.recordings.assembly import from_assembly

        found = from_assembly(
            load_registered("data", self.identifier),
            self.name,
            time_window=self.time_window,
            time_bins=self.time_bins,
            citation=citation("data", self.identifier),
        )
        return aligned(of_regions([found], self.regions, f"Brain-Score's {self.identifier!r}"), stimuli)
