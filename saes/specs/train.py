"""`kind: train`: dictionaries that are trained in the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bridge.stimuli import AnyStimuli
from saes.settings import Training
from saes.specs.base import SAESpec


class TrainSAE(SAESpec):
    """A dictionary a site, trained on tokens of the model's stream, all sites in one pass."""

    kind: Literal["train"] = "train"
    sites: Annotated[list[str], Field(min_length=1)] = ["blocks.*.hook_resid_post"]
    """Globs over site names."""
    joint: bool = False
    """One crosscoder of all these sites together, instead of a dictionary a site."""
    writes: str | None = None
    """The site that transcoders of the others predict."""
    skip: bool = False
    """Whether transcoders have a linear part beside their latents."""
    stimuli: AnyStimuli | None = None
    """Stimuli to train on; the config's where left out."""
    tokens: Literal["patches"] | Annotated[int, Field(ge=1)] = 16
    """Patches of each stimulus that are trained on: so many, drawn with the run's seed, or all of them."""
    source: Literal["shards", "hooks"] = "shards"
    """`shards`: activations are captured to disk once; `hooks`: every epoch is a pass through the network, with other
    patches drawn, and nothing goes to disk."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Dictionaries a site that differ by seed, trained in the same pass: NAME, NAME.1, NAME.2, ..."""
    training: Training = Training()
    """Architecture and recipe."""

    def names(self) -> list[str]:
        """The names of the seeds' dictionaries."""
        return [self.name, *(f"{self.name}.{number}" for number in range(1, self.seeds))]

    def datasets(self) -> tuple[str, ...]:
        """Names of the public data sets whose stimuli it is trained on."""
        return self.stimuli.datasets() if self.stimuli is not None else ()
