"""The base of every config model: strict, immutable, and hashable by content."""

from __future__ import annotations

import importlib
import pkgutil
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed: numpy and torch take others, but not all of them do."""


class Spec(BaseModel):
    """One part of a config. Unknown keys are refused; every field carries a description.

    Parts that are one of several are tagged by a literal field `kind`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def content(self) -> dict[str, Any]:
        """The part as plain JSON values, for the content hash of whatever is computed from it."""
        return self.model_dump(mode="json")

    def datasets(self) -> tuple[str, ...]:
        """Names of the public data sets that this part reads, so that licence and citation stand in the results."""
        return ()

    def prepare(self) -> None:
        """Fetch what the content hash depends on, where it is not here: files whose hash nobody has declared.

        Called once before a run is planned. Raises UnreachableError when it cannot be fetched.
        """

    def check_reachable(self) -> None:
        """Raise UnreachableError when what has to be fetched cannot be. Fetches nothing; for `--dry-run`."""


def kinds_in(package: str, base: type[Spec]) -> list[type[Any]]:
    """The subclasses of `base` with a field `kind` that the modules of a package define, sorted by kind.

    This is how a new family, data kind or comparison is found: its file, or a package of its own, stands in the folder.
    """
    found: dict[str, type[Any]] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and "kind" in value.model_fields:
                found[value.model_fields["kind"].default] = value
    return [found[kind] for kind in sorted(found)]


def tagged_union(package: str, base: type[Spec]) -> Any:
    """The type of a config field that holds any kind of a package, told apart by `kind`."""
    kinds = kinds_in(package, base)
    return Annotated[reduce(or_, kinds), Field(discriminator="kind")] if len(kinds) > 1 else kinds[0]
