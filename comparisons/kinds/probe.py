"""`kind: probe`: what the features of every chosen site encode, along the stream of every model.

A stage a model presents gratings, drawn scenes and noise, at the network's own input size, and hands the responses to
the probes; the config's stimuli and recordings play no part, but for `recordings` that are named. Its artefact holds,
besides the results and pictures, a table with one row a feature (features.csv), all arrays (features.npz), and what is
more than one number a site (curves.json: transfer matrices, decimation curves).
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
from comparisons.kinds.base import MOST_DRAWS, ComparisonSpec

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.plan import Planner, Progress

Part = Literal["tuning", "simplicity", "decoding", "geometry", "fields"]


class ProbeComparison(ComparisonSpec):
    """What units, or the latents of dictionaries, encode: tuning, Gabor simplicity, decoding, geometry, fields."""

    kind: Literal["probe"] = "probe"
    sites: Annotated[list[str], Field(min_length=1)] = ["stem", "blocks.*.hook_resid_post"]
    """Globs over site names; SITE/NAME names the latents of a dictionary of the config's `saes`."""
    recordings: list[str] = []
    """Names of the config's recordings whose neuroids are probed, too: variables of the config's stimuli that are drawn
    (a battery), with split-half ceilings, and dimensions at equal numbers of neuroids. None by default."""
    probes: Annotated[list[Part], Field(min_length=1)] = ["tuning", "simplicity", "decoding", "geometry", "fields"]
    """Which probes: selectivity for gratings; how much of each feature Gabors explain; what a linear reader finds
    across conditions; how many dimensions the population fills and how objects lie in it; receptive fields from noise,
    with Gabors and energy models fitted to them."""
    images: Annotated[int, Field(ge=20)] = 300
    """Drawn textures, shapes and scenes behind simplicity and geometry."""
    places: Annotated[int, Field(ge=1)] = 4
    """Tokens of each image whose windows are used."""
    components: Annotated[int, Field(ge=10, le=5000)] = 2000
    """Principal components of the Gabor bank, at most."""
    noise: Annotated[int, Field(ge=200)] = 2000
    """Noise images behind receptive fields."""
    cards: Annotated[int, Field(ge=0, le=12)] = 3
    """Feature cards in the report for every site of a trained network: from its most simple feature to its least. They
    need tuning and simplicity."""
    permutations: Annotated[int, Field(ge=100, le=MOST_DRAWS)] = 2000
    """Permutations of labels behind each test of tuning."""
    jitter: Annotated[int, Field(ge=0)] | None = None
    """Displace gratings by up to so many pixels; by default half a patch for networks that cut images into patches."""
    image_seed: Seed = 1000
    """Seed of the drawn images: other ones than those of a battery with a seed of its own."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        models = planner.config.models
        roles = {model.shown_as for model in models}
        alone = "trained" in roles and "untrained" not in roles
        stages = [self._add_model(planner, model, alone) for model in models]
        return [*stages, self._add_recordings(planner)] if self.recordings else stages

    def _add_recordings(self, planner: Planner) -> str:
        from comparisons.responses import add_responses, load_responses

        title, seed = "probing recordings", planner.config.seed
        brain = add_responses(planner, title, self.recordings, images=False)

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.probing.neuroids import probe_recordings

            results, dropped = probe_recordings(load_responses(needed[brain]), planner.stimuli.table, seed)
            content = {"results": [{**one, "seed": seed} for one in results], "dropped": dropped}
            write_atomically(folder / "results.json", json.dumps(content))

        code, libraries = (__name__, "comparisons.probing"), ("numpy", "scipy")
        return planner.add("probe recordings", "probe", {"seed": seed}, build, needs=(brain,), libraries=libraries,
                           code=code)  # fmt: skip

    def _add_model(self, planner: Planner, model: ModelSpec, alone: bool) -> str:
        """`alone`: no untrained network stands beside the trained ones, which the report says."""
        from comparisons.probing import Chosen, chosen_sites

        chosen = chosen_sites(planner, model, self.sites)
        config = planner.config

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.probing import probe_model

            device = config.capture.resolved_device()
            found = probe_model(self, model, chosen, needed, config.seed, device, progress)
            results = [{**one, "artefacts": [], "seed": config.seed} for one in found.results]
            if alone:
                found.dropped.append(
                    "No untrained network stands beside the trained ones, so what training brings is not shown; add "
                    "the same model with `untrained: true`."
                )
            np.savez(folder / "features.npz", **found.arrays)
            write_atomically(folder / "curves.json", json.dumps(found.curves))
            for name, png in found.pictures.items():
                write_atomically(folder / name, png)
            if found.tables:  # geometry and decoding say nothing of single features
                write_atomically(folder / "features.csv", found.table.to_csv(index=False))
            exhibits = [one.model_dump() for one in found.exhibits]
            content = {"results": results, "dropped": found.dropped, "exhibits": exhibits}
            write_atomically(folder / "results.json", json.dumps(content))

        inputs: dict[str, Any] = {
            **{key: value for key, value in self.content().items() if key not in ("sites", "recordings")},
            "sites": [one.name for one in chosen],
            "seed": config.seed,
            "model": model.fingerprint(),
            "name": [model.name, model.shown_as],
            "alone": alone,
        }
        needs = tuple(dict.fromkeys(one.stage for one in chosen if isinstance(one, Chosen) and one.stage))
        libraries = ("numpy", "scipy", "scikit-learn", "torch")
        code = (__name__, "comparisons.probing", "bridge.models")
        return planner.add(f"probe {model.name}", "probe", inputs, build, needs=needs, libraries=libraries, code=code,
                           on_device=True)  # fmt: skip
