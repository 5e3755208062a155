"""The base of every config model: strict, immutable, and hashable by content."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """One part of a config. Unknown keys are refused; every field carries a description.

    Parts that are one of several are tagged by a literal field `kind`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def content(self) -> dict[str, Any]:
        """The part as plain JSON values, for the content hash of whatever is computed from it."""
        return self.model_dump(mode="json")
