"""Texts as stimuli, for language models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from bridge.errors import InputError
from bridge.stimuli.base import StimulusSpec

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class Texts(StimulusSpec):
    """Texts by id, given in the config or in a file. Give `texts` or `path`, not both."""

    kind: Literal["texts"] = "texts"
    texts: dict[str, str] | None = None
    """Id to text, in order."""
    path: Path | None = None
    """A csv, tsv or parquet file with columns `stimulus_id` and `text` (others become factors), or a .txt file with
    one text a line, whose ids are `line-0001`, ... (empty lines count, and are left out)."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Texts:
        if (self.texts is None) == (self.path is None):
            raise ValueError("stimuli of kind 'texts' take either `texts` or `path`; give one of the two")
        return self

    def fingerprint(self) -> dict[str, Any]:
        """The texts themselves, or the hash of their file. Raises InputError if it is missing."""
        from bridge.stimuli.images import content_sha256

        if self.path is None:
            return {"kind": self.kind, "texts": list((self.texts or {}).items())}
        path = self.path.expanduser()
        return {"kind": self.kind, "file": content_sha256(path), "format": path.suffix}

    def load(self) -> StimulusSet:
        """The texts. Raises InputError for a missing, malformed or empty file."""
        import pandas as pd

        from bridge.stimuli.stimulus_set import StimulusSet
        from bridge.stimuli.tables import read_table

        if self.path is None:
            table = pd.DataFrame(list((self.texts or {}).items()), columns=["stimulus_id", "text"])
        elif self.path.suffix == ".txt":
            try:
                lines = self.path.expanduser().read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"The file {self.path} cannot be read ({error}); give UTF-8 text.") from error
            rows = [(f"line-{number:04d}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
            table = pd.DataFrame(rows, columns=["stimulus_id", "text"])
        else:
            table = read_table(self.path.expanduser(), ["stimulus_id", "text"])
        if not len(table):
            raise InputError(f"The texts of {self.name!r} are empty; give at least one.")
        return StimulusSet(self.name, table.set_index("stimulus_id"), None)
