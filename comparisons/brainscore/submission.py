"""The section `submission` of a config: which of its models, sites and dictionaries go to Brain-Score, and as what."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from bridge.errors import did_you_mean
from bridge.spec import Spec

Region = Literal["V1", "V2", "V4", "IT"]
REGIONS: tuple[Region, ...] = get_args(Region)
Variant = Literal["raw", "sae", "simple", "complex", "ablated"]
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"


class Choice(Spec):
    """A region's site is the one that predicts it best, by PLS as Brain-Score has it: mean over splits of the median r
    over neuroids. Choose on public data, and say so; never on what a private benchmark holds."""

    recordings: str | None = None
    """Name of one of the config's recordings; the config's stimuli must have its ids."""
    benchmark: str | None = None
    """Identifier of one of Brain-Score's benchmarks of the region, such as MajajHong2015public.IT-pls."""

    @model_validator(mode="after")
    def _one_source(self) -> Choice:
        if (self.recordings is None) == (self.benchmark is None):
            raise ValueError("state either `recordings` or `benchmark` to choose on")
        return self


class Submission(Spec):
    """A model plugin for Brain-Score, written by `ventral brain-score export`."""

    identifier: Annotated[str, Field(pattern=IDENTIFIER, max_length=200)]
    """Name on the leaderboard, new there: letters, digits and . _ + -, no slash. With several `features` each gets the
    name of its kind behind it: NAME-sae, NAME-simple, ..."""
    features: Annotated[list[Variant], Field(min_length=1)] = ["raw"]
    """What is read at a site. raw: the stream; sae: all latents of its dictionary; simple, complex: those whose Gabor
    simplicity is .5 or more, .1 or less; ablated: the stream less what those latents write that `ablate` names."""
    model: str | None = None
    """Which of the config's models; it may be left out where there is one."""
    dictionary: str = "*"
    """Glob over the names of dictionaries (`saes`) that features other than `raw` are of; a site must have one of
    them."""
    sites: Annotated[list[str], Field(min_length=1)] = ["blocks.*.hook_resid_post"]
    """Globs over the sites that a region may be given, where one is chosen."""
    regions: dict[Region, str | Choice]
    """The site of each of V1, V2, V4 and IT, or what it is chosen on: {recordings: NAME} or {benchmark: IDENTIFIER}.
    All variants have the sites that are chosen for the first of `features`."""
    pool: Literal["mean", "max", "class"] = "mean"
    """How a site's tokens become one vector: the mean or maximum over places, or the class token."""
    ablate: Literal["simple", "complex"] = "simple"
    """Which latents' writes `ablated` features lack: with `complex` it is the control of the other."""
    readout: str | None = None
    """Module of the network that behaviour is read from; where left out, the one that gives its output."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images a forward pass on Brain-Score's machines, which may have no GPU."""
    simplicity_images: Annotated[int, Field(ge=50)] = 200
    """Drawn images that simplicity is measured on."""
    bibtex: str = ""
    """What users of the model shall cite."""
    metadata: bool = False
    """Also write metadata.yaml. Brain-Score core 2.5.0 does not merge a submission that holds one by itself."""

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: list[Variant]) -> list[Variant]:
        if twice := [name for name in features if features.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} stands twice; give each once")
        return features

    @field_validator("regions", mode="before")
    @classmethod
    def _whole(cls, regions: object) -> object:
        if isinstance(regions, dict):
            for name in regions:
                if name not in REGIONS:
                    raise ValueError(f"there is no region {name!r}; {did_you_mean(str(name), REGIONS)}")
            if missing := [name for name in REGIONS if name not in regions]:
                raise ValueError(
                    f"there is none for {' and '.join(missing)}, whose benchmarks would fail; give a site, "
                    "{recordings: NAME} or {benchmark: IDENTIFIER}"
                )
        return regions

    def identifiers(self) -> dict[str, Variant]:
        """The models by the names that they are registered under, each with its features."""
        if len(self.features) == 1:
            return {self.identifier: self.features[0]}
        return {f"{self.identifier}-{variant}": variant for variant in self.features}

    def directory(self) -> str:
        """The plugin's directory: a Python package's name."""
        name = "".join(letter if letter.isalnum() else "_" for letter in self.identifier)
        return name if not name[0].isdigit() else f"model_{name}"
