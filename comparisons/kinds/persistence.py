"""`kind: persistence` (P1): do robust representations of edges stand all along the stream?

Its stimuli are its own drawn gratings, edges and objects, at each network's input size. A stage a model finds D along
the stream; where the config trains dictionaries with three seeds or more at two sites or more, another finds how long
their features last. The last stage sets everything side by side and gives each network its verdict. Its artefact holds
`curves.json` beside the results: every curve over depth, with intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from bridge.spec import Seed, Spec
from comparisons.baselines import BASELINES, Baseline
from comparisons.kinds.base import MOST_DRAWS, ComparisonSpec

if TYPE_CHECKING:
    from comparisons.plan import Planner


class ComplexBand(Spec):
    """Complex features beside which simple ones must be unique: units of a network that Gabors do not explain."""

    model: str
    """Name of one of the config's models."""
    sites: Annotated[list[str], Field(min_length=1)]
    """Globs over its sites."""
    pool: Literal["mean", "max"] = "mean"
    """What becomes of a site's tokens."""


class PersistenceComparison(ComparisonSpec):
    """Robust decodability of edges along the stream, survival of features, skip ablation, and the verdict of P1."""

    needs_models: ClassVar[bool] = False

    kind: Literal["persistence"] = "persistence"
    sites: Annotated[list[str], Field(min_length=1)] = ["blocks.*.hook_resid_post"]
    """Globs over site names: the stream whose D is found. The verdict reads the first of them and the last third."""
    scenes: Annotated[int, Field(ge=0)] = 320
    """Drawn objects, for what is decoded of objects; 0 for none."""
    gratings: Annotated[int, Field(ge=120)] | None = None
    """At most so many of the 720 gratings: fewer are quicker and leave wider intervals."""
    permutations: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 20
    """Permutations of labels behind each floor."""
    draws: Annotated[int, Field(ge=100, le=MOST_DRAWS)] = 1000
    """Bootstrap draws of cells behind each standard error."""
    baselines: list[Baseline] = list(BASELINES)
    """What stands beside the networks; never subtracted."""
    survival: bool = True
    """Whether features' survival is found where the config's dictionaries allow it."""
    simplicity_images: Annotated[int, Field(ge=50)] = 200
    """Drawn images on which latents' Gabor simplicity is scored."""
    image_seed: Seed = 1000
    """Seed of those images: other ones than those of a battery with a seed of its own."""
    skip_ablation: bool = False
    """Whether every block's skip is taken away in turn: a pass over some hundred images a block and condition."""

    recordings: list[str] | None = None
    """Names of the config's recordings to judge; all where left out, and none for an empty list."""
    complex: ComplexBand | None = None
    """The complex features of real recordings; simulated ones bring their own."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        from comparisons.persistence.recorded_stages import add_recordings
        from comparisons.persistence.stages import add_networks

        networks = add_networks(planner, self) if planner.config.models else []
        return [*networks, *add_recordings(planner, self)]
