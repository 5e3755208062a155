"""What every kind of recordings in a config states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from bridge.spec import Spec

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet


def _forward(window: tuple[float, float]) -> tuple[float, float]:
    if window[1] <= window[0]:
        raise ValueError(
            f"a window is [start, end] in ms after stimulus onset, and {list(window)} ends before it starts"
        )
    return window


TimeWindow = Annotated[tuple[float, float], AfterValidator(_forward)]
"""[start, end] in ms from stimulus onset."""


class Windowed(Spec):
    """The times at which recordings that are resolved in time are read."""

    time_window: TimeWindow | None = None
    """[start, end] in ms after stimulus onset over which responses are averaged; the whole recording where
    left out."""
    time_bins: tuple[TimeWindow, ...] = ()
    """Further windows, such as [[70, 100], [150, 200]], in which responses are given beside the average: for
    comparisons that are resolved in time."""


class RecordingsSpec(Spec):
    """Recordings of a config; a kind adds its own fields and a literal `kind`."""

    name: str
    """The name under which the recordings appear in results and figures."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the recordings depend on besides the stimuli, as JSON. Cheap, and reads no file: a finished
        run is recognised by it.
        """
        return self.content()

    def images(self) -> bool:
        """Whether what was shown is at hand, so that a network can be shown it. Reads no file.

        Recordings without images are for variability alone; whatever compares them with a network leaves them out.
        """
        return True

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The recordings for `stimuli`, aligned by id. Raises InputError where ids do not fit."""
        raise NotImplementedError
