"""The contract of a comparison: which stages it adds to the plan, and which of them hold its results.

The plan, the report, `--dry-run` and any executor know nothing else about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bridge.spec import Spec

if TYPE_CHECKING:
    from comparisons.plan import Planner


MOST_DRAWS = 1_000_000
"""Most bootstrap draws or permutations of a comparison: beyond it their tables fill the memory of most machines."""


class ComparisonSpec(Spec):
    """One comparison of a config; a kind adds its own fields and a literal `kind`."""

    needs_models: ClassVar[bool] = True
    """Whether there is nothing to compare without a network."""

    models: list[str] | None = None
    """Names of the config's models that this comparison is about; all where left out."""

    def add_stages(self, planner: Planner) -> list[str]:
        """Add this comparison's stages to the plan; the ids of those whose artefact holds `results.json`.

        Such a file is `{"results": [Result, ...], "verdicts": [Verdict, ...], "dropped": [text, ...]}`.
        Raises ConfigError for sites, measures or references that do not exist.
        """
        raise NotImplementedError
