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

    def prepare(self) -> None:
        """Fetch what `fingerprint` depends on, where it is not here: files whose hash nobody has declared.

        Called once before a run is planned. Raises UnreachableError when it cannot be fetched.
        """

    def check_reachable(self) -> None:
        """Raise UnreachableError when what has to be fetched cannot be. Fetches nothing; for `--dry-run`."""

    def load(self) -> StimulusSet:
        """The stimuli; images stay lazy. Raises InputError for files that are not what they were said to be."""
        raise NotImplementedError
