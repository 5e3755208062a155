"""`kind: editing`: is part of the incoming stream deleted by a block's own write, depending on context (P3)?

For every dictionary SITE/NAME of the config whose site a next block reads in the same basis: what that block takes away
of each latent, on drawn scenes that the dictionary was not trained on. A stage a model and dictionary, a stage a
network that judges the latents of all its blocks together. latents.csv holds a row a latent. Recordings are judged by
their time bins, where they have some.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError, did_you_mean
from bridge.spec import Seed, Spec
from bridge.store import write_atomically
from comparisons.features import Features, site_features
from comparisons.kinds.banded import Band
from comparisons.kinds.base import ComparisonSpec
from comparisons.networks import Network, model_of, names_codes, networks_of

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.stimuli.battery import Battery
    from comparisons.plan import Planner, Progress
    from comparisons.results import Verdict

IMAGES = "drawn scenes"
MEASURED = "editing.json"
CAUSAL = 32
"""Images at which Jacobians are taken and writers silenced."""


@dataclass(frozen=True)
class Read:
    """A dictionary of the stream and the block that reads it."""

    name: str
    """SITE/NAME."""
    site: str
    stage: str
    """What makes the dictionary."""
    block: int
    latents: int | None
    """Number of latents; None where it is not known before the dictionary is loaded."""
    least_explained: float


class TimedBands(Spec):
    """What stands for simple and for complex features in recordings with time bins."""

    model: str
    """The model of the config whose features they are."""
    simple: Band
    """Sites (or codes) of simple features, such as the stem."""
    complex: Band
    """Sites (or codes) of everything else."""


class EditingComparison(ComparisonSpec):
    """P3: deletion of latents by the next block's write, gated by context, with its verdict."""

    kind: Literal["editing"] = "editing"
    networks: list[Network] | None = None
    """The networks to judge, by names of the models; every trained model where left out, with all untrained ones as its
    copies. Dictionaries are needed of each of their models, also of untrained ones."""
    dictionaries: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Globs over SITE/NAME or over NAME: which of the config's `saes`, one a site."""
    tokens: Annotated[int, Field(ge=1)] = 16
    """Patches of each image that are used."""
    images: Annotated[int, Field(ge=32)] | None = None
    """Drawn scenes; where left out as many as give each latent 50 tokens."""
    image_seed: Seed = 3000
    """Seed of the drawn scenes: other ones than those that dictionaries are trained on."""
    bands: TimedBands | None = None
    """For recordings with time bins: whose shares are compared, early and late."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        config = planner.config
        recorded = [self._add_recordings(planner)] if config.recordings else []
        if recorded and not config.saes and self.networks is None:
            return recorded
        return [*self._add_networks(planner), *recorded]

    # --------------------------------------------------------------------------------------------------- networks

    def _add_networks(self, planner: Planner) -> list[str]:
        networks = networks_of(planner.config, self.networks)
        names = dict.fromkeys(name for network in networks for name in network.members)
        models = [model_of(planner.config, name) for name in names]
        reads = {model.name: self._reads(planner, model) for model in models}
        shown = self._images([read for found in reads.values() for read in found])
        stages: dict[str, list[str]] = {}
        for model in models:
            needed = [site for read in reads[model.name] for site in (read.site, f"blocks.{read.block}.hook_delta")]
            captured = planner.capture(model, needed, stimuli=shown, tokens=self.tokens)
            stages[model.name] = [self._add_read(planner, model, read, shown, captured) for read in reads[model.name]]
        verdicts = [self._add_verdict(planner, network, stages) for network in networks]
        return [*(stage for found in stages.values() for stage in found), *verdicts]

    def _reads(self, planner: Planner, model: ModelSpec) -> list[Read]:
        """The chosen dictionaries of a model, each with the block that reads it in its own basis."""
        offered = planner.features.get(model.name, {})
        wanted = [name for name in offered if any(names_codes(glob, name) for glob in self.dictionaries)]
        sites, found = planner.sites(model), []
        for name in wanted:
            stage, read, writes = planner.dictionaries[model.name, name]
            site = sites[read[0]]
            block = site.block + (site.kind == "resid_post")
            if len(read) > 1 or writes is not None or site.kind not in ("resid_pre", "resid_post"):
                continue  # crosscoders and transcoders have no directions in one place of the stream
            if f"blocks.{block}.hook_delta" not in sites or sites[f"blocks.{block}.hook_delta"].basis != site.basis:
                continue  # the last block of a basis: what follows writes in another
            spec = next(one for one in planner.config.saes if name.split("/")[1] in one.names())
            training = getattr(spec, "training", None)
            latents = None if training is None else training.architecture.width(site.width)
            found.append(Read(name, site.name, stage, block, latents, spec.least_explained))
        if not found:
            known = sorted({name.split("/")[1] for name in offered})
            raise ConfigError(
                f"dictionaries: {model.name} has none that matches {', '.join(self.dictionaries)} at a site whose next "
                f"block shares its basis; {did_you_mean(self.dictionaries[0], known) if known else 'add `saes`'}."
            )
        twice = [read.site for read in found if sum(other.site == read.site for other in found) > 1]
        if twice:
            raise ConfigError(f"dictionaries: several of {twice[0]} of {model.name} match; name one (by its NAME).")
        return found

    def _images(self, reads: list[Read]) -> Battery:
        """The scenes that all models see."""
        from bridge.stimuli.battery import Battery
        from comparisons.editing.measured import images_needed

        known = [read.latents for read in reads if read.latents is not None]
        count = self.images or (images_needed(max(known), self.tokens) if known else 1000)
        # Eight categories of four objects; a multiple of five keeps the levels of variation balanced.
        each = 5 * math.ceil(count / (32 * 5))
        return Battery(name=IMAGES, families=("scenes",), size=128, seed=self.image_seed, images_per_exemplar=each)

    def _add_read(self, planner: Planner, model: ModelSpec, read: Read, shown: Battery, captured: str) -> str:
        seed = planner.config.seed

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from bridge.activations import Activations
            from comparisons.editing import measured
            from comparisons.editing.told import block_results
            from saes.checkpoints import read_folder

            activations = Activations(needed[captured])
            sae = read_folder(needed[read.stage] / read.name)
            delta = f"blocks.{read.block}.hook_delta"
            found = measured.measure_block(sae, activations.read(read.site), activations.read(delta), seed)
            progress(0.5)
            backbone, stimuli = model.load(), shown.load()
            inputs = backbone.prepare([stimuli.image(row) for row in range(0, len(stimuli), len(stimuli) // CAUSAL)])
            directions = sae.decoder_directions.double().numpy()
            causal = measured.causal_slopes(backbone, inputs, read.block, directions, seed)
            progress(0.8)
            told = {
                "name": read.name,
                "block": read.block,
                "explained": found.explained,
                "trusted": found.explained >= read.least_explained,
                "least_explained": read.least_explained,
                "counts": found.sorted.counts.__dict__,
                "slope": measured.median_slope(found),
                "clipped": backbone.blocks[read.block].act,
                "gate predicts": found.gating.predicted,
                "cosine of write and stream": found.against,
                "share of writes below -.3": found.cancelling,
                "overlap": measured.weight_overlap(backbone, read.block, seed),
                "repairs": measured.repairs(backbone, inputs, read.block, directions, found),
            }
            import pandas as pd

            table = pd.DataFrame(dict(measured.table_of(found, causal)))
            table.insert(0, "latent", range(len(table)))
            write_atomically(folder / "latents.csv", table.to_csv(index=False))
            write_atomically(folder / MEASURED, json.dumps(told, indent=1))
            about = {"model": model.name, "role": model.shown_as, "seed": seed, "n_stimuli": len(activations)}
            results, dropped = block_results(told, table, about)
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {
            "model": model.fingerprint(),
            "name": [model.name, model.shown_as],
            "dictionary": read.name,
            "block": read.block,
            "least_explained": read.least_explained,
            "seed": seed,
        }
        return planner.add(
            f"editing {model.name} {read.name}",
            "editing",
            inputs,
            build,
            needs=(captured, read.stage),
            libraries=("numpy", "scipy", "torch"),
            code=(__name__, "comparisons.editing.measured", "bridge.models", "bridge.stimuli", "saes.checkpoints"),
        )

    def _add_verdict(self, planner: Planner, network: Network, stages: Mapping[str, list[str]]) -> str:
        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.editing.told import with_slopes
            from comparisons.verdicts.editing import Counts, editing_verdict

            blocks = {
                name: [json.loads((needed[stage] / MEASURED).read_text()) for stage in stages[name]]
                for name in network.members
            }
            trusted = {
                name: Counts.total([Counts(**one["counts"]) for one in found if one["trusted"]])
                for name, found in blocks.items()
            }
            verdicts = []
            twin = network.plain[0] if len(network.plain) == 1 else f"{network.name}, plain twin"
            for subject, these in ((network.name, network.trained), (twin, network.plain)):
                if these:
                    own = Counts.total([trusted[name] for name in these])
                    said = editing_verdict(subject, own, [trusted[name] for name in network.untrained])
                    verdicts.append(with_slopes(said, blocks, network))
            write_atomically(folder / "blocks.json", json.dumps(blocks, indent=1))
            content = {"results": [], "verdicts": [one.model_dump() for one in verdicts], "dropped": []}
            write_atomically(folder / "results.json", json.dumps(content))

        return planner.add(
            f"editing, verdict on {network.name}",
            "editing-verdict",
            {"network": network.content()},
            build,
            needs=tuple(dict.fromkeys(stage for name in network.members for stage in stages[name])),
            libraries=("numpy", "scipy"),
            code=(__name__, "comparisons.editing.told", "comparisons.verdicts.editing"),
        )

    # ------------------------------------------------------------------------------------------------- recordings

    def _add_recordings(self, planner: Planner) -> str:
        """Every recordings' verdict: from time bins where there are some, else NOT TESTABLE."""
        specs, seed = planner.config.recordings, planner.config.seed
        features: dict[str, Features] = {}
        if self.bands is not None:
            if self.bands.model not in (known := [model.name for model in planner.config.models]):
                raise ConfigError(
                    f"bands: there is no model {self.bands.model!r}; {did_you_mean(self.bands.model, known)}."
                )
            model = model_of(planner.config, self.bands.model)
            features = {
                name: site_features(planner, model, band.sites)
                for name, band in (("simple", self.bands.simple), ("complex", self.bands.complex))
            }
        needs = tuple(dict.fromkeys(stage for of in features.values() for stage in of.needs))

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.editing.recorded import judged

            def bands(ids: Sequence[str]) -> tuple[NDArray, NDArray] | None:
                if self.bands is None:
                    return None
                found = []
                for name, band in (("simple", self.bands.simple), ("complex", self.bands.complex)):
                    of = features[name]
                    parts = [_dense(of.read(needed, site, ids, band.pool)) for site in of.sites]
                    found.append(np.concatenate(parts, axis=1))
                return found[0], found[1]

            verdicts: list[Verdict] = []
            for done, spec in enumerate(specs):
                verdicts += judged(spec.load(planner.stimuli), bands, seed)
                progress((done + 1) / len(specs))
            unique = list({verdict.subject: verdict.model_dump() for verdict in verdicts}.values())
            write_atomically(folder / "results.json", json.dumps({"results": [], "verdicts": unique, "dropped": []}))

        inputs = {
            "recordings": [[spec.name, spec.fingerprint()] for spec in specs],
            "stimuli": planner.config.stimuli.fingerprint(),
            "bands": None if self.bands is None else self.bands.content(),
            "sites": {name: list(of.sites) for name, of in features.items()},
            "seed": seed,
        }
        code = (__name__, "comparisons.editing.recorded", "comparisons.verdicts.editing", "bridge.recordings")
        libraries = ("numpy", "scipy")
        name = "editing, verdicts on recordings"
        return planner.add(name, "editing-recordings", inputs, build, needs=needs, libraries=libraries, code=code)


def _dense(values: Any) -> NDArray:
    return values.toarray() if hasattr(values, "toarray") else values
