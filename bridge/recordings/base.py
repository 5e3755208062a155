"""What every kind of recordings in a config states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.spec import Spec

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet


class RecordingsSpec(Spec):
    """Recordings of a config; a kind adds its own fields and a literal `kind`."""

    name: str
    """The name under which the recordings appear in results and figures."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the recordings depend on besides the stimuli, as JSON. Cheap, and reads no file: a finished
        run is recognised by it.
        """
        return self.content()

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The recordings for `stimuli`, aligned by id. Raises InputError where ids do not fit."""
        raise NotImplementedError
