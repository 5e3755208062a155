"""`kind: probe`: what the features of every chosen site encode, along the stream of every model.

A stage a model presents gratings and scenes, drawn at the network's own input size, and hands the responses to the
probes; the config's stimuli and recordings play no part. Its artefact holds, besides the results, a table with one row
a feature (features.csv) and all arrays (features.npz).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from bridge.spec import Seed
from bridge.store import write_atomically
from comparisons.kinds.base import ComparisonSpec

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.plan import Planner, Progress

Part = Literal["tuning", "simplicity", "decoding", "geometry"]


class ProbeComparison(ComparisonSpec):
    """What units, or the latents of dictionaries, encode: tuning, Gabor simplicity, decoding, geometry."""

    kind: Literal["probe"] = "probe"
    sites: Annotated[list[str], Field(min_length=1)] = ["stem", "blocks.*.hook_resid_post"]
    """Globs over site names; SITE/NAME names the latents of a dictionary of the config's `saes`."""
    probes: Annotated[list[Part], Field(min_length=1)] = ["tuning", "simplicity", "decoding", "geometry"]
    """Which probes: selectivity for gratings; how much of each feature Gabors explain; what a linear reader finds
    across conditions; how many dimensions the population fills."""
    images: Annotated[int, Field(ge=20)] = 300
    """Drawn textures, shapes and scenes behind simplicity and geometry."""
    places: Annotated[int, Field(ge=1)] = 4
    """Tokens of each image whose windows are used."""
    components: Annotated[int, Field(ge=10, le=5000)] = 2000
    """Principal components of the Gabor bank, at most."""
    permutations: Annotated[int, Field(ge=100)] = 2000
    """Permutations of labels behind each test of tuning."""
    jitter: Annotated[int, Field(ge=0)] | None = None
    """Displace gratings by up to so many pixels; by default half a patch for networks that cut images into patches."""
    image_seed: Seed = 1000
    """Seed of the drawn images: other ones than those of a battery with a seed of its own."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        return [self._add_model(planner, model) for model in planner.config.models]

    def _add_model(self, planner: Planner, model: ModelSpec) -> str:
        from comparisons.probing import Chosen, chosen_sites

        chosen = chosen_sites(planner, model, self.sites)
        config = planner.config

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.probing import probe_model

            device = config.capture.resolved_device()
            found = probe_model(self, model, chosen, needed, config.seed, device, progress)
            results = [{**one, "artefacts": [], "seed": config.seed} for one in found.results]
            np.savez(folder / "features.npz", **found.arrays)
            write_atomically(folder / "features.csv", found.table.to_csv(index=False))
            content = {"results": results, "dropped": found.dropped}
            write_atomically(folder / "results.json", json.dumps(content))

        inputs: dict[str, Any] = {
            **{key: value for key, value in self.content().items() if key != "sites"},
            "sites": [one.name for one in chosen],
            "seed": config.seed,
            "model": model.fingerprint(),
            "name": [model.name, model.shown_as],
        }
        needs = tuple(dict.fromkeys(one.stage for one in chosen if isinstance(one, Chosen) and one.stage))
        libraries = ("numpy", "scipy", "scikit-learn", "torch")
        code = (__name__, "comparisons.probing", "bridge.models")
        return planner.add(f"probe {model.name}", "probe", inputs, build, needs=needs, libraries=libraries, code=code)
