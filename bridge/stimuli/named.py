"""The stimuli of a public data set, by the data set's name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bridge.stimuli.base import StimulusSpec

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class DatasetStimuli(StimulusSpec):
    """What was shown in a public data set; its files are fetched when first needed."""

    kind: Literal["dataset"] = "dataset"
    dataset: str
    """The data set's name; `ventral data list` shows all."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the data set lets one choose, e.g. {sessions: ["210325"]}."""

    def fingerprint(self) -> dict[str, Any]:
        """The declared hashes of the data set's files, and the options. Nothing is fetched or read.

        Raises ConfigError for an unknown data set.
        """
        from bridge.data import dataset

        return {**super().fingerprint(), "files": dataset(self.dataset).fingerprint()}

    def load(self) -> StimulusSet:
        """The stimuli. Raises what `bridge.data.Dataset.stimuli` raises."""
        from bridge.data import dataset

        stimuli: StimulusSet = dataset(self.dataset).stimuli(**self.options)
        return replace(stimuli, name=self.name)
