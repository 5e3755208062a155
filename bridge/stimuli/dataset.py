"""The stimuli of a public data set, by the data set's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bridge.stimuli.base import StimulusSpec

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class DatasetStimuli(StimulusSpec):
    """What was shown in a public data set; its files are fetched when first needed."""

    kind: Literal["dataset"] = "dataset"
    name: str
    """The data set's name; `ventral data list` shows all."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the data set lets one choose, e.g. {sessions: ["210325"]}."""

    def fingerprint(self) -> dict[str, Any]:
        """The declared hashes of the data set's files, and the options. Nothing is fetched or read.

        Raises ConfigError for an unknown data set.
        """
        from bridge.data import dataset

        return {**super().fingerprint(), "files": dataset(self.name).fingerprint()}

    def datasets(self) -> tuple[str, ...]:
        """This one."""
        return (self.name,)

    def check_reachable(self) -> None:
        """Raise UnreachableError where the data set is not here and its source does not answer."""
        from bridge.data import dataset

        dataset(self.name).check_reachable()

    def load(self) -> StimulusSet:
        """The stimuli. Raises what `bridge.data.Dataset.stimuli` raises."""
        from bridge.data import dataset

        return dataset(self.name).stimuli(**self.options)
