"""What every kind of stimuli in a config states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.spec import Spec

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class StimulusSpec(Spec):
    """One stimulus set of a config; a kind adds its own fields and a literal `kind`."""

    name: str
    """The name under which the stimuli appear in results and figures."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that ids, texts and images depend on, as JSON: the spec without its display name, and the
        hashes of the files it reads. Cheap, and without pandas or torch: a finished run is recognised by it.

        Raises InputError when a file is missing.
        """
        content = self.content()
        del content["name"]
        return content

    def here(self) -> bool:
        """Whether they can be loaded without fetching anything, as far as is known without asking anybody."""
        from bridge.data import dataset

        return all(dataset(name).available() for name in self.datasets())

    def load(self) -> StimulusSet:
        """The stimuli; images stay lazy. Raises InputError for files that are not what they were said to be."""
        raise NotImplementedError
