"""`kind: postdictions`: known facts about the ventral stream, looked for in each network by depth. They decide nothing.

Its stimuli are its own drawn images, gratings and noise, at each network's input size; latents' redundancy is found
where the config has dictionaries at two sites or more, on the config's stimuli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from bridge.spec import Seed
from comparisons.kinds.base import ComparisonSpec

if TYPE_CHECKING:
    from comparisons.plan import Planner

Part = Literal["fields", "sparseness", "simplicity", "overloading", "redundancy", "dimension"]


class PostdictionsComparison(ComparisonSpec):
    """Receptive fields and sparse codes, the spread of complexity, overloading, redundancy, effective dimension."""

    kind: Literal["postdictions"] = "postdictions"
    sites: Annotated[list[str], Field(min_length=1)] = ["blocks.*.hook_resid_post"]
    """Globs over site names."""
    parts: Annotated[list[Part], Field(min_length=1)] = [
        "fields", "sparseness", "simplicity", "overloading", "redundancy", "dimension",
    ]  # fmt: skip
    """Which of them."""
    images: Annotated[int, Field(ge=50)] = 200
    """Drawn textures, shapes and scenes behind sparseness, simplicity and dimension."""
    noise: Annotated[int, Field(ge=100)] = 1000
    """Images of white noise behind receptive fields."""
    image_seed: Seed = 1000
    """Seed of the drawn images."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        from comparisons.postdicting import add_model

        return [add_model(planner, self, model) for model in planner.config.models]
