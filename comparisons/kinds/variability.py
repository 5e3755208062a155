"""`kind: variability`: does what varies at a stage of the stream come from all the stages before it (P2)?

Of networks: how much of a change at every stage arrives, as it was, at later ones. A stage a model measures, a stage a
network judges; transport.json beside the results holds the curves against distance. Of recordings: whether what the
first area tells wrongly of the stimulus on a trial the last one tells wrongly as well; curves.json holds every pair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from typing_extensions import override

from bridge.spec import Seed
from bridge.store import write_atomically
from comparisons.kinds.base import MOST_DRAWS, ComparisonSpec
from comparisons.networks import Network, model_of, names_codes, networks_of

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet
    from comparisons.plan import Planner, Progress

MEASURED = "transport.json"
IMAGES = "drawn scenes"
LEAST_LABELLED = 16


class VariabilityComparison(ComparisonSpec):
    """P2: transport of variation along the stream of networks and between areas of recordings, with its verdicts."""

    needs_models: ClassVar[bool] = False
    kind: Literal["variability"] = "variability"
    networks: list[Network] | None = None
    """The networks to judge, by names of the models; every trained model where left out. A verdict in favour asks for
    five trained seeds and a plain twin."""
    images: Annotated[int, Field(ge=2)] = 16
    """Drawn scenes at which Jacobians are taken."""
    labelled: Annotated[int, Field(ge=0)] = 256
    """Drawn scenes from which the directions that a category uses are found (16 or more); 0 leaves that out."""
    additive: bool = True
    """Whether the additive law is checked: noise at several stages, read at the end."""
    vectors: Annotated[int, Field(ge=1)] = 16
    """Random vectors an image, at most; fewer where they give t a standard error of .02."""
    image_seed: Seed = 2000
    """Seed of the drawn scenes."""
    dictionaries: list[str] = []
    """Globs over SITE/NAME or over NAME: dictionaries of the config's `saes` whose directions are followed one by one
    to the furthest stage (t_f of every latent)."""

    recordings: list[str] | None = None
    """Names of the config's recordings to judge; all where left out."""
    regions: Annotated[list[str], Field(min_length=2)] | None = None
    """Areas from early to late; where left out, as recordings list them."""
    variables: Annotated[int, Field(ge=1)] = 12
    """What areas are asked about: so many leading components of the images' Gabor energies (natural images, where there
    are oriented patterns as well)."""
    factors: list[str] | None = None
    """Columns of the stimuli's table to ask about instead: numbers, and `orientation` in degrees."""
    draws: Annotated[int, Field(ge=100, le=MOST_DRAWS)] = 1000
    """Bootstrap draws of stimuli behind each interval."""
    permutations: Annotated[int, Field(ge=100, le=MOST_DRAWS)] = 1000
    """Permutations behind the p of variance profiles."""

    @field_validator("labelled")
    @classmethod
    def _enough(cls, labelled: int) -> int:
        if 0 < labelled < LEAST_LABELLED:
            raise ValueError(
                f"{labelled} scenes are too few for eight categories; give {LEAST_LABELLED}, or 0 for none"
            )
        return labelled

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        from comparisons.variability.recording_stages import add_recordings

        recorded = add_recordings(planner, self) if planner.config.recordings else []
        if recorded and self.networks is None and not any(m.shown_as == "trained" for m in planner.config.models):
            return recorded
        return [*self._add_networks(planner), *recorded]

    # --------------------------------------------------------------------------------------------------- networks

    def _add_networks(self, planner: Planner) -> list[str]:
        networks = networks_of(planner.config, self.networks)
        names = dict.fromkeys(name for network in networks for name in network.members)
        stages = {name: self._add_model(planner, model_of(planner.config, name)) for name in names}
        latents = [self._add_latents(planner, model_of(planner.config, name)) for name in names]
        return [
            *stages.values(),
            *(stage for stage in latents if stage),
            *(self._add_verdict(planner, network, stages) for network in networks),
        ]

    def _add_model(self, planner: Planner, model: ModelSpec) -> str:
        seed = planner.config.seed

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.variability.measured import measure_network

            backbone = model.load()
            measured = measure_network(
                backbone, self._scenes(backbone), images=self.images, most=self.vectors, seed=seed, progress=progress,
                additive=self.additive, task=self.labelled > 0,
            )  # fmt: skip
            write_atomically(folder / MEASURED, json.dumps(measured, indent=1))
            about = {"model": model.name, "role": model.shown_as, "seed": seed, "n_stimuli": self.images}
            results, dropped = _results(measured, about)
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {
            **{key: getattr(self, key) for key in ("images", "labelled", "vectors", "image_seed", "additive")},
            "seed": seed,
            "model": model.fingerprint(),
            "name": [model.name, model.shown_as],
        }
        code = (__name__, "comparisons.variability.measured", "bridge.models", "bridge.stimuli")
        libraries = ("numpy", "scipy", "torch")
        return planner.add(f"variability {model.name}", "variability", inputs, build, libraries=libraries, code=code)

    def _scenes(self, backbone: Backbone) -> StimulusSet:
        """Drawn scenes at the size at which the network sees them."""
        from bridge.stimuli.battery import Battery

        size = backbone.preprocessing.size if backbone.preprocessing is not None else 64
        limit: dict[Any, int] = {"scenes": self.labelled or self.images}
        return Battery(name=IMAGES, families=("scenes",), size=size, seed=self.image_seed, limit=limit).load()

    def _add_latents(self, planner: Planner, model: ModelSpec) -> str | None:
        """t_f of the latents of a model's dictionaries, a row each in latents.csv; None where none is asked for."""
        offered = planner.features.get(model.name, {})
        found = {}
        for name in (name for name in offered if any(names_codes(glob, name) for glob in self.dictionaries)):
            stage, reads, writes = planner.dictionaries[model.name, name]
            if len(reads) == 1 and writes is None and planner.sites(model)[reads[0]].kind == "resid_post":
                found[name] = stage, reads[0]
        if not found:
            return None
        seed = planner.config.seed

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            import pandas as pd

            from comparisons.variability.measured import follow_latents
            from saes.checkpoints import read_folder

            backbone = model.load()
            stimuli = self._scenes(backbone)
            inputs = backbone.prepare([stimuli.image(row) for row in range(self.images)])
            tables, results, dropped = [], [], []
            for done, (name, (stage, site)) in enumerate(found.items()):
                directions = read_folder(needed[stage] / name).decoder_directions.double().numpy()
                followed = follow_latents(backbone, inputs, site, directions, seed)
                if followed is None:
                    dropped.append(
                        f"{model.name} {name}: there is no later stage that its directions can be carried to"
                    )
                    continue
                target, t, se = followed
                columns = {"latent": range(len(t)), "t": t, "t_se": se}
                tables.append(pd.DataFrame({"dictionary": name, "target": target, **columns}))
                results.append(
                    {
                        "comparison": "variability",
                        "measure": "transport t_f of latents, median",
                        "model": model.name,
                        "role": model.shown_as,
                        "site": name,
                        "recordings": IMAGES,
                        "region": "latents",
                        "n_subjects": 1,
                        "n_stimuli": self.images,
                        "seed": seed,
                        "estimate": float(pd.Series(t).median()),
                        "notes": [f"to {target}", f"{len(t)} latents, {(t > 0.5).mean():.0%} above .5"],
                    }
                )
                progress((done + 1) / len(found))
            write_atomically(folder / "latents.csv", pd.concat(tables).to_csv(index=False) if tables else "")
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        return planner.add(
            f"variability of latents, {model.name}",
            "variability-latents",
            {
                "dictionaries": list(found),
                "images": [self.images, self.labelled, self.image_seed],
                "seed": seed,
                "model": model.fingerprint(),
                "name": [model.name, model.shown_as],
            },
            build,
            needs=tuple(dict.fromkeys(stage for stage, _ in found.values())),
            libraries=("numpy", "torch"),
            code=(__name__, "comparisons.variability.measured", "bridge.models", "bridge.stimuli", "saes.checkpoints"),
        )

    def _add_verdict(self, planner: Planner, network: Network, stages: Mapping[str, str]) -> str:
        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.variability.measured import over_masks, to_the_end
            from comparisons.verdicts.variability import network_variability, with_masks

            measured = {name: json.loads((needed[stages[name]] / MEASURED).read_text()) for name in network.members}
            ends = {name: to_the_end(one) for name, one in measured.items()}
            verdict = network_variability(
                network.name,
                *([ends[name] for name in names] for names in (network.trained, network.plain, network.untrained)),
            )
            verdict = with_masks(verdict, [ratio for name in network.trained for ratio in over_masks(measured[name])])
            curves = {
                role: {name: measured[name]["pairs"] for name in names}
                for role, names in (
                    ("trained", network.trained),
                    ("plain", network.plain),
                    ("untrained", network.untrained),
                )
            }
            write_atomically(folder / "curves.json", json.dumps(curves, indent=1))
            content = {"results": [], "verdicts": [verdict.model_dump()], "dropped": []}
            write_atomically(folder / "results.json", json.dumps(content))

        return planner.add(
            f"variability, verdict on {network.name}",
            "variability-verdict",
            {"network": network.content()},
            build,
            needs=tuple(dict.fromkeys(stages[name] for name in network.members)),
            libraries=("numpy", "scipy"),
            code=(__name__, "comparisons.verdicts.variability"),
        )


def _results(measured: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The results of a model, and what has no number and why."""
    common = {"comparison": "variability", "recordings": IMAGES, "region": "stream", "n_subjects": 1, **about}
    results: list[dict[str, Any]] = []
    dropped = []
    ends = measured["furthest"]
    for pair in measured["pairs"]:
        if ends.get(pair["source"]) != pair["target"]:
            continue
        where = f"to {pair['target']}, {pair['distance']} block(s) on"
        if pair["t"] is None:
            dropped.append(f"{about['model']} {pair['source']}: no number for t {where} (nothing is carried)")
            continue
        half = None if pair["t_se"] is None else 1.96 * pair["t_se"]
        how = "in one basis" if pair["one basis"] else "directions carried through the projection shortcuts"
        results.append(
            {
                **common,
                "measure": "transport t",
                "site": pair["source"],
                "estimate": pair["t"],
                "interval": None if half is None else (pair["t"] - half, pair["t"] + half),
                "notes": [where, how, "interval: over images"],
            }
        )
        share = pair["aligned_share"]
        if share is not None:
            results.append({**common, "measure": "aligned share A", "site": pair["source"], "estimate": share,
                            "notes": [where]})  # fmt: skip
    if ratios := [one["ratio"] for one in measured["bypass"] if math.isfinite(one["ratio"])]:
        middle = sorted(ratios)[len(ratios) // 2]
        note = f"median over {len(ratios)} pairs of writes; hold it against the plain twin's, which is above 1, too"
        results.append(
            {**common, "measure": "bypass ratio of writes", "site": None, "estimate": middle, "notes": [note]}
        )
    for mask in measured["masks"]:
        note = "what the identity path alone transports through the ReLUs after the sums"
        results.append({**common, "measure": "trace of the active mask", "site": mask["source"],
                        "estimate": mask["trace"], "notes": [f"to {mask['target']}", note]})  # fmt: skip
    if (law := measured["additive"]) is not None:
        note = f"noise at {len(law['sites'])} stages, read at {law['target']}; a check of linearity alone"
        results.append({**common, "measure": "additive law, held-out R2", "site": None, "estimate": law["held_out_r2"],
                        "notes": [note]})  # fmt: skip
    task = measured["task"]
    if task is not None and math.isfinite(task["difference"]):
        half = 1.96 * task["se"] if math.isfinite(task["se"]) else None
        results.append(
            {
                **common,
                "measure": "transport of task-irrelevant minus relevant directions",
                "site": task["source"],
                "estimate": task["difference"],
                "interval": None if half is None else (task["difference"] - half, task["difference"] + half),
                "notes": [f"cosines, to {task['target']}", "interval: over directions"],
            }
        )
    return results, dropped
